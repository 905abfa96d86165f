"""The papers' protocol on any sessions: the rank of the next item after each click of each test session."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from nextclick.errors import InputError
from nextclick.evaluation.baselines import BASELINES, STAN, Baseline
from nextclick.evaluation.metrics import per_prediction, ranks_of
from nextclick.evaluation.statistics.bootstrap import bootstrap_interval, ratio_interval
from nextclick.events.prefixes import Prefixes, next_clicks
from nextclick.events.readers import Reader
from nextclick.events.schema import LOST_DIGITS, MAX_ID_CHARS
from nextclick.events.sessions import SessionLog
from nextclick.events.tables import utc_database
from nextclick.events.values import macros
from nextclick.params import Params
from nextclick.progress import progress_bar
from nextclick.ranking.recommender import train_recommender
from nextclick.ranking.snapshot import Snapshot
from nextclick.units import MS_PER_MINUTE

K = 20
METRICS = (f"hr@{K}", f"mrr@{K}")
SPACING = MS_PER_MINUTE  # ms between sessions that have no times of their own


# each baseline as it ships, and STAN as session-rec tuned it for such logs
METHODS: dict[str, Callable[[], Baseline]] = BASELINES | {
    "STAN, tuned": partial(STAN, sample=5000, position=1.25, age=80, near=5)
}


def read_sessions(path: Path, begin: int = 0) -> pd.DataFrame:
    """Canonical events from a Parquet file with columns session_id, item_id and timestamp or position.

    Of clicks that share a timestamp the file's position says the order, without one the order of its rows.
    begin: ms since 1970 UTC, of the first session of a file without times.
    Raises InputError, naming file, column and row, if the file does not fit.
    """
    try:
        rows = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable Parquet file: {error}") from error
    for needed in ("session_id", "item_id"):
        if needed not in rows:
            raise InputError(f"{path}: no column {needed}; it has {list(rows.columns)}")
        if rows[needed].isna().any():
            raise InputError(f"{path}: row {int(rows[needed].isna().argmax())}: {needed} is empty")
        if rows[needed].map(lambda value: isinstance(value, list | dict | np.ndarray)).any():
            raise InputError(f"{path}: column {needed} must hold one id in a row, not lists")
        rows[needed] = _one_spelling(path, rows, needed)
    if rows.empty:
        raise InputError(f"{path}: no rows; expected at least one session")
    if "position" in rows and not (pd.api.types.is_integer_dtype(rows["position"]) and rows["position"].notna().all()):
        raise InputError(f"{path}: column position must hold a whole number in every row")
    positions = np.arange(len(rows))
    if "timestamp" in rows:
        times = rows["timestamp"]
        if not pd.api.types.is_datetime64_any_dtype(times) or times.isna().any():
            raise InputError(f"{path}: column timestamp must hold a time in every row")
        timestamps = pd.to_datetime(times, utc=True)
        if "position" in rows:
            positions = rows["position"].to_numpy(np.int64)
    elif "position" in rows:
        # order only: sessions in the order of their ids, a minute apart, clicks a millisecond
        order = np.unique(rows["session_id"], return_inverse=True)[1]
        ms = begin + order.astype(np.int64) * SPACING + rows["position"].to_numpy()
        timestamps = pd.to_datetime(ms, unit="ms", utc=True)
    else:
        raise InputError(f"{path}: needs a column timestamp or position; it has {list(rows.columns)}")
    return pd.DataFrame(
        {
            "event_id": np.arange(len(rows)),
            "session_id": rows["session_id"].to_numpy(),
            "item_id": rows["item_id"].astype(str).to_numpy(),
            "event_type": "view",
            "timestamp": pd.Series(timestamps).to_numpy(),
            "position": positions,
        }
    )


def _one_spelling(path: Path, rows: pd.DataFrame, name: str) -> pd.Series:
    """The ids of a column in the one spelling that ingest gives them too; whole numbers stay numbers, by which sessions
    are ordered. Raises InputError where a row has none or one that lost digits."""
    if pd.api.types.is_integer_dtype(rows[name]):
        return rows[name]
    with utc_database() as database:
        database.execute(macros())
        (table,) = Reader(database, path.parent).parquet([path], path.parent)
        text = database.sql(f"SELECT id_text({table.cell(name)}) AS text FROM ({table.rows}) ORDER BY row").df()["text"]
        lost = database.sql(
            f"SELECT coalesce(lost_digits({table.cell(name)}), false) AS lost FROM ({table.rows}) ORDER BY row"
        ).df()["lost"]
    for wrong, why in (
        (text.isna(), "is empty, or a word for nobody"),
        (lost, f"is {LOST_DIGITS}"),
        (text.str.len() > MAX_ID_CHARS, f"is longer than {MAX_ID_CHARS} characters"),
    ):
        if wrong.any():
            raise InputError(f"{path}: row {int(wrong.argmax())}: {name} {why}")
    # floats that were whole numbers
    return text.astype(np.int64) if pd.api.types.is_float_dtype(rows[name]) and text.str.isdigit().all() else text


def snapshot_of(train: Path, params: Params) -> Snapshot:
    """The snapshot of the sessions in a file that `read_sessions` can read."""
    log = SessionLog.from_events(read_sessions(train), ["view"])
    timed = "timestamp" in pq.read_schema(train).names
    return Snapshot.of(log, params.retrieval, params.run.seed, event_types=["view"], timed=timed)


def benchmark(
    train: Path, test: Path, params: Params, min_prefix: int = 1, baselines: bool = False
) -> tuple[dict, pd.DataFrame]:
    """The metrics of the papers in percent, and a frame with the rank of every prediction (session_id, position, rank).

    min_prefix: the least number of clicks before a prediction. baselines: also measure METHODS, with the
    interval of our metric over theirs.
    Raises InputError if a file does not fit, if only one has times, or if there is nothing to predict.
    """
    seconds: dict[str, float] = {}
    start = perf_counter()
    train_log = SessionLog.from_events(read_sessions(train), ["view"])
    # methods that weigh sessions by their age need a test that comes later
    test_events = read_sessions(test, begin=int(train_log.ends[-1]) + SPACING)
    test_log = SessionLog.from_events(test_events, ["view"], train_log.vocabulary)
    timed, test_timed = ("timestamp" in pq.read_schema(path).names for path in (train, test))
    if timed != test_timed:
        raise InputError(f"{test if timed else train}: no column timestamp, which the other file has")
    if (test_log.items < 0).all():
        ids = test_events["item_id"].iloc[0], train_log.vocabulary.ids[0]
        raise InputError(f"{test}: column item_id: no item of {train} is in it; such as {ids[0]!r}, there {ids[1]!r}")
    prefixes: Prefixes = next_clicks(test_log, min_known=min_prefix)
    if not len(prefixes):
        raise InputError(f"{test}: no session has more than {min_prefix} clicks, so there is nothing to predict")
    seconds["read"] = perf_counter() - start
    start = perf_counter()
    recommender, examples = train_recommender(train_log, params, event_types=["view"], timed=timed)
    seconds["train"] = perf_counter() - start
    start = perf_counter()
    ranks = ranks_of(recommender.recommend(prefixes, K), prefixes.targets)
    seconds["recommend"] = perf_counter() - start
    values = _percent(ranks)
    result = {
        **_measured(values, prefixes.sessions, params.run.seed),
        "predictions": len(prefixes),
        "sessions": test_log.n_sessions,
        "examples": len(examples.groups),
        "examples_recall": examples.recall,
        **({"baselines": measured_baselines(train_log, prefixes, values, params.run.seed)} if baselines else {}),
        "seconds": {step: round(value, 1) for step, value in seconds.items()},
    }
    return result, pd.DataFrame(
        {
            "session_id": test_log.session_ids[prefixes.sessions],
            "position": prefixes.lengths,
            "rank": ranks,
        }
    )


def measured_baselines(train_log: SessionLog, prefixes: Prefixes, ours: dict[str, np.ndarray], seed: int) -> dict:
    """The metrics of each baseline in percent, and the interval of ours over each, paired by prediction."""
    measured = {}
    for name, baseline in progress_bar(METHODS.items(), desc="baselines", unit="method"):
        theirs = _percent(ranks_of(baseline().fit(train_log).recommend(prefixes, K), prefixes.targets))
        measured[name] = _measured(theirs, prefixes.sessions, seed) | {
            f"{metric}_ratio": ratio_interval(ours[metric], theirs[metric], prefixes.sessions, seed)
            for metric in METRICS
        }
    return measured


def _percent(ranks: np.ndarray) -> dict[str, np.ndarray]:
    """(n,) values of each metric, in percent. ranks: (n,), 0 for an item that is not recommended."""
    return {metric: 100 * values for metric, values in per_prediction(ranks, K).items()}


def _measured(values: dict[str, np.ndarray], sessions: np.ndarray, seed: int) -> dict:
    """The mean and the interval of each metric. values: (n,) each; sessions: (n,), those of the predictions."""
    return {
        **{metric: float(values[metric].mean()) for metric in METRICS},
        **{f"{metric}_interval": bootstrap_interval(values[metric], sessions, seed) for metric in METRICS},
    }
