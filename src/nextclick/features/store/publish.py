"""From history to the store: offline files, then the online rows, whole or for a window; twice is once."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from feast import FeatureStore

from nextclick.errors import InputError
from nextclick.events.sessions import SessionLog
from nextclick.features.item_statistics import ItemStatistics
from nextclick.features.statistics_versions import ItemHistory
from nextclick.features.store.item_rows import VIEW, bring_version
from nextclick.features.store.offline import FOLDER, KEYS, states_of, statistics_rows, write_history
from nextclick.features.store.online import OnlineStates
from nextclick.params import Params
from nextclick.progress import progress_bar

BATCH = 500  # rows a write


def publish(root: Path, params: Params, *, timed: bool) -> dict:
    """Write the offline store of the training events; returns the rows of each view."""
    types = params.ingest.event_types
    events = pd.read_parquet(root / "data/split/train.parquet")
    items = pd.read_parquet(root / "data/interim/items.parquet")
    log = SessionLog.from_events(events, types)
    first, last = int(log.times.min()), int(log.times.max())
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
    """Bring the online store to what history says: events of `since` (inclusive) to `until` (exclusive) join the states
    that are there, and the newest item statistics published by then replace older ones. Returns what was written.

    A state holds each event once, whatever the order: running it again, or for a window that was loaded before,
    changes nothing. Item statistics never go back to an older version.
    """
    times = events["timestamp"]
    start = pd.Timestamp(since) if since else times.min()
    end = pd.Timestamp(until) if until else times.max() + pd.Timedelta(milliseconds=1)
    if since and until and since >= until:
        raise InputError(f"from {since} to {until} is no window: expected the first before the second")
    if start >= end:
        raise InputError(f"no events from {start} to {end}: they go from {times.min()} to {times.max()}")
    window = events[(times >= start) & (times < end)]
    written = {}
    for view, key in KEYS.items():
        online = OnlineStates(store, view)
        found = list(states_of(window, key, event_types))
        for first in progress_bar(range(0, len(found), BATCH), desc=view, unit="batch"):
            online.merge(dict(found[first : first + BATCH]))
        written[view] = len(found)
    return {
        **written,
        "item_statistics": _materialise_statistics(store, end),
        "from": start.isoformat(),
        "until": end.isoformat(),
    }


def _materialise_statistics(store: FeatureStore, end: pd.Timestamp) -> int:
    """Load the newest version published by `end`, unless the store holds a newer one; returns its items."""
    versions = Path(store.config.repo_path or ".") / FOLDER / f"{VIEW}.parquet"
    moments = pd.read_parquet(versions, columns=["event_timestamp"])["event_timestamp"]
    moments = moments[moments <= end]
    if moments.empty:
        return 0
    version = pd.read_parquet(versions, filters=[("event_timestamp", "==", moments.max())])
    bring_version(store, version)
    return len(version)
