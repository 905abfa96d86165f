"""From the ranker's scores, which only order, to the probability that a candidate is the next click."""

from __future__ import annotations

import numpy as np
from sklearn.isotonic import IsotonicRegression

from nextclick.events.prefixes import Prefixes
from nextclick.ranking.recommender import Recommender

MAX_PREDICTIONS = 4000  # enough, and bounded in memory


def click_probabilities(recommender: Recommender, prefixes: Prefixes, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each candidate of a held-out half of the sessions was clicked, and its probability by an isotonic
    regression (Zadrozny and Elkan, 2002) on the other half. Both (n_candidates,)."""
    random = np.random.default_rng(seed)
    if len(prefixes) > MAX_PREDICTIONS:
        prefixes = prefixes.take(np.sort(random.choice(len(prefixes), MAX_PREDICTIONS, replace=False)))
    candidates, scores = recommender.scores(prefixes)
    clicked = candidates.items == prefixes.targets[:, None]
    sessions = np.unique(prefixes.sessions)
    is_fitted = np.isin(prefixes.sessions, random.permutation(sessions)[: len(sessions) // 2])[:, None]
    fitted, held_out = candidates.present & is_fitted, candidates.present & ~is_fitted
    mapping = IsotonicRegression(out_of_bounds="clip").fit(scores[fitted], clicked[fitted])
    return clicked[held_out].astype(float), mapping.predict(scores[held_out])
