"""The prediction log as a table of features, and the live log as raw events: a window of each."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from nextclick.events.schema import quoted
from nextclick.events.tables import lock_of, parquet_files
from nextclick.files import locked

PREDICTIONS, LIVE = Path("data/predictions"), Path("data/live/events")


def served_features(root: Path, since: datetime, until: datetime, most: int) -> pd.DataFrame:
    """A row a shown item, see `Replay.served`, of the lists that the ranker made in a window; of more than `most` lists
    evenly spaced ones. Empty where nothing was served."""
    first, last = since.date().isoformat(), until.date().isoformat()
    files = parquet_files(root / PREDICTIONS) if (root / PREDICTIONS).is_dir() else []
    within = [file for file in files if first <= file.parent.name.removeprefix("date=") <= last]
    asked = [(file, _asked(file, since, until)) for file in within]
    step = max(1, -(-sum(len(rows) for _, rows in asked) // most))
    return pd.concat(
        [pd.DataFrame({"session": [], "moment": []}), *(_rows(file, rows[::step]) for file, rows in asked)]
    )


def _asked(file: Path, since: datetime, until: datetime) -> np.ndarray:
    """The places in a file of the lists that were asked for in the window."""
    moments = pq.read_table(file, columns=["moment"], partitioning=None)["moment"].to_pandas()
    return np.flatnonzero((moments >= since) & (moments < until))


def _rows(file: Path, rows: np.ndarray) -> pd.DataFrame:
    columns = ["session_id", "moment", "candidates", "scores", "shown", "features"]
    table = pq.read_table(file, columns=columns, partitioning=None)
    names = (table.schema.metadata or {}).get(b"features", b"").decode().split(",")
    lists = table.take(rows).to_pandas()
    lists = lists[lists["features"].str.len() > 0]
    if lists.empty:
        return pd.DataFrame()
    counts = (lists["features"].str.len() // len(names)).to_numpy()
    values = pd.DataFrame(np.concatenate(lists["features"].to_list()).reshape(-1, len(names)), columns=names)
    scores = []
    for candidates, found, shown, count in zip(
        lists["candidates"], lists["scores"], lists["shown"], counts, strict=True
    ):
        of = dict(zip(candidates, found, strict=True))
        scores += [of[item] for item in shown[:count]]  # what follows only fills the list up, and has no features
    about = {
        "session": np.repeat(lists["session_id"].to_numpy(), counts),
        "moment": np.repeat(lists["moment"].to_numpy("datetime64[ms]").astype(np.int64), counts),
        "score": np.array(scores, np.float32),
    }
    return pd.concat([pd.DataFrame(about), values], axis=1)


def live_events(root: Path, since: datetime, until: datetime) -> pd.DataFrame:
    """What came in a window, as it came; without a row where nothing did."""
    files = parquet_files(root / LIVE) if (root / LIVE).is_dir() else []
    columns = ["event_id", "session_id", "item_id", "event_type", "timestamp"]
    if not files:
        return pd.DataFrame(columns=columns).astype({"timestamp": "datetime64[ms, UTC]"})
    names = "[" + ", ".join(quoted(str(file)) for file in files) + "]"
    with locked(lock_of(root / LIVE), shared=True), duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        return database.execute(
            f"SELECT {', '.join(columns)} FROM read_parquet({names}, hive_partitioning = false) "
            "WHERE timestamp >= ? AND timestamp < ? ORDER BY timestamp, event_id",
            [since, until],
        ).df()
