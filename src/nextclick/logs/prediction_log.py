"""The log of predictions: a row for each recommendation list that the service made, with the state, candidates, scores
and features that it was made of, and how such rows are read. The service's thread in `serving.prediction_writer` writes
them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from nextclick.errors import InputError
from nextclick.events.prefixes import IDLE
from nextclick.events.session_state import Click
from nextclick.events.tables import parquet_files, parquet_rows, utc_database
from nextclick.logs.parquet_log import TIMESTAMP_MS, existing_files, files_of_days, sql_time
from nextclick.result import Result

PREDICTIONS, SHADOW = Path("data/predictions"), Path("data/shadow")  # of lists that were shown, and of others
FLUSH_SECONDS = 60.0  # after which a prediction is in a file at the latest
WRITER = "what the service writes while it answers, at the latest after a minute"
CLICK = pa.struct(
    [
        ("timestamp", pa.int64()),
        ("position", pa.int64()),
        ("event_id", pa.string()),
        ("item_id", pa.string()),
        ("event_type", pa.int8()),
    ]
)
_ITEMS = pa.list_(pa.dictionary(pa.int32(), pa.string()))
# a file's metadata names the columns of `features`, see `with_feature_names`
PREDICTION_SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("session_id", pa.string()),
        ("moment", TIMESTAMP_MS),
        ("model_version", pa.string()),
        ("degraded", pa.string()),  # why, null if it was not
        ("stale", pa.list_(pa.string())),  # feature views
        ("statistics_at", TIMESTAMP_MS),
        ("state", pa.list_(CLICK)),
        ("candidates", _ITEMS),
        ("scores", pa.list_(pa.float32())),  # of the candidates
        ("shown", _ITEMS),  # those that were ranked first
        ("features", pa.list_(pa.float32())),  # of the shown items that were ranked, item by item
        ("milliseconds", pa.float32()),  # of computing the list
    ]
)
ADDED_LATER = {"milliseconds"}  # columns that older files do not have
KEY = ["request_id", "session_id", "moment"]  # of a list: those of a batch have their request's id in common
CLICK_DELAY = pd.Timedelta(minutes=1)  # that a click may take until lists have to know it
_LISTS = ["session_id", "moment", "state", "shown", "ranked"]
_RANKED = ["session_id", "moment", "state", "candidates", "scores", "shown", "features"]


class LoggedAnswer(NamedTuple):
    """moment: ISO text. shown: ids of items. file: that holds the row."""

    session_id: str
    moment: str
    bundle: str
    degraded: str | None
    shown: list[str]
    file: str


@dataclass(frozen=True)
class Served:
    """features: a row a shown item that was ranked, see `Replay.served`. lists: a row a list, in the same order:
    session_id, moment, state (as logged), shown (how many items), ranked (those of them that have features)."""

    features: pd.DataFrame
    lists: pd.DataFrame


def logged_click(fields: dict[str, Any]) -> Click:
    """A click of a logged state. Those that were logged before positions existed have position 0."""
    return Click(**{"position": 0, **fields})


def with_feature_names(names: tuple[str, ...]) -> pa.Schema:
    """PREDICTION_SCHEMA for rows whose features have these names."""
    return PREDICTION_SCHEMA.with_metadata({"features": ",".join(names)})


def keys_of(lists: pd.DataFrame) -> pd.MultiIndex:
    """The KEY of each list."""
    return pd.MultiIndex.from_frame(lists[KEY].astype({"moment": "datetime64[ms, UTC]"}))


def logged_answers(root: Path, log: Path, request_id: str, session_id: str | None) -> list[LoggedAnswer]:
    """The answers of a request, and of a session if it is given, newest first. log: PREDICTIONS or SHADOW."""
    files = parquet_files(root / log)
    if not files:
        return []
    with utc_database() as database:
        rows = database.execute(
            "SELECT session_id, CAST(moment AS VARCHAR), model_version, degraded, shown, filename "
            f"FROM {parquet_rows(files, filename='true')} "
            "WHERE request_id = ? AND session_id = coalesce(?, session_id) ORDER BY moment DESC, session_id",
            [request_id, session_id],
        ).fetchall()
    return [LoggedAnswer(*row) for row in rows]


def sessions_by_version(root: Path, since: datetime) -> pd.DataFrame:
    """The sessions that got a list since then, once for each bundle that made one: session_id, model_version.

    Raises InputError if the log is empty.
    """
    with utc_database() as database:
        return database.sql(f"SELECT DISTINCT session_id, model_version FROM {lists_sql(root, since)}").df()


def lists_sql(root: Path, since: datetime, until: datetime | None = None) -> str:
    """SQL: the table of the lists of `since` (inclusive) to `until` (exclusive). Raises InputError without any file."""
    end = f" AND moment < {sql_time(until)}" if until else ""
    rows = parquet_rows(existing_files(root / PREDICTIONS, WRITER))
    return f"(SELECT * FROM {rows} WHERE moment >= {sql_time(since)}{end})"


def served_lists(
    root: Path, since: datetime, until: datetime, limit: int, version: str, wanted: pd.MultiIndex | None = None
) -> Served:
    """The lists that this bundle's ranker made in a window and that were not degraded; with `wanted` (see `keys_of`)
    only those. Of more than `limit`, evenly spaced ones.

    Raises InputError, which names the file, if one cannot be read.
    """
    asked = [(file, _asked(file, since, until, version, wanted)) for file in _files(root, since, until)]
    step = max(1, -(-sum(len(rows) for _, rows in asked) // limit))
    parts, seen = [], 0
    for file, rows in asked:
        chosen = rows[-seen % step :: step]  # every step-th of them all, however many files they lie in
        seen += len(rows)
        if len(chosen):
            parts.append(_rows(file, chosen))
    if not parts:
        return Served(pd.DataFrame({"session": [], "moment": []}), pd.DataFrame(columns=_LISTS))
    return Served(*(pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True)))


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
    if no list has one. lists: see `Served`."""
    if lists.empty or events.empty:
        return None
    asked = lists.assign(at=(lists["moment"] - CLICK_DELAY).astype("datetime64[ms, UTC]")).sort_values("at")
    came = events.dropna().drop_duplicates("event_id")[["session_id", "timestamp", "event_id"]].sort_values("timestamp")
    came = came.astype({"timestamp": "datetime64[ms, UTC]"})
    idle = pd.Timedelta(milliseconds=IDLE) - CLICK_DELAY
    joined = pd.merge_asof(
        asked, came, left_on="at", right_on="timestamp", by="session_id", direction="backward", tolerance=idle
    ).dropna(subset="event_id")
    known = [
        event in {click["event_id"] for click in state}
        for event, state in zip(joined["event_id"], joined["state"], strict=True)
    ]
    return 1 - float(np.mean(known)) if known else None


