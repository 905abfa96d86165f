"""Publishes item statistics of live events, by event time: the versions that the offline store makes of them too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nextclick.events.known_items import known_items
from nextclick.events.sessions import SessionLog
from nextclick.events.tables import lock_of
from nextclick.features.statistics_versions import ItemHistory, lateness_ms, publication_times
from nextclick.features.store.offline import statistics_rows
from nextclick.features.store.online import bring_version
from nextclick.files import locked
from nextclick.logs.event_log import events_before
from nextclick.logs.published_statistics import STATISTICS, published_at, published_versions, write_version
from nextclick.params import Params
from nextclick.units import MS_PER_HOUR

if TYPE_CHECKING:
    from feast import FeatureStore

ITEMS = Path("data/interim/items.parquet")


def publish_due(root: Path, params: Params, store: FeatureStore, until: int) -> list[Path]:
    """Publish the versions that are due at `until` (ms of event time) and not published yet; returns their files.

    The newest version also goes to the online store, if that does not hold it (any longer). The first time only the
    newest version that is due is made. Any number of processes may call this at once; one of them does the work. Raises
    StoreUnavailableError, after the files were written; the next call then brings them to the store.
    """
    with locked(lock_of(root / STATISTICS)):
        existing = published_versions(root)
        due = publication_times(params.features, until, until)
        if existing:
            step = round(params.features.item_stats_every * MS_PER_HOUR)
            due = publication_times(params.features, published_at(existing[-1]) + step, until)
        events = events_before(root, int(due[-1]) - lateness_ms(params.features)) if len(due) else None
        versions = () if events is None or events.empty else _versions(root, params, events, due)
        files = [write_version(root, at_ms, rows) for at_ms, rows in versions]
        newest = files[-1:] or existing[-1:]
        if newest:
            bring_version(store, pd.read_parquet(newest[0]))
        return files


def _versions(root: Path, params: Params, events: pd.DataFrame, due: np.ndarray) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yields the time and the rows of each version, one at a time: after a long silence there may be hundreds."""
    types = params.ingest.event_types
    log = SessionLog.from_events(events, types)
    ids, prices = log.vocabulary.ids, pd.Series(np.nan, log.vocabulary.ids)
    if (root / ITEMS).is_file():
        prices = known_items(pd.read_parquet(root / ITEMS)).set_index("item_id")["price"].reindex(ids)
    for at_ms in due.tolist():
        version = ItemHistory.of(log, types, params.features, at_ms, at_ms)
        yield at_ms, statistics_rows(version, ids, types, prices.to_numpy(np.float32))
