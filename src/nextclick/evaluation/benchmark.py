"""The papers' protocol on anyone's sessions: after each click of each test session, where does the next item stand?"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd

from nextclick.errors import InputError
from nextclick.events.prefixes import Prefixes, next_clicks
from nextclick.events.sessions import SessionLog
from nextclick.params import Params
from nextclick.ranking.recommender import train_recommender

K = 20
RESAMPLES = 1000
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
    if rows.empty:
        raise InputError(f"{path}: no rows; expected at least one session")
    if "timestamp" in rows:
        times = rows["timestamp"]
        if not pd.api.types.is_datetime64_any_dtype(times) or times.isna().any():
            raise InputError(f"{path}: column timestamp must hold a moment in every row")
        moments = pd.to_datetime(times, utc=True)
    elif "position" in rows:
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


def interval(values: np.ndarray, sessions: np.ndarray, seed: int) -> list[float]:
    """The 95 % percentile bootstrap interval of the mean; whole sessions are resampled, since their clicks go together.

    values, sessions: (n,), the value of each prediction and the number of its session.
    """
    places = np.unique(sessions, return_inverse=True)[1]
    sums, counts = np.bincount(places, weights=values), np.bincount(places)
    random = np.random.default_rng(seed)
    means = []
    for _ in range(RESAMPLES):
        drawn = random.integers(0, len(sums), len(sums))
        means.append(sums[drawn].sum() / counts[drawn].sum())
    return [float(x) for x in np.percentile(means, [2.5, 97.5])]


def ranks_of(lists: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(n,) int64: place of each target in its list, 1 the best, 0 where it is not there."""
    hits = (lists == targets[:, None]) & (lists >= 0)
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)


def benchmark(train: Path, test: Path, params: Params, min_prefix: int = 1) -> tuple[dict, pd.DataFrame]:
    """The figures of the papers in percent, and the rank of every prediction (session_id, position, rank)."""
    seconds: dict[str, float] = {}
    start = perf_counter()
    known = SessionLog.from_events(read_sessions(train), ["view"])
    asked = SessionLog.from_events(read_sessions(test), ["view"], known.vocabulary)
    prefixes: Prefixes = next_clicks(asked, min_known=min_prefix)
    if not len(prefixes):
        raise InputError(f"{test}: no session has more than {min_prefix} clicks, so there is nothing to predict")
    seconds["read"] = perf_counter() - start
    start = perf_counter()
    recommender, examples = train_recommender(
        known, params.retrieval, params.ranker, params.run.seed, params.run.threads
    )
    seconds["train"] = perf_counter() - start
    start = perf_counter()
    rank = ranks_of(recommender.recommend(prefixes, K), prefixes.targets)
    seconds["recommend"] = perf_counter() - start
    hit = 100.0 * (rank > 0)
    reciprocal = np.where(rank > 0, 100.0 / np.maximum(rank, 1), 0.0)
    result = {
        "hr@20": float(hit.mean()),
        "hr@20_interval": interval(hit, prefixes.sessions, params.run.seed),
        "mrr@20": float(reciprocal.mean()),
        "mrr@20_interval": interval(reciprocal, prefixes.sessions, params.run.seed),
        "predictions": len(prefixes),
        "sessions": asked.n_sessions,
        "examples": len(examples.groups),
        "examples_recall": examples.recall,
        "seconds": {step: round(value, 1) for step, value in seconds.items()},
    }
    return result, pd.DataFrame(
        {
            "session_id": asked.session_ids[prefixes.sessions],
            "position": prefixes.lengths,
            "rank": rank,
        }
    )
