"""Item statistics in versions: every so often of event time, what is known is published and holds until the next.

A prediction reads the newest version that was published when it is made, offline and live, so that the ranker learns
from statistics as old as those it will see.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nextclick.events.sessions import SessionLog
from nextclick.features.item_statistics import ItemStatistics
from nextclick.progress import progress_bar

HOUR = 3_600_000  # ms


@dataclass(frozen=True)
class ItemHistory:
    """published_at: (v,) int64 ms, ascending; versions: as many statistics, each of the events before its moment."""

    published_at: np.ndarray
    versions: tuple[ItemStatistics, ...]

    @classmethod
    def of(cls, log: SessionLog, event_types: list[str], *, hours: float, first: int, last: int) -> ItemHistory:
        """The versions that hold from `first` to `last` (ms): one a multiple of `hours` since 1970."""
        moments = publication_moments(first, last, hours)
        versions = tuple(
            ItemStatistics.of(log, event_types, True, int(moment))
            for moment in progress_bar(moments, desc="item statistics", unit="version")
        )
        return cls(moments, versions)

    def at(self, moments: np.ndarray) -> np.ndarray:
        """The version that holds at each moment (ms); the first also before it was published."""
        return np.maximum(np.searchsorted(self.published_at, moments, side="right") - 1, 0)


def publication_moments(first: int, last: int, hours: float) -> np.ndarray:
    """(v,) int64 ms: the multiples of `hours` since 1970 from the last one before `first` to the last before `last`."""
    step = round(hours * HOUR)
    return np.arange(first // step, last // step + 1, dtype=np.int64) * step
