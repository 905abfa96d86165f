"""The papers' protocol on anyone's sessions: after each click of each test session, where does the next item stand?"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from nextclick.errors import InputError
from nextclick.evaluation.baselines import BASELINES
from nextclick.evaluation.metrics import interval, paired_ratio, per_prediction, ranks_of
from nextclick.events.prefixes import Prefixes, next_clicks
from nextclick.events.schema import LONGEST_ID
from nextclick.events.sessions import SessionLog
from nextclick.params import Params
from nextclick.progress import progress_bar
from nextclick.ranking.recommender import train_recommender
from nextclick.ranking.snapshot import Snapshot

K = 20
FIGURES = (f"hr@{K}", f"mrr@{K}")
SPACING = 60_000  # ms between sessions that have no times of their own


def read_sessions(path: Path) -> pd.DataFrame:
    """Sessions with columns session_id, item_id and timestamp or position, as canonical events."""
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
        too_long = rows[needed].astype(str).str.len() > LONGEST_ID
        if too_long.any():
            raise InputError(f"{path}: row {int(too_long.argmax())}: {needed} is longer than {LONGEST_ID} characters")
    if rows.empty:
        raise InputError(f"{path}: no rows; expected at least one session")
    if "timestamp" in rows:
        times = rows["timestamp"]
        if not pd.api.types.is_datetime64_any_dtype(times) or times.isna().any():
            raise InputError(f"{path}: column timestamp must hold a moment in every row")
        moments = pd.to_datetime(times, utc=True)
    elif "position" in rows:
        if not pd.api.types.is_integer_dtype(rows["position"]):
            raise InputError(f"{path}: column position must hold a whole number in every row")
        # order only: sessions in the order of their ids, a minute apart, clicks a millisecond
        order = np.unique(rows["session_id"], return_inverse=True)[1]
        moments = pd.to_datetime(order.astype(np.int64) * SPACING + rows["position"].to_numpy(), unit="ms", utc=True)
    else:
        raise InputError(f"{path}: needs a column timestamp or position; it has {list(rows.columns)}")
    return pd.DataFrame(
        {
            "event_id": np.arange(len(rows)),
            "session_id": rows["session_id"].to_numpy(),
            "item_id": rows["item_id"].astype(str).to_numpy(),
            "event_type": "view",
            "timestamp": pd.Series(moments).to_numpy(),
        }
    )


def snapshot_of(train: Path, params: Params) -> Snapshot:
    """What is known of the sessions in a file of the form that `read_sessions` takes."""
    log = SessionLog.from_events(read_sessions(train), ["view"])
    timed = "timestamp" in pq.read_schema(train).names
    return Snapshot.of(log, params.retrieval, params.run.seed, event_types=["view"], timed=timed)


def benchmark(
    train: Path, test: Path, params: Params, min_prefix: int = 1, baselines: bool = False
) -> tuple[dict, pd.DataFrame]:
    """The figures of the papers in percent, and the rank of every prediction (session_id, position, rank).

    baselines: measure those of `nextclick.evaluation.baselines` too, with the interval of ours over theirs.
    """
    seconds: dict[str, float] = {}
    start = perf_counter()
    known = SessionLog.from_events(read_sessions(train), ["view"])
    asked = SessionLog.from_events(read_sessions(test), ["view"], known.vocabulary)
    timed, test_timed = ("timestamp" in pq.read_schema(path).names for path in (train, test))
    if timed != test_timed:
        raise InputError(f"{test if timed else train}: no column timestamp, which the other file has")
    if (asked.items < 0).all():
        ids = read_sessions(test)["item_id"].iloc[0], known.vocabulary.ids[0]
        raise InputError(f"{test}: column item_id: no item of {train} is in it; such as {ids[0]!r}, there {ids[1]!r}")
    prefixes: Prefixes = next_clicks(asked, min_known=min_prefix)
    if not len(prefixes):
        raise InputError(f"{test}: no session has more than {min_prefix} clicks, so there is nothing to predict")
    seconds["read"] = perf_counter() - start
    start = perf_counter()
    recommender, examples = train_recommender(known, params, event_types=["view"], timed=timed)
    seconds["train"] = perf_counter() - start
    start = perf_counter()
    rank = ranks_of(recommender.recommend(prefixes, K), prefixes.targets)
    seconds["recommend"] = perf_counter() - start
    values = {name: 100 * value for name, value in per_prediction(rank, K).items()}
    result = {
        **{name: float(values[name].mean()) for name in FIGURES},
        **{f"{name}_interval": interval(values[name], prefixes.sessions, params.run.seed) for name in FIGURES},
        "predictions": len(prefixes),
        "sessions": asked.n_sessions,
        "examples": len(examples.groups),
        "examples_recall": examples.recall,
        **({"baselines": measured_baselines(known, prefixes, values, params.run.seed)} if baselines else {}),
        "seconds": {step: round(value, 1) for step, value in seconds.items()},
    }
    return result, pd.DataFrame(
        {
            "session_id": asked.session_ids[prefixes.sessions],
            "position": prefixes.lengths,
            "rank": rank,
        }
    )


def measured_baselines(known: SessionLog, prefixes: Prefixes, ours: dict[str, np.ndarray], seed: int) -> dict:
    """The figures of each baseline in percent, and the interval of ours over it, paired by prediction."""
    found = {}
    for name, baseline in progress_bar(BASELINES.items(), desc="baselines", unit="method"):
        ranks = ranks_of(baseline().fit(known).recommend(prefixes, K), prefixes.targets)
        theirs = {figure: 100 * value for figure, value in per_prediction(ranks, K).items()}
        found[name] = {
            **{figure: float(theirs[figure].mean()) for figure in FIGURES},
            **{f"{figure}_interval": interval(theirs[figure], prefixes.sessions, seed) for figure in FIGURES},
            **{
                f"{figure}_ratio": paired_ratio(ours[figure], theirs[figure], prefixes.sessions, seed)
                for figure in FIGURES
            },
        }
    return found
