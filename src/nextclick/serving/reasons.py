"""Why an item is in the list: it was seen before, or the source of candidates that ranks it best and the clicked item
that it stands by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nextclick.retrieval.candidates import COLUMNS, UNRANKED
from nextclick.serving.shop import Shop

# in this order where ranks are equal: what follows the last click, what similar sessions hold, what the vectors say
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
    """item: the number of the clicked item that led to the recommendation, where there is one."""

    kind: str
    item: int | None

    def text(self, shop: Shop) -> str:
        return TEXTS[self.kind].format("" if self.item is None else shop.name(self.item))


SEEN, POPULAR = Reason("seen", None), Reason("popular", None)


def reasons(items: np.ndarray, ranks: np.ndarray, clicked: np.ndarray, vectors: np.ndarray) -> list[Reason]:
    """One for each of the recommended items.

    items: (k,) int32; ranks: (k, len(COLUMNS)), theirs by source; clicked: (c,) int32, the session's known items,
    oldest first; vectors: (n_items, d), the encoder's.
    """
    if not len(clicked):
        return [POPULAR] * len(items)
    seen = (ranks[:, OWN] < UNRANKED).tolist()
    ordered = ranks[:, _COLUMNS]
    strongest, best = _KIND[ordered.argmin(axis=1)].tolist(), ordered.min(axis=1).tolist()
    nearest = clicked[(vectors[items] @ vectors[clicked].T).argmax(axis=1)].tolist()
    return [
        SEEN if seen[i] else POPULAR if best[i] >= UNRANKED else _led(NAMES[strongest[i]], nearest[i], int(clicked[-1]))
        for i in range(len(items))
    ]


def _led(kind: str, nearest: int, last: int) -> Reason:
    return Reason(kind, last if kind == "clicked_next" else nearest)
