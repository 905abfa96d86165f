"""What depends on the candidate alone, looked up in the version that was published when the prediction is made."""

from __future__ import annotations

import numpy as np
from numba import njit

from nextclick.features.feature_group import FeatureContext, FeatureGroup, ItemKnowledge


def _names(knowledge: ItemKnowledge) -> tuple[str, ...]:
    return tuple(knowledge.item_columns)


def _fill(context: FeatureContext, out: np.ndarray) -> None:
    versions = context.knowledge.versions_at(context.prefixes.predicted_at)
    _write(context.candidates.items, versions, context.knowledge.item_tables, out)


@njit(cache=True, nogil=True)
def _write(items, versions, tables, out):
    for i in range(len(items)):
        table = tables[versions[i]]
        for c in range(items.shape[1]):
            if items[i, c] < 0:
                break
            for k in range(table.shape[1]):
                out[i, c, k] = table[items[i, c], k]


ITEM = FeatureGroup("item", _names, _fill)
