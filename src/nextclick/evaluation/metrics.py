"""How good recommendations are, by one relevant item a prediction: the one that came next.

With one relevant item, recall@k is HR@k and precision@k is HR@k / k.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score


def ranks_of(lists: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(n,) int64: the rank of each target in its list, 1 the best, 0 if it is not in the list or is unknown (-1)."""
    hits = (lists == targets[:, None]) & (lists >= 0)
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)


def per_prediction(ranks: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """The value of each metric for each prediction, (n,) float64; their means are the metrics."""
    hit = (ranks > 0) & (ranks <= k)
    rank = np.maximum(ranks, 1)
    return {
        f"hr@{k}": hit.astype(float),
        f"mrr@{k}": np.where(hit, 1 / rank, 0.0),
        f"ndcg@{k}": np.where(hit, 1 / np.log2(rank + 1), 0.0),
        f"precision@{k}": hit / k,
    }


def catalogue_coverage(lists: np.ndarray, n_items: int) -> float:
    """The share of the catalogue that is in at least one list."""
    return len(np.unique(lists[lists >= 0])) / max(1, n_items)


def popularity_bias(lists: np.ndarray, clicks: np.ndarray) -> float:
    """The share of all recommendations that goes to the most clicked tenth of the items. clicks: (n_items,)."""
    head = np.zeros(len(clicks), bool)
    head[np.argsort(-clicks, kind="stable")[: max(1, len(clicks) // 10)]] = True
    return float(head[lists[lists >= 0]].mean())


def click_probability(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> dict[str, float]:
    """ROC-AUC, PR-AUC, the Brier score and the expected calibration error over bins of equal size.

    labels: (n,), whether each candidate was the next click; probabilities: (n,), that it would be.
    """
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
