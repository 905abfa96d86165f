"""An index of past sessions: for each item, the clicks on it, oldest first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nextclick.events.sessions import SessionLog


class SessionIndex(NamedTuple):
    """Past sessions, and where each item was clicked in them, in the form that compiled code reads.

    offsets: (n_sessions + 1,) int64, the events of each session. items: (n_events,) int32.
    sessions: (n_events,) int32, the session of each event.
    posting_offsets: (n_items + 1,) int64; posting_events: (n_events,) int64: the events of item `i` are
    `posting_events[posting_offsets[i]:posting_offsets[i + 1]]`, ascending, so the newest sessions come last.
    """

    offsets: np.ndarray
    items: np.ndarray
    sessions: np.ndarray
    posting_offsets: np.ndarray
    posting_events: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """(n_items,) int64: clicks on each item."""
        return np.diff(self.posting_offsets)

    @classmethod
    def of(cls, log: SessionLog) -> SessionIndex:
        """The index of a log's sessions, without their items that are outside the vocabulary."""
        known = log.items >= 0
        sessions = np.repeat(np.arange(log.n_sessions, dtype=np.int32), np.diff(log.offsets))[known]
        items = log.items[known]
        return cls(
            offsets=_offsets(sessions, log.n_sessions),
            items=items,
            sessions=sessions,
            posting_offsets=_offsets(items, len(log.vocabulary)),
            posting_events=np.argsort(items, kind="stable"),
        )


def _offsets(groups: np.ndarray, n_groups: int) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.bincount(groups, minlength=n_groups))]).astype(np.int64)
