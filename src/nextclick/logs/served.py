"""A window of the logs: the lists that were served, with their features, and the raw events that came."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from nextclick.errors import InputError
from nextclick.events.prefixes import IDLE
from nextclick.events.schema import quoted
from nextclick.events.tables import lock_of, parquet_files
from nextclick.files import locked
from nextclick.result import Result

PREDICTIONS, LIVE = Path("data/predictions"), Path("data/live/events")
COLUMNS = ["session_id", "moment", "model_version", "degraded", "state", "candidates", "scores", "shown", "features"]
NEWER = {"milliseconds"}  # columns that the log did not have from the beginning
LISTS = ["session_id", "moment", "state", "shown", "ranked"]
KEY = ["request_id", "session_id", "moment"]  # of a list: those of a batch have their request's id in common
WRITTEN = pd.Timedelta(minutes=1)  # that a click may take until lists have to know it


@dataclass(frozen=True)
class Served:
    """features: a row a shown item that was ranked, see `Replay.served`. lists: a row a list, in the same order:
    session_id, moment, state (as logged), shown (how many items), ranked (those of them that have features)."""

    features: pd.DataFrame
    lists: pd.DataFrame


def keys_of(lists: pd.DataFrame) -> pd.MultiIndex:
    """The KEY of each list."""
    return pd.MultiIndex.from_frame(lists[KEY].astype({"moment": "datetime64[ms, UTC]"}))


def served_lists(
    root: Path, since: datetime, until: datetime, most: int, version: str, wanted: pd.MultiIndex | None = None
) -> Served:
    """Of the lists that this bundle's ranker made in a window, not degraded, those `wanted` if they are given, see
    `keys_of`; of more than `most` evenly spaced ones.

    Raises InputError, naming the file, where one is broken."""
    asked = [(file, _asked(file, since, until, version, wanted)) for file in _files(root, since, until)]
    step = max(1, -(-sum(len(rows) for _, rows in asked) // most))
    features: list[pd.DataFrame] = []
    lists: list[pd.DataFrame] = []
    seen = 0
    for file, rows in asked:
        chosen = rows[-seen % step :: step]  # every step-th of them all, however many files they lie in
        seen += len(rows)
        if len(chosen):
            for part, table in zip((features, lists), _rows(file, chosen), strict=True):
                part.append(table)
    empty = pd.DataFrame({"session": [], "moment": []}), pd.DataFrame(columns=LISTS)
    return Served(
        *(
            pd.concat(parts, ignore_index=True) if parts else none
            for parts, none in zip((features, lists), empty, strict=True)
        )
    )


class ServiceReport(Result):
    """What the prediction log says of the service in a window."""

    lists: int
    versions: dict[str, int]  # lists by bundle
    degraded: dict[str, float]  # share of the lists by reason
    stale: dict[str, float]  # share of the lists by feature view
    milliseconds: dict[str, float] | None  # of computing a list, p50 and p99; None if the log has no times
    unknown_clicks: float | None = None  # see `unknown_clicks`


def service_report(root: Path, since: datetime, until: datetime) -> ServiceReport:
    """The report on all lists of a window, without `unknown_clicks`."""
    columns = ["moment", "model_version", "degraded", "stale", "milliseconds"]
    tables = [_read(file, columns).to_pandas() for file in _files(root, since, until)]
    lists = pd.concat(tables).reindex(columns=columns) if tables else pd.DataFrame(columns=columns)
    lists = lists[(lists["moment"] >= since) & (lists["moment"] < until)] if len(lists) else lists
    count, took = max(1, len(lists)), lists["milliseconds"].astype(float)
    return ServiceReport(
        lists=len(lists),
        versions=lists["model_version"].value_counts().sort_index().to_dict(),
        degraded=(lists["degraded"].value_counts() / count).to_dict(),
        stale=(lists["stale"].explode().value_counts() / count).to_dict(),
        milliseconds={f"p{share}": took.quantile(share / 100) for share in (50, 99)} if took.any() else None,
    )


def unknown_clicks(lists: pd.DataFrame, events: pd.DataFrame) -> float | None:
    """The share of the lists whose state lacks the newest event of its session that had come a minute before; None
    where no list has one. lists: see `Served`."""
    if lists.empty or events.empty:
        return None
    asked = lists.assign(at=(lists["moment"] - WRITTEN).astype("datetime64[ms, UTC]")).sort_values("at")
    came = events.dropna().drop_duplicates("event_id")[["session_id", "timestamp", "event_id"]].sort_values("timestamp")
    came = came.astype({"timestamp": "datetime64[ms, UTC]"})
    idle = pd.Timedelta(milliseconds=IDLE) - WRITTEN
    joined = pd.merge_asof(
        asked, came, left_on="at", right_on="timestamp", by="session_id", direction="backward", tolerance=idle
    ).dropna(subset="event_id")
    known = [
        event in {click["event_id"] for click in state}
        for event, state in zip(joined["event_id"], joined["state"], strict=True)
    ]
    return 1 - float(np.mean(known)) if known else None


def live_events(root: Path, since: datetime, until: datetime) -> pd.DataFrame:
    """What came in a window, as it came; without a row where nothing did."""
    columns = ["event_id", "session_id", "item_id", "event_type", "timestamp"]
    with locked(lock_of(root / LIVE), shared=True), duckdb.connect() as database:
        files = parquet_files(root / LIVE)  # under the lock: `compact` deletes files
        if not files:
            return pd.DataFrame(columns=columns).astype({"timestamp": "datetime64[ms, UTC]"})
        names = "[" + ", ".join(quoted(str(file)) for file in files) + "]"
        database.execute("SET TimeZone = 'UTC'")
        try:
            return database.execute(
                f"SELECT {', '.join(columns)} FROM read_parquet({names}, hive_partitioning = false) "
                "WHERE timestamp >= ? AND timestamp < ? ORDER BY timestamp, event_id",
                [since, until],
            ).df()
        except duckdb.Error as error:
            raise InputError(f"{root / LIVE}: a file cannot be read: {error}") from error


def _files(root: Path, since: datetime, until: datetime) -> Iterator[Path]:
    first, last = since.date().isoformat(), until.date().isoformat()
    for file in parquet_files(root / PREDICTIONS) if (root / PREDICTIONS).is_dir() else []:
        if first <= file.parent.name.removeprefix("date=") <= last:
            yield file


def _read(file: Path, columns: list[str]) -> pa.Table:
    """The columns, without those that older files may lack."""
    try:
        there = pq.read_schema(file).names
        if lacking := set(columns) - set(there) - NEWER:
            raise KeyError(f"it has no {', '.join(sorted(lacking))}")
        return pq.read_table(file, columns=[name for name in columns if name in there], partitioning=None)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{file}: no file of the prediction log: {error}; move it away to go on without it") from error


def _asked(file: Path, since: datetime, until: datetime, version: str, wanted: pd.MultiIndex | None) -> np.ndarray:
    """The places in a file of the lists that are asked for."""
    lists = _read(file, [*KEY, "model_version", "degraded"]).to_pandas()
    asked = (lists["moment"] >= since) & (lists["moment"] < until) & (lists["model_version"] == version)
    asked &= lists["degraded"].isna()
    return np.flatnonzero(asked if wanted is None else asked & keys_of(lists).isin(wanted))


def _rows(file: Path, rows: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    table = _read(file, COLUMNS)
    names = (table.schema.metadata or {}).get(b"features", b"").decode().split(",")
    if names == [""]:
        raise InputError(f"{file}: no names of features in its metadata; expected what the service writes")
    lists = table.take(rows).to_pandas()
    lists = lists[lists["features"].str.len() > 0].reset_index(drop=True)
    counts = (lists["features"].str.len() // len(names)).to_numpy(np.int64)
    lists["ranked"] = [shown[:count] for shown, count in zip(lists["shown"], counts, strict=True)]
    values = pd.DataFrame(
        np.concatenate([np.empty(0, np.float32), *lists["features"]]).reshape(-1, len(names)), columns=names
    )
    scores: list[float] = []
    for candidates, found, ranked in zip(lists["candidates"], lists["scores"], lists["ranked"], strict=True):
        of = dict(zip(candidates, found, strict=True))
        scores += [of[item] for item in ranked]
    about = {
        "session": np.repeat(lists["session_id"].to_numpy(), counts),
        "moment": np.repeat(lists["moment"].to_numpy("datetime64[ms]").astype(np.int64), counts),
        "score": np.array(scores, np.float32),
    }
    lists["shown"] = lists["shown"].str.len()
    return pd.concat([pd.DataFrame(about), values], axis=1), lists[LISTS]
