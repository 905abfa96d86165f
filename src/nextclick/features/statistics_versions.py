"""Item statistics in versions: every so often of event time, what is known is published and holds until the next.

A prediction reads the newest version that was published when it is made, offline and live, so that the ranker learns
from statistics as old as those it will see. They are as old as live ones have to be: each is published when events that
it counts can no longer come in time.
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
        moments = publication_moments(features, first, last)
        versions = tuple(
            ItemStatistics.of(log, event_types, True, int(moment) - lateness_ms(features))
            for moment in progress_bar(moments, desc="item statistics", unit="version")
        )
        return cls(moments, versions)

    def at(self, moments: np.ndarray) -> np.ndarray:
        """The version that holds at each moment (ms); the first also before it was published."""
        return np.maximum(np.searchsorted(self.published_at, moments, side="right") - 1, 0)


def publication_moments(features: Features, first: int, last: int) -> np.ndarray:
    """(v,) int64 ms, from the last one before `first` to the last before `last`: the lateness after each multiple of
    `item_stats_every` since 1970."""
    step, late = round(features.item_stats_every * MS_PER_HOUR), lateness_ms(features)
    return np.arange((first - late) // step, (last - late) // step + 1, dtype=np.int64) * step + late


def lateness_ms(features: Features) -> int:
    return round(features.lateness_minutes * MS_PER_MINUTE)
