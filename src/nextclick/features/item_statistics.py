"""What the clicks tell about each item at one time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nextclick.events.sessions import SessionLog
from nextclick.units import MS_PER_DAY

RECENT_SHARE = 0.05  # of the events: what counts as popular lately
HALF_LIVES_DAYS = (0.25, 1.0, 7.0)


@dataclass(frozen=True)
class ItemStatistics:
    """clicks, clicks_lately: (n_items,) float32, of any type, in all and in the newest RECENT_SHARE of the events.
    last_seen: (n_items,) float32, share of the events that came before the item's last.
    types: (n_types,) str; by_type: (n_types, n_items) float32, events by type; none where all events are of one type.
    decayed: (len(HALF_LIVES_DAYS), n_items) float32, clicks that weigh half after each half-life; no rows where the
    times were made up from an order. decayed_by_type: (n_types, len(HALF_LIVES_DAYS), n_items) float32, the same of
    each type; no types where all events are of one, or the times are made up.
    first_click, last_click: (n_items,) int64 ms, 0 where there is none.
    """

    clicks: np.ndarray
    clicks_lately: np.ndarray
    last_seen: np.ndarray
    types: np.ndarray
    by_type: np.ndarray
    decayed: np.ndarray
    decayed_by_type: np.ndarray
    first_click: np.ndarray
    last_click: np.ndarray

    @property
    def popular(self) -> np.ndarray:
        """(n_items,) int32: all items, the most clicked lately first, of equals the most clicked in all."""
        return np.lexsort((-self.clicks, -self.clicks_lately)).astype(np.int32)

    @classmethod
    def of(cls, log: SessionLog, event_types: list[str], timed: bool, before: int | None = None) -> ItemStatistics:
        """The statistics of a log.

        event_types: the names of the log's types. timed: whether its times are real, and not only an order.
        before: the time of the statistics, ms; events at and after it do not count. The default is the log's end.

        The order of the events makes no difference, not to the last bit.
        """
        n_items = len(log.vocabulary)
        known = np.flatnonzero((log.items >= 0) & (True if before is None else log.times < before))
        known = known[np.lexsort((log.items[known], log.times[known]))]
        items, times, types = log.items[known], log.times[known], log.types[known]
        recent = items[times >= times[int(len(times) * (1 - RECENT_SHARE))]] if len(times) else items
        first, last = np.full(n_items, np.iinfo(np.int64).max), np.zeros(n_items, np.int64)
        np.minimum.at(first, items, times)
        np.maximum.at(last, items, times)
        several = len(np.unique(log.types)) > 1
        end = times.max(initial=0) if before is None else before
        age_days = (end - times) / MS_PER_DAY
        weights = [0.5 ** (age_days / days) for days in HALF_LIVES_DAYS] if timed else []
        kinds = [types == kind for kind in range(len(event_types))] if several else []

        def counts(chosen: np.ndarray | slice, weight: np.ndarray | None = None) -> np.ndarray:
            return np.bincount(items[chosen], None if weight is None else weight[chosen], n_items)

        decayed_by_type = [[counts(kind, weight) for weight in weights] for kind in kinds if timed]
        return cls(
            clicks=counts(slice(None)).astype(np.float32),
            clicks_lately=np.bincount(recent, minlength=n_items).astype(np.float32),
            last_seen=(np.searchsorted(times, last) / max(1, len(times))).astype(np.float32),
            types=np.array(event_types if several else [], dtype=np.str_),
            by_type=_stacked([counts(kind) for kind in kinds], n_items),
            decayed=_stacked([counts(slice(None), weight) for weight in weights], n_items),
            decayed_by_type=_stacked(decayed_by_type, len(weights), n_items),
            first_click=np.where(last > 0, first, 0),
            last_click=last,
        )


def _stacked(rows: list, *shape: int) -> np.ndarray:
    return np.array(rows, dtype=np.float32).reshape(len(rows), *shape)
