"""Why an item is recommended: it was seen before, or the source of candidates that ranks it best and the clicked item
that led to it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nextclick.retrieval.candidates import COLUMNS, UNRANKED
from nextclick.serving.item_catalogue import ItemCatalogue

# if ranks are equal, the first kind counts: what follows the last click, similar sessions, then the item vectors
KINDS = {
    "clicked_next": ("next_last", "after_last", "before_last"),
    "similar_sessions": ("neighbours", "neighbours_near", "neighbours_after", "neighbours_next", "after", "near"),
    "similar_item": ("encoder",),
}
TEXTS = {
    "seen": "you looked at it before",
    "clicked_next": "often clicked after {}",
    "similar_sessions": "chosen by others who viewed {}",
    "similar_item": "because you viewed {}",
    "popular": "popular now",
}
NAMES = tuple(KINDS)
OWN = COLUMNS.index("own")
_COLUMNS = np.array([COLUMNS.index(column) for columns in KINDS.values() for column in columns])
_KIND = np.repeat(np.arange(len(KINDS)), [len(columns) for columns in KINDS.values()])


class Reason(NamedTuple):
    """item: the index of the clicked item that led to the recommendation, if one did."""

    kind: str
    item: int | None

    def text(self, catalogue: ItemCatalogue) -> str:
        return TEXTS[self.kind].format("" if self.item is None else catalogue.name(self.item))


SEEN, POPULAR = Reason("seen", None), Reason("popular", None)


def reasons(items: np.ndarray, ranks: np.ndarray, clicked: np.ndarray, vectors: np.ndarray) -> list[Reason]:
    """The reason of each recommended item.

    items: (k,) int32 item indices. ranks: (k, len(COLUMNS)), their ranks by source. clicked: (c,) int32, the session's
    items in the vocabulary, oldest first. vectors: (n_items, d), of the encoder.
    """
    if not len(clicked):
        return [POPULAR] * len(items)
    seen = (ranks[:, OWN] < UNRANKED).tolist()
    ordered = ranks[:, _COLUMNS]
    kind, best = _KIND[ordered.argmin(axis=1)].tolist(), ordered.min(axis=1).tolist()
    nearest = clicked[(vectors[items] @ vectors[clicked].T).argmax(axis=1)].tolist()
    return [
        SEEN if seen[i] else POPULAR if best[i] >= UNRANKED else _reason(NAMES[kind[i]], nearest[i], int(clicked[-1]))
        for i in range(len(items))
    ]


def _reason(kind: str, nearest: int, last: int) -> Reason:
    return Reason(kind, last if kind == "clicked_next" else nearest)
