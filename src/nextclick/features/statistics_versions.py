"""Item statistics in versions: each is published at a set event time and holds until the next.

A prediction reads the newest version that was published when it is made, offline and live, so that the ranker learns
from statistics as old as those it will see. A version is published a lateness after its time, when no event that it
counts can come any more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nextclick.events.sessions import SessionLog
from nextclick.features.item_statistics import ItemStatistics
from nextclick.params import Features
from nextclick.progress import progress_bar
from nextclick.units import MS_PER_HOUR, MS_PER_MINUTE


@dataclass(frozen=True)
class ItemHistory:
    """published_at: (v,) int64 ms, ascending; versions: as many statistics, each of what happened before it, less the
    lateness."""

    published_at: np.ndarray
    versions: tuple[ItemStatistics, ...]

    @classmethod
    def of(cls, log: SessionLog, event_types: list[str], features: Features, first: int, last: int) -> ItemHistory:
        """The versions that hold from `first` to `last` (ms)."""
        times = publication_times(features, first, last)
        versions = tuple(
            ItemStatistics.of(log, event_types, True, int(time) - lateness_ms(features))
            for time in progress_bar(times, desc="item statistics", unit="version")
        )
        return cls(times, versions)

    def at(self, times: np.ndarray) -> np.ndarray:
        """(n,) int64: the index of the version that holds at each time, (n,) int64 ms. The first holds before it is
        published, too."""
        return np.maximum(np.searchsorted(self.published_at, times, side="right") - 1, 0)


def publication_times(features: Features, first: int, last: int) -> np.ndarray:
    """(v,) int64 ms, from the last one before `first` to the last before `last`: the lateness after each multiple of
    `item_stats_every` since 1970."""
    step, late = round(features.item_stats_every * MS_PER_HOUR), lateness_ms(features)
    return np.arange((first - late) // step, (last - late) // step + 1, dtype=np.int64) * step + late


def lateness_ms(features: Features) -> int:
    return round(features.lateness_minutes * MS_PER_MINUTE)
