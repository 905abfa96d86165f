"""NDCG@20 within the sampled candidates of a group, which are not all candidates: for curves, not as a final metric."""

from __future__ import annotations

import numpy as np
import xgboost as xgb

from nextclick.ranking.ranker import Examples


def ndcg_of_groups(booster: xgb.Booster, examples: Examples) -> np.ndarray:
    """(n_groups,) NDCG@20 within the sampled candidates of each group."""
    scores = booster.inplace_predict(np.ascontiguousarray(examples.features))
    ends = np.cumsum(examples.groups)
    first = ends - examples.groups  # the index of the positive
    positive = np.repeat(scores[first], examples.groups)
    better, alike = (np.add.reduceat(rows, first) for rows in (scores > positive, scores == positive))
    return expected_gain(better, alike)


def expected_gain(better: np.ndarray, alike: np.ndarray, k: int = 20) -> np.ndarray:
    """(n,) NDCG@k of one positive each, averaged over the orders of those that score alike (McSherry and Najork, 2008).

    better: (n,) how many score higher than the positive. alike: (n,) how many score as it does, itself among them.
    """
    gains = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(k) + 2))])
    until = [gains[np.minimum(places, k)] for places in (better, better + alike)]
    return np.asarray((until[1] - until[0]) / alike)
