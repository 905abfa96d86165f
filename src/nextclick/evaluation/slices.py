"""Slices of the predictions: for whom the recommendations are better or worse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from nextclick.evaluation.statistics.bootstrap import bootstrap_interval
from nextclick.events.click_order import ORDER, read_columns
from nextclick.events.prefixes import Prefixes
from nextclick.units import MS_PER_HOUR

FEW_CLICKS = 5  # an item with fewer in training counts as new


def by_known_events(counts: np.ndarray) -> np.ndarray:
    """(n,) the slice of each prediction by the number of events of its session that are known. counts: (n,)."""
    return np.asarray(pd.cut(counts, [-1, 0, 1, 2, 4, np.inf], labels=["0", "1", "2", "3-4", "5+"]).astype(str))


def labels(prefixes: Prefixes, clicks: np.ndarray, event_types: list[str]) -> pd.DataFrame:
    """The slice of each prediction: a row for each, a column for each way to slice them.

    clicks: (n_items,), the number of clicks on each item in training.
    """
    log, targets = prefixes.log, prefixes.targets
    training_clicks = np.where(targets >= 0, clicks[targets], 0)
    ranks = np.empty(len(clicks))
    ranks[np.argsort(-clicks, kind="stable")] = np.arange(len(clicks)) / max(1, len(clicks))
    popularity = np.where(targets >= 0, ranks[targets], 1.0)
    repeated = np.array(
        [
            target in log.items[start:end]
            for target, start, end in zip(targets, prefixes.starts, prefixes.ends, strict=True)
        ],
        dtype=bool,
    )
    hours = (log.times[prefixes.ends - 1] // MS_PER_HOUR) % 24
    return pd.DataFrame(
        {
            "known events": by_known_events(prefixes.lengths),
            "next item": np.select([targets < 0, training_clicks < FEW_CLICKS], ["never seen", "rarely seen"], "known"),
            "popularity": np.select([popularity < 0.1, popularity < 0.5], ["head", "middle"], "tail"),
            "repeat": np.where(repeated, "yes", "no"),
            "last event": np.asarray(event_types)[log.types[prefixes.ends - 1]],
            "hour": np.select([hours < 6, hours < 12, hours < 18], ["night", "morning", "afternoon"], "evening"),
        }
    )


def by_slice(values: np.ndarray, labelled: pd.DataFrame, sessions: np.ndarray, seed: int) -> pd.DataFrame:
    """Mean and 95 % interval of a metric in each slice. values, sessions: (n,), aligned with the rows of `labelled`."""
    rows = []
    for slicing in labelled.columns:
        for label in sorted(labelled[slicing].unique()):
            chosen = (labelled[slicing] == label).to_numpy()
            low, high = bootstrap_interval(values[chosen], sessions[chosen], seed)
            rows.append((slicing, label, int(chosen.sum()), float(values[chosen].mean()), low, high))
    return pd.DataFrame(rows, columns=["slice", "label", "predictions", "value", "low", "high"])


def oracle_ranks(source: Path, events: Path, prefixes: Prefixes) -> np.ndarray | None:
    """(n,) the rank of each next item in the oracle's list, 0 if it is not in it; None if the source has no oracle.

    events: canonical, of which the log of `prefixes` holds some sessions or all.
    """
    if not (source / "oracle.parquet").is_file():
        return None
    oracle = pd.read_parquet(source / "oracle.parquet").set_index("event_id")["rank"]
    rows = read_columns(events, ["event_id", "session_id", "timestamp"])
    rows = rows[rows["session_id"].isin(prefixes.log.session_ids)]
    # the order of SessionLog.from_events
    rows = rows.assign(end=rows.groupby("session_id")["timestamp"].transform("max"))
    ordered = rows.sort_values(["end", "session_id", *ORDER])["event_id"]
    return oracle.reindex(ordered.iloc[prefixes.ends]).fillna(0).to_numpy(dtype=np.int64)
