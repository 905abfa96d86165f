"""What depends on the candidate alone, looked up."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from nextclick.features.scene import FeatureGroup, Knowledge, Scene


def _names(knowledge: Knowledge) -> tuple[str, ...]:
    return tuple(knowledge.item_columns)


def _fill(scene: Scene, out: np.ndarray) -> None:
    _write(scene.candidates.items, scene.knowledge.item_table, out)


@njit(cache=True, parallel=True)
def _write(items, table, out):
    for i in prange(len(items)):
        for c in range(items.shape[1]):
            if items[i, c] < 0:
                break
            for k in range(table.shape[1]):
                out[i, c, k] = table[items[i, c], k]


ITEM = FeatureGroup("item", _names, _fill)