def _files(root: Path, since: datetime, until: datetime) -> list[Path]:
    return files_of_days(root / PREDICTIONS, since.date(), until.date())


def _read(file: Path, columns: list[str]) -> pa.Table:
    """The columns, without those that older files may lack."""
    try:
        existing = pq.read_schema(file).names
        if missing := set(columns) - set(existing) - ADDED_LATER:
            raise KeyError(f"it has no {', '.join(sorted(missing))}")
        return pq.read_table(file, columns=[name for name in columns if name in existing], partitioning=None)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{file}: no file of the prediction log: {error}; move it away to go on without it") from error


def _asked(file: Path, since: datetime, until: datetime, version: str, wanted: pd.MultiIndex | None) -> np.ndarray:
    """The row indices of the lists that are asked for."""
    lists = _read(file, [*KEY, "model_version", "degraded"]).to_pandas()
    asked = (lists["moment"] >= since) & (lists["moment"] < until) & (lists["model_version"] == version)
    asked &= lists["degraded"].isna()
    return np.flatnonzero(asked if wanted is None else asked & keys_of(lists).isin(wanted))


def _rows(file: Path, rows: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`Served.features` and `Served.lists` of these rows of a file."""
    table = _read(file, _RANKED)
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
    for candidates, logged, ranked in zip(lists["candidates"], lists["scores"], lists["ranked"], strict=True):
        score_of = dict(zip(candidates, logged, strict=True))
        scores += [score_of[item] for item in ranked]
    about = {
        "session": np.repeat(lists["session_id"].to_numpy(), counts),
        "moment": np.repeat(lists["moment"].to_numpy("datetime64[ms]").astype(np.int64), counts),
        "score": np.array(scores, np.float32),
    }
    lists["shown"] = lists["shown"].str.len()
    return pd.concat([pd.DataFrame(about), values], axis=1), lists[_LISTS]
