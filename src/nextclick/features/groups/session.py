"""How a candidate stands to the session's clicks: whether and when it was among them, how near its vector lies."""

from __future__ import annotations

import numpy as np
from numba import njit

from nextclick.events.prefixes import known_clicks
from nextclick.features.feature_group import FeatureContext, FeatureGroup, ItemKnowledge
from nextclick.retrieval.scores import NEXT_LAST

NAMES = (
    "times_in_session",
    "clicks_since_in_session",  # -1: not in the session
    "session_clicks",
    "session_items",
    "last_item_clicks",  # log(1 + clicks in the index)
    "next_last_rate",  # share of the last item's clicks that this candidate followed
    "cosine_last",
    "cosine_second_last",  # -1: the session is shorter
    "cosine_third_last",
)


def _names(_: ItemKnowledge) -> tuple[str, ...]:
    return NAMES


def _fill(context: FeatureContext, out: np.ndarray) -> None:
    knowledge = context.knowledge
    _write(context.prefixes.arrays, context.candidates, knowledge.statistics.clicks, knowledge.encoder.vectors, out)


@njit(cache=True)
def cosine(vectors, a, b):
    """The cosine of two rows of `vectors`, which have unit length."""
    total = np.float32(0)
    for k in range(vectors.shape[1]):
        total += vectors[a, k] * vectors[b, k]
    return total


@njit(cache=True, nogil=True)
def _write(prefixes, candidates, item_clicks, vectors, out):
    n, width = candidates.items.shape
    for i in range(n):
        clicks = known_clicks(prefixes, i)
        n_clicks = len(clicks)
        distinct = len(np.unique(clicks))
        last_clicks = item_clicks[clicks[n_clicks - 1]] if n_clicks else np.float32(0)
        for c in range(width):
            item = candidates.items[i, c]
            if item < 0:
                break
            row = out[i, c]
            row[1] = -1
            for a in range(n_clicks):
                if clicks[a] == item:
                    row[0] += 1
                    row[1] = n_clicks - 1 - a
            row[2] = n_clicks
            row[3] = distinct
            row[4] = np.log1p(last_clicks)
            row[5] = candidates.scores[i, c, NEXT_LAST] / (last_clicks + 1)
            for back in range(3):
                row[6 + back] = cosine(vectors, clicks[n_clicks - 1 - back], item) if back < n_clicks else -1


SESSION = FeatureGroup("session", _names, _fill)
