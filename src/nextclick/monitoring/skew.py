"""Recomputes served features with the code of training: a difference is skew, since neither chance nor another time can
explain it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nextclick.events.prefixes import Prefixes
from nextclick.events.session_state import Click, prefixes_of
from nextclick.events.sessions import SessionLog
from nextclick.features.statistics_versions import ItemHistory, lateness_ms
from nextclick.logs.prediction_log import Served
from nextclick.params import Params
from nextclick.progress import progress_bar
from nextclick.ranking.recommender import Recommender

CHUNK = 500  # lists at a time


def recomputed(
    recommender: Recommender, served: Served, known: pd.DataFrame, params: Params
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The served features of the lists that knew a click, and for each row what the code of training computes for the
    same state, item and time; null if it would not have retrieved the item.

    known: canonical events from the beginning to the end of the window, of which item statistics are made as for
    training.
    """
    lists = served.lists
    names = [name for name in served.features.columns if name not in ("session", "moment")]
    of = (
        np.repeat(np.arange(len(lists)), lists["ranked"].str.len().to_numpy(np.int64))
        if len(lists)
        else np.empty(0, int)
    )
    some = lists["state"].str.len().to_numpy() > 0 if len(lists) else np.empty(0, bool)
    rows, lists = served.features.loc[some[of], names].reset_index(drop=True), lists[some]
    if lists.empty:
        return rows, rows
    types, vocabulary = params.ingest.event_types, recommender.snapshot.vocabulary
    prefixes = prefixes_of([tuple(Click(**click) for click in state) for state in lists["state"]], vocabulary)
    if recommender.snapshot.knowledge.timed:
        log = SessionLog.from_events(known, types, vocabulary)
        recommender = recommender.with_history(_history(recommender, log, prefixes.moments, params))
    parts = [
        _of_chunk(recommender, prefixes.take(slice(start, start + CHUNK)), lists["ranked"].iloc[start : start + CHUNK])
        for start in progress_bar(range(0, len(lists), CHUNK), desc="skew", unit="chunk")
    ]
    trained = pd.DataFrame(np.concatenate(parts), columns=["score", *recommender.snapshot.feature_names])
    return rows, trained.reindex(columns=names)


def _history(recommender: Recommender, log: SessionLog, moments: np.ndarray, params: Params) -> ItemHistory:
    """The statistics that have to be served at these moments: the bundle's own, until newer ones are published."""
    first, last = int(moments.min()), int(moments.max())
    made = recommender.snapshot.over(log, params.ingest.event_types, params.features, first, last).knowledge.history
    assert made is not None
    bundled = recommender.snapshot.knowledge.statistics
    until = int(bundled.last_click.max(initial=0))
    newer = np.flatnonzero(made.published_at - lateness_ms(params.features) > until)
    versions = (bundled, *(made.versions[place] for place in newer))
    return ItemHistory(np.append(until, made.published_at[newer]), versions)


def _of_chunk(recommender: Recommender, prefixes: Prefixes, ranked: pd.Series) -> np.ndarray:
    """(shown items of the lists, 1 + n_features) float32: score and features."""
    candidates, values = recommender.snapshot.features(prefixes)
    scores = recommender.scores_of(candidates, values)
    lengths = ranked.str.len().to_numpy(np.int64)
    of = np.repeat(np.arange(len(ranked)), lengths)
    shown = recommender.snapshot.vocabulary.numbers(np.concatenate(ranked.to_list()).astype(np.str_))
    is_candidate = candidates.items[of] == shown[:, None]
    index = is_candidate.argmax(axis=1)
    computed = np.column_stack([scores[of, index], values[of, index]])
    computed[~is_candidate.any(axis=1)] = np.nan
    return computed
