"""From the ranker's scores, which only order, to the probability that a candidate is the next click."""

from __future__ import annotations

import numpy as np
from sklearn.isotonic import IsotonicRegression

from nextclick.events.prefixes import Prefixes
from nextclick.ranking.recommender import Recommender

MOST = 4000  # predictions to judge by: enough, and bounded in memory


def click_probabilities(recommender: Recommender, prefixes: Prefixes, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each candidate of a held-out half of the sessions was clicked, and its probability by an isotonic
    regression (Zadrozny and Elkan, 2002) on the other half. Both (n_candidates,)."""
    random = np.random.default_rng(seed)
    if len(prefixes) > MOST:
        prefixes = prefixes.take(np.sort(random.choice(len(prefixes), MOST, replace=False)))
    candidates, scores = recommender.scores(prefixes)
    clicked = candidates.items == prefixes.targets[:, None]
    sessions = np.unique(prefixes.sessions)
    taught = np.isin(prefixes.sessions, random.permutation(sessions)[: len(sessions) // 2])[:, None]
    learn, judge = candidates.present & taught, candidates.present & ~taught
    mapping = IsotonicRegression(out_of_bounds="clip").fit(scores[learn], clicked[learn])
    return clicked[judge].astype(float), mapping.predict(scores[judge])
