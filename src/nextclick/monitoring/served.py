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
    """A row a shown item, see `Replay.served`, of the lists that the ranker made in a window; of more than `most`, the
    same share of each file, evenly spaced. Empty where nothing was served."""
    first, last = since.date().isoformat(), until.date().isoformat()
    paths = [
        path for path in parquet_files(root / PREDICTIONS) if first <= path.parent.name.removeprefix("date=") <= last
    ] if (root / PREDICTIONS).is_dir() else []  # fmt: skip
    total = sum(pq.read_metadata(path).num_rows for path in paths)
    step = max(1, -(-total // most))
    return pd.concat([pd.DataFrame({"session": [], "moment": []}), *(_rows(p, since, until, step) for p in paths)])


def _rows(path: Path, since: datetime, until: datetime, step: int) -> pd.DataFrame:
    table = pq.read_table(path, columns=["session_id", "moment", "scores", "features"], partitioning=None)
    names = (table.schema.metadata or {}).get(b"features", b"").decode().split(",")
    lists = table.to_pandas().iloc[::step]
    lists = lists[(lists["moment"] >= since) & (lists["moment"] < until) & (lists["features"].str.len() > 0)]
    if lists.empty:
        return pd.DataFrame()
    counts = (lists["features"].str.len() // len(names)).to_numpy()
    values = pd.DataFrame(np.concatenate(lists["features"].to_list()).reshape(-1, len(names)), columns=names)
    # what was shown is what scored best
    best = [np.sort(scores)[::-1][:count] for scores, count in zip(lists["scores"], counts, strict=True)]
    times = lists["moment"].to_numpy("datetime64[ms]").astype(np.int64)
    about = {
        "session": np.repeat(lists["session_id"].to_numpy(), counts),
        "moment": np.repeat(times, counts),
        "score": np.concatenate(best),
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
