"""How good ordered lists are, with intervals. One relevant item a prediction: the one that came next.

With one relevant item, recall@k is HR@k and precision@k is HR@k / k.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

RESAMPLES = 1000
TOGETHER = 50  # resamples that are held as floats at a time


def ranks_of(lists: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(n,) int64: place of each target in its list, 1 the best, 0 where it is not there (or is unknown, -1)."""
    hits = (lists == targets[:, None]) & (lists >= 0)
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)


def per_prediction(ranks: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """The value of each metric for each prediction, (n,) float64; their means are the metrics."""
    found = (ranks > 0) & (ranks <= k)
    place = np.maximum(ranks, 1)
    return {
        f"hr@{k}": found.astype(float),
        f"mrr@{k}": np.where(found, 1 / place, 0.0),
        f"ndcg@{k}": np.where(found, 1 / np.log2(place + 1), 0.0),
        f"precision@{k}": found / k,
    }


def resampled_sessions(sessions: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What a bootstrap over sessions needs: (n,) place of each prediction's session, and (RESAMPLES, n_sessions) how
    often each session is drawn. Whole sessions are drawn, since their predictions go together."""
    places = np.unique(sessions, return_inverse=True)[1]
    n = int(places.max()) + 1
    random = np.random.default_rng(seed)
    drawn = np.empty((RESAMPLES, n), np.uint8)  # a session drawn more than ten times is a rarity
    for i in range(RESAMPLES):
        drawn[i] = np.bincount(random.integers(0, n, n), minlength=n)
    return places, drawn


def resampled_means(values: np.ndarray, places: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(RESAMPLES,) the mean of `values` in each resample of `resampled_sessions`."""
    sums, counts = np.bincount(places, weights=values), np.bincount(places).astype(float)
    several = (drawn[first : first + TOGETHER].astype(float) for first in range(0, len(drawn), TOGETHER))
    return np.concatenate([(some @ sums) / (some @ counts) for some in several])


def interval(values: np.ndarray, sessions: np.ndarray, seed: int) -> list[float]:
    """The 95 % percentile bootstrap interval of the mean over sessions. values, sessions: (n,)."""
    means = resampled_means(values, *resampled_sessions(sessions, seed))
    return [float(x) for x in np.percentile(means, [2.5, 97.5])]


def paired_ratio(ours: np.ndarray, theirs: np.ndarray, sessions: np.ndarray, seed: int) -> list[float]:
    """The 95 % interval of mean(ours) / mean(theirs), both on the same predictions and the same resamples."""
    places, drawn = resampled_sessions(sessions, seed)
    ratios = resampled_means(ours, places, drawn) / np.maximum(resampled_means(theirs, places, drawn), 1e-12)
    return [float(x) for x in np.percentile(ratios, [2.5, 97.5])]


def catalogue_coverage(lists: np.ndarray, n_items: int) -> float:
    """The share of the catalogue that stands in at least one list."""
    return len(np.unique(lists[lists >= 0])) / max(1, n_items)


def popularity_bias(lists: np.ndarray, clicks: np.ndarray) -> float:
    """The share of all recommendations that goes to the most clicked tenth of the items. clicks: (n_items,)."""
    head = np.zeros(len(clicks), bool)
    head[np.argsort(-clicks, kind="stable")[: max(1, len(clicks) // 10)]] = True
    return float(head[lists[lists >= 0]].mean())


def click_probability(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> dict[str, float]:
    """Of candidates, each with whether it was the next click and its probability: ROC-AUC, PR-AUC, the Brier score and
    the expected calibration error over bins of equal size."""
    order = np.argsort(probabilities, kind="stable")
    gaps = [
        len(part) * abs(labels[part].mean() - probabilities[part].mean())
        for part in np.array_split(order, bins)
        if len(part)
    ]
    return {
        "roc_auc": float(roc_auc_score(labels, probabilities)),
        "pr_auc": float(average_precision_score(labels, probabilities)),
        "brier": float(brier_score_loss(labels, probabilities)),
        "calibration_error": float(sum(gaps) / len(labels)),
    }
