"""Recommendations as a bundle would serve them now for recorded events, with the features that the ranker would see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nextclick.evaluation.metrics import ranks_of
from nextclick.events.prefixes import next_clicks
from nextclick.events.sessions import SessionLog
from nextclick.params import Features
from nextclick.progress import progress_bar
from nextclick.ranking.recommender import Recommender

CHUNK = 500  # predictions at a time


@dataclass(frozen=True)
class Replay:
    """served: a row a shown item: session (id), moment (ms since 1970 UTC), score, and the features. predictions: a row
    a prediction: session (id), rank (of the item that came next, 0: not shown)."""

    served: pd.DataFrame
    predictions: pd.DataFrame


def replay(
    recommender: Recommender,
    events: pd.DataFrame,
    before: pd.DataFrame,
    event_types: list[str],
    *,
    features: Features,
    k: int,
    max_served: int,
    seed: int,
    max_predictions: int = 0,
) -> Replay:
    """Predict each next click of canonical `events`, with item statistics published from them and from what came
    `before`. Of more than `max_served` predictions, or for the ranks than `max_predictions` if that is more, those of
    sessions that `seed` draws."""
    vocabulary = recommender.snapshot.vocabulary
    prefixes = next_clicks(SessionLog.from_events(events, event_types, vocabulary))
    order = np.random.default_rng(seed).permutation(prefixes.log.n_sessions)
    sizes = np.bincount(prefixes.sessions, minlength=len(order))[order]
    total = np.cumsum(sizes)
    is_served = np.isin(prefixes.sessions, order[total <= max_served])
    chosen = np.isin(prefixes.sessions, order[total <= max(max_served, max_predictions)])
    prefixes, is_served = prefixes.take(chosen), is_served[chosen]
    names = list(recommender.snapshot.feature_names)
    if not len(prefixes):
        return Replay(
            pd.DataFrame(columns=["session", "moment", "score", *names]), pd.DataFrame(columns=["session", "rank"])
        )
    recommender = recommender.as_published_during(prefixes, pd.concat([before, events]), event_types, features)
    moments, ids = prefixes.predicted_at, prefixes.log.session_ids
    lists = np.full((len(prefixes), k), -1, np.int32)
    served = []
    for first in progress_bar(range(0, len(prefixes), CHUNK), desc="replay", unit="chunk"):
        chunk = prefixes.take(slice(first, first + CHUNK))
        candidates, values = recommender.snapshot.features(chunk)
        scores = recommender.scores_of(candidates, values)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        lists[first : first + CHUNK, : best.shape[1]] = np.take_along_axis(candidates.items, best, axis=1)
        is_shown = np.take_along_axis(candidates.present, best, axis=1) & is_served[first : first + CHUNK, None]
        rows, ranks = np.nonzero(is_shown)
        shown = best[rows, ranks]
        about = {"session": ids[chunk.sessions[rows]], "moment": moments[first + rows], "score": scores[rows, shown]}
        served.append(pd.concat([pd.DataFrame(about), pd.DataFrame(values[rows, shown], columns=names)], axis=1))
    predictions = pd.DataFrame({"session": ids[prefixes.sessions], "rank": ranks_of(lists, prefixes.targets)})
    return Replay(pd.concat(served, ignore_index=True), predictions)
