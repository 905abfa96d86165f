"""From the ranker's scores, which only order, to the probability that a candidate is the next click."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.isotonic import IsotonicRegression

from nextclick.events.prefixes import Prefixes
from nextclick.ranking.recommender import Recommender

MAX_PREDICTIONS = 4000  # enough, and bounded in memory
TOP = 0.05  # of the candidates: where most clicks are, and all that a list shows


class HeldOut(NamedTuple):
    """Of the candidates of the held-out sessions, whether each was clicked, the probability that it would be, and its
    session. Each (n_candidates,)."""

    clicked: np.ndarray
    probabilities: np.ndarray
    sessions: np.ndarray


class TopClicks(NamedTuple):
    """The clicks of each held-out session, on all its candidates and on those among the TOP of all by probability, and
    how many there were expected to be. Each (n_sessions,)."""

    clicks: np.ndarray
    observed: np.ndarray
    expected: np.ndarray


def held_out_clicks(recommender: Recommender, prefixes: Prefixes, seed: int) -> HeldOut:
    """What the recommender makes of some prefixes, as `calibrated` tells it."""
    random = np.random.default_rng(seed)
    if len(prefixes) > MAX_PREDICTIONS:
        prefixes = prefixes.take(np.sort(random.choice(len(prefixes), MAX_PREDICTIONS, replace=False)))
    candidates, scores = recommender.scores(prefixes)
    clicked = candidates.items == prefixes.targets[:, None]
    sessions = np.broadcast_to(prefixes.sessions[:, None], clicked.shape)
    present = candidates.present
    return calibrated(scores[present], clicked[present], sessions[present], random)


def calibrated(scores: np.ndarray, clicked: np.ndarray, sessions: np.ndarray, random: np.random.Generator) -> HeldOut:
    """Probabilities of a random half of the sessions, by an isotonic regression (Zadrozny and Elkan, 2002) on the other
    half. scores, clicked, sessions: (n_candidates,)."""
    distinct = np.unique(sessions)
    fitted = np.isin(sessions, random.permutation(distinct)[: len(distinct) // 2])
    mapping = IsotonicRegression(out_of_bounds="clip").fit(scores[fitted], clicked[fitted])
    return HeldOut(clicked[~fitted].astype(float), mapping.predict(scores[~fitted]), sessions[~fitted])


def click_probabilities(recommender: Recommender, prefixes: Prefixes, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each candidate of a held-out half of the sessions was clicked, and its probability. Both
    (n_candidates,)."""
    return held_out_clicks(recommender, prefixes, seed)[:2]


def top_clicks(held_out: HeldOut, seed: int) -> TopClicks:
    """Among equal probabilities chance says which are in the TOP."""
    clicked, probabilities, sessions = held_out
    chance = np.random.default_rng(seed).random(len(clicked))
    top = np.lexsort((chance, -probabilities))[: round(TOP * len(clicked))]
    indices = np.unique(sessions, return_inverse=True)[1]
    n = int(indices.max(initial=-1)) + 1
    return TopClicks(
        np.bincount(indices, clicked, n),
        np.bincount(indices[top], clicked[top], n),
        np.bincount(indices[top], probabilities[top], n),
    )
