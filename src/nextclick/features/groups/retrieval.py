"""How each source of candidates rates them: its score, that score's share of the best one, its rank."""

from __future__ import annotations

import numpy as np
from numba import njit

from nextclick.features.feature_group import FeatureContext, FeatureGroup, ItemKnowledge
from nextclick.retrieval.candidates import COLUMNS


def _names(_: ItemKnowledge) -> tuple[str, ...]:
    return (*(f"{name}_{kind}" for kind in ("score", "share", "rank") for name in COLUMNS), "fusion")


def _fill(context: FeatureContext, out: np.ndarray) -> None:
    _write(context.candidates, out)


@njit(cache=True, nogil=True)
def _write(candidates, out):
    items, scores, ranks, fusion = candidates
    n, width, columns = scores.shape
    for i in range(n):
        best = np.full(columns, 1e-6, np.float32)
        for c in range(width):
            for k in range(columns):
                best[k] = max(best[k], scores[i, c, k])
        for c in range(width):
            if items[i, c] < 0:
                break
            for k in range(columns):
                out[i, c, k] = scores[i, c, k]
                out[i, c, columns + k] = scores[i, c, k] / best[k]
                out[i, c, 2 * columns + k] = ranks[i, c, k]
            out[i, c, 3 * columns] = fusion[i, c]


RETRIEVAL = FeatureGroup("retrieval", _names, _fill)
