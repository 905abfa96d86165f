"""Item statistics of live events, published by event time: the versions that the offline store makes of them too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pandas as pd

from nextclick.events.schema import FIELDS, quoted
from nextclick.events.sessions import SessionLog
from nextclick.events.tables import lock_of, parquet_files
from nextclick.features.statistics_versions import HOUR, ItemHistory, lateness_ms, publication_moments
from nextclick.features.store.item_rows import bring_version
from nextclick.features.store.offline import statistics_rows
from nextclick.files import locked
from nextclick.logs.event_log import LOG
from nextclick.params import Params

if TYPE_CHECKING:
    from feast import FeatureStore

FOLDER = Path("data/live/statistics")
HISTORY = Path("data/interim/events.parquet")  # what was known before events came live
ITEMS = Path("data/interim/items.parquet")


def publish_due(root: Path, params: Params, store: FeatureStore, until: int) -> list[Path]:
    """Publish the versions whose moment has come at `until` (ms of event time) and that are not there yet.

    Each is a file `<that moment in ms>.parquet` of the rows of the view item_statistics; the newest also goes to the
    online store, where that does not hold it yet or no longer. The first time only the newest that is due is made. Any
    number of processes may call it; one does the work. Raises StoreUnavailableError, after the files were written; the
    next call then brings them to the store.
    """
    folder = root / FOLDER
    with locked(lock_of(folder)):
        there = published(root)
        moments = publication_moments(params.features, until, until)
        if there:
            step = round(params.features.item_stats_every * HOUR)
            moments = publication_moments(params.features, moment_of(there[-1]) + step, until)
        events = known_events(root, int(moments[-1]) - lateness_ms(params.features)) if len(moments) else None
        files = [] if events is None or events.empty else _written(folder, _versions(root, params, events, moments))
        newest = files[-1:] or there[-1:]
        if newest:
            bring_version(store, pd.read_parquet(newest[0]))
        return files


def published(root: Path) -> list[Path]:
    """The files of the versions, oldest first."""
    return sorted((root / FOLDER).glob("[!.]*.parquet"), key=moment_of)


def moment_of(version: Path) -> int:
    """When it was published, ms since 1970 UTC."""
    return int(version.stem)


def _written(folder: Path, versions: Iterator[tuple[int, pd.DataFrame]]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for moment, rows in versions:
        scratch = folder / f".{moment}.parquet"
        rows.to_parquet(scratch, index=False)
        files.append(scratch.replace(folder / f"{moment}.parquet"))
    return files


def _versions(
    root: Path, params: Params, events: pd.DataFrame, moments: np.ndarray
) -> Iterator[tuple[int, pd.DataFrame]]:
    """One at a time: after a long silence there may be hundreds."""
    types = params.ingest.event_types
    log = SessionLog.from_events(events, types)
    ids, prices = log.vocabulary.ids, pd.Series(np.nan, log.vocabulary.ids)
    if (root / ITEMS).is_file():
        prices = pd.read_parquet(root / ITEMS).set_index("item_id")["price"].reindex(ids)
    for moment in moments.tolist():
        version = ItemHistory.of(log, types, params.features, moment, moment)
        yield moment, statistics_rows(version, ids, types, prices.to_numpy(np.float32))


def known_events(root: Path, before: int) -> pd.DataFrame:
    """All events before a moment, of the history and live, each once."""
    with locked(lock_of(root / LOG), shared=True), duckdb.connect() as database:
        files = [file for file in (root / HISTORY, *parquet_files(root / LOG)) if file.is_file()]
        if not files:
            return pd.DataFrame(columns=list(FIELDS))
        database.execute("SET TimeZone = 'UTC'")
        listed = ", ".join(quoted(str(file)) for file in files)
        return database.sql(
            f"SELECT {', '.join(FIELDS)} FROM read_parquet([{listed}], union_by_name = true, filename = 'file', "
            f"hive_partitioning = false) WHERE CAST(timestamp AS TIMESTAMPTZ) < make_timestamptz({before * 1000}) "
            "QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY timestamp, file, session_id) = 1"
        ).df()
