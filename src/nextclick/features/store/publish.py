"""From history to the store: offline files, then the online rows, whole or for a window. Both are idempotent."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from feast import FeatureStore

from nextclick.errors import InputError
from nextclick.events.known_items import known_items
from nextclick.events.sessions import SessionLog
from nextclick.features.item_statistics import ItemStatistics
from nextclick.features.statistics_versions import ItemHistory
from nextclick.features.store.offline import OFFLINE_STORE, states_of, statistics_rows, write_history
from nextclick.features.store.online import ITEM_STATISTICS, OnlineStates, bring_version
from nextclick.params import Params
from nextclick.progress import progress_bar

BATCH = 500  # states a write


def publish(root: Path, params: Params, *, timed: bool) -> dict:
    """Write the offline store of the training events; returns the number of rows of each view.

    timed: whether the timestamps of the events are real; without that, all statistics are one version.
    """
    types = params.ingest.event_types
    events = pd.read_parquet(root / "data/split/train.parquet")
    log = SessionLog.from_events(events, types)
    first, last = int(log.times.min()), int(log.times.max())
    items = known_items(pd.read_parquet(root / "data/interim/items.parquet"), pd.Timestamp(last, unit="ms", tz="UTC"))
    if timed:
        history = ItemHistory.of(log, types, params.features, first, last)
    else:
        history = ItemHistory(np.array([last + 1]), (ItemStatistics.of(log, types, timed, last + 1),))
    ids = log.vocabulary.ids
    prices = items.set_index("item_id")["price"].reindex(ids) if "price" in items else pd.Series(np.nan, ids)
    return write_history(root, events, statistics_rows(history, ids, types, prices.to_numpy(np.float32)), types)


def materialise(
    store: FeatureStore,
    events: pd.DataFrame,
    event_types: list[str],
    since: datetime | None,
    until: datetime | None,
) -> dict:
    """Load the online store from history: events from `since` (inclusive) to `until` (exclusive) join the states in it,
    and the newest item statistics published by then replace older ones. Returns the number of rows by view.

    It is idempotent, also for a window that was loaded before, since a state holds each event once, whatever the order.
    Item statistics never go back to an older version. Raises InputError for an empty window, and StoreUnavailableError.
    """
    times = events["timestamp"]
    start = pd.Timestamp(since) if since else times.min()
    end = pd.Timestamp(until) if until else times.max() + pd.Timedelta(milliseconds=1)
    if since and until and since >= until:
        raise InputError(f"from {since} to {until} is no window: expected the first before the second")
    if start >= end:
        raise InputError(f"no events from {start} to {end}: they go from {times.min()} to {times.max()}")
    window = events[(times >= start) & (times < end)]
    online, states = OnlineStates(store), list(states_of(window, "session_id", event_types))
    for first in progress_bar(range(0, len(states), BATCH), desc="session_state", unit="batch"):
        online.merge(dict(states[first : first + BATCH]))
    return {
        "session_state": len(states),
        "item_statistics": _materialise_statistics(store, end),
        "from": start.isoformat(),
        "until": end.isoformat(),
    }


def _materialise_statistics(store: FeatureStore, end: pd.Timestamp) -> int:
    """Load the newest version published by `end`, unless the store holds a newer one; returns its number of items."""
    versions = Path(store.config.repo_path or ".") / OFFLINE_STORE / f"{ITEM_STATISTICS}.parquet"
    times = pd.read_parquet(versions, columns=["event_timestamp"])["event_timestamp"]
    times = times[times <= end]
    if times.empty:
        return 0
    version = pd.read_parquet(versions, filters=[("event_timestamp", "==", times.max())])
    bring_version(store, version)
    return len(version)
