"""The predictions to make on a log: after each click, which item comes next?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from nextclick.events.sessions import SessionLog
from nextclick.units import MS_PER_HOUR

KEPT_EVENTS = 30  # the newest events of a session: all that is read of it, and all that a live state keeps
IDLE_HOURS = 48  # after so long without an event a session starts afresh: what was before is not read any more
IDLE = IDLE_HOURS * MS_PER_HOUR


class PrefixArrays(NamedTuple):
    """Predictions in the form that compiled code reads; see `Prefixes` and `SessionLog`."""

    items: np.ndarray
    types: np.ndarray
    times: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True)
class Prefixes:
    """Each prediction reads the events `starts[i]:ends[i]` of `log` and asks for the item of event `ends[i]`.

    sessions: (n,) int32, indices in `log.session_ids`. starts, ends: (n,) int64, event indices.
    """

    log: SessionLog
    sessions: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, log: SessionLog, sessions: np.ndarray, ends: np.ndarray) -> Prefixes:
        """Predictions that read what still counts of their sessions: the events since the last pause beyond IDLE.

        The one rule, live as in training, since a store forgets idle sessions.
        """
        restarts = np.zeros(log.n_events, np.int64)
        paused = np.flatnonzero(np.diff(log.times) > IDLE) + 1
        restarts[paused] = paused
        newest = np.append(np.maximum.accumulate(restarts), 0)  # the last is for predictions that know nothing
        starts = log.offsets[sessions]
        return cls(log, sessions, np.where(ends > starts, np.maximum(starts, newest[ends - 1]), starts), ends)

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def arrays(self) -> PrefixArrays:
        return PrefixArrays(self.log.items, self.log.types, self.log.times, self.starts, self.ends)

    @property
    def targets(self) -> np.ndarray:
        """(n,) int32: the index of the item that came next, -1 where it is not in the vocabulary."""
        return self.log.items[self.ends]

    @property
    def lengths(self) -> np.ndarray:
        """(n,) int64: how many events each prediction reads."""
        return self.ends - self.starts

    @property
    def predicted_at(self) -> np.ndarray:
        """(n,) int64 ms: when each prediction is made, the time of the last event that it reads; 0 if it reads none."""
        if not self.log.n_events:
            return np.zeros(len(self), np.int64)
        return np.where(self.lengths > 0, self.log.times[np.maximum(self.ends - 1, 0)], 0)

    def detached(self) -> Prefixes:
        """A copy whose log holds only the sessions from the first to the last of these, to send to another process.
        Needs at least one prediction."""
        first, last = int(self.sessions.min()), int(self.sessions.max()) + 1
        begin = self.log.offsets[first]
        return Prefixes(self.log.slice(first, last), self.sessions - first, self.starts - begin, self.ends - begin)

    def take(self, chosen: np.ndarray | slice) -> Prefixes:
        """The chosen predictions, in the given order."""
        return Prefixes(self.log, self.sessions[chosen], self.starts[chosen], self.ends[chosen])


def next_clicks(log: SessionLog, target_types: tuple[int, ...] = (0,), min_known: int = 1) -> Prefixes:
    """Every event of a target type that has at least `min_known` events of its session before it.

    target_types: indices in the list of event types; the default is the first type, a view. A cart or a purchase is
    not a target: it nearly always repeats the item just viewed, and predicting it would flatter every metric.
    """
    sessions = np.repeat(np.arange(log.n_sessions, dtype=np.int32), np.diff(log.offsets))
    ends = np.arange(log.n_events, dtype=np.int64)
    chosen = (ends - log.offsets[sessions] >= min_known) & np.isin(log.types, target_types)
    return Prefixes.of(log, sessions[chosen], ends[chosen])


@njit(cache=True)
def known_events(prefixes, i):
    """The events among the last KEPT_EVENTS of prediction `i` whose items are in the vocabulary, oldest first.
    prefixes: PrefixArrays."""
    first, end = max(prefixes.starts[i], prefixes.ends[i] - KEPT_EVENTS), prefixes.ends[i]
    events = np.empty(end - first, np.int64)
    count = 0
    for event in range(first, end):
        if prefixes.items[event] >= 0:
            events[count] = event
            count += 1
    return events[:count]


@njit(cache=True)
def known_clicks(prefixes, i):
    """The items of `known_events`."""
    return prefixes.items[known_events(prefixes, i)]
