"""When: the hour, the pace of the session, and how long ago and for how long the candidate was looked at in it.

A prediction is made at the time of the last event that it reads: offline, where nobody asks, as live.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nextclick.events.prefixes import KEPT_EVENTS, known_events
from nextclick.features.feature_group import FeatureContext, FeatureGroup, ItemKnowledge
from nextclick.units import MS_PER_DAY, MS_PER_HOUR, MS_PER_SECOND

NAMES = (
    "hour",  # UTC, 0 to 24
    "weekday",  # Monday 0
    "session_seconds",  # log(1 + seconds) from the first event read to the last
    "last_gap",  # log(1 + seconds) between the last two events; -1: there is one
    "mean_gap",  # likewise, of all
    "since_in_session",  # log(1 + seconds) since the candidate's last click in the session; -1: none
    "dwell",  # log(1 + seconds) from clicks on the candidate to the next event; -1: none
)
THURSDAY = 3  # the weekday of 1970-01-01


def _names(knowledge: ItemKnowledge) -> tuple[str, ...]:
    return NAMES if knowledge.timed else ()


def _fill(context: FeatureContext, out: np.ndarray) -> None:
    _write(context.prefixes.arrays, context.candidates.items, out)


@njit(cache=True)
def _log_seconds(milliseconds):
    return np.log1p(max(milliseconds, 0) / MS_PER_SECOND)


@njit(cache=True, nogil=True)
def _write(prefixes, candidates, out):
    n, width = candidates.shape
    times = prefixes.times
    for i in range(n):
        first, end = max(prefixes.starts[i], prefixes.ends[i] - KEPT_EVENTS), prefixes.ends[i]
        count = end - first
        now = times[end - 1] if count else np.int64(0)
        hour = (now % MS_PER_DAY) / MS_PER_HOUR
        weekday = (now // MS_PER_DAY + THURSDAY) % 7
        length = now - times[first] if count else np.int64(0)
        last_gap = _log_seconds(now - times[end - 2]) if count > 1 else -1.0
        mean_gap = _log_seconds(length / (count - 1)) if count > 1 else -1.0
        events = known_events(prefixes, i)
        for c in range(width):
            item = candidates[i, c]
            if item < 0:
                break
            row = out[i, c]
            row[0] = hour
            row[1] = weekday
            row[2] = _log_seconds(length)
            row[3] = last_gap
            row[4] = mean_gap
            row[5] = -1
            row[6] = -1
            dwell = np.int64(0)
            for event in events:
                if prefixes.items[event] == item:
                    row[5] = _log_seconds(now - times[event])
                    if event + 1 < end:
                        dwell += times[event + 1] - times[event]
            if row[5] >= 0:
                row[6] = _log_seconds(dwell)


TIME = FeatureGroup("time", _names, _fill)
