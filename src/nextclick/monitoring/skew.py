"""Recomputes served features with the code of training: a difference is skew, since neither chance nor another time can
explain it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nextclick.events.prefixes import Prefixes
from nextclick.events.session_state import prefixes_of
from nextclick.features.statistics_versions import ItemHistory, lateness_ms
from nextclick.logs.prediction_log import Served, logged_click
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
    vocabulary = recommender.snapshot.vocabulary
    prefixes = prefixes_of([tuple(map(logged_click, state)) for state in lists["state"]], vocabulary)
    recommender = _as_served(recommender, prefixes, known, params)
    parts = [
        _of_chunk(recommender, prefixes.take(slice(start, start + CHUNK)), lists["ranked"].iloc[start : start + CHUNK])
        for start in progress_bar(range(0, len(lists), CHUNK), desc="skew", unit="chunk")
    ]
    trained = pd.DataFrame(np.concatenate(parts), columns=["score", *recommender.snapshot.feature_names])
    return rows, trained.reindex(columns=names)


def _as_served(recommender: Recommender, prefixes: Prefixes, known: pd.DataFrame, params: Params) -> Recommender:
    """The recommender with the statistics that have to be served: the bundle's own, until newer ones are published."""
    published = recommender.as_published_during(prefixes, known, params.ingest.event_types, params.features)
    history = published.snapshot.knowledge.history
    if history is None:
        return recommender
    bundled = recommender.snapshot.knowledge.statistics
    until = int(bundled.last_click.max(initial=0))
    newer = np.flatnonzero(history.published_at - lateness_ms(params.features) > until)
    versions = (bundled, *(history.versions[index] for index in newer))
    return recommender.with_history(ItemHistory(np.append(until, history.published_at[newer]), versions))


def _of_chunk(recommender: Recommender, prefixes: Prefixes, ranked: pd.Series) -> np.ndarray:
    """(shown items of the lists, 1 + n_features) float32: score and features."""
    candidates, values = recommender.snapshot.features(prefixes)
    scores = recommender.scores_of(candidates, values)
    lengths = ranked.str.len().to_numpy(np.int64)
    of = np.repeat(np.arange(len(ranked)), lengths)
    shown = recommender.snapshot.vocabulary.indices(np.concatenate(ranked.to_list()).astype(np.str_))
    is_candidate = candidates.items[of] == shown[:, None]
    index = is_candidate.argmax(axis=1)
    computed = np.column_stack([scores[of, index], values[of, index]])
    computed[~is_candidate.any(axis=1)] = np.nan
    return computed
