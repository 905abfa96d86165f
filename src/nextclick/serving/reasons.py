"""Why an item is in the list: the source of candidates that ranks it best, and the clicked item that it stands by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nextclick.retrieval.candidates import COLUMNS, UNRANKED
from nextclick.serving.shop import Shop

# in this order where ranks are equal; the columns of a session's last click, of similar sessions, of the item vectors
KINDS = {
    "seen": ("own",),
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
_KIND_OF_COLUMN = np.array([next(i for i, kind in enumerate(NAMES) if column in KINDS[kind]) for column in COLUMNS])
_BY_KIND = np.argsort(_KIND_OF_COLUMN, kind="stable")


class Reason(NamedTuple):
    """item: the number of the clicked item that led to the recommendation, where there is one."""

    kind: str
    item: int | None

    def text(self, shop: Shop) -> str:
        return TEXTS[self.kind].format("" if self.item is None else shop.name(self.item))


POPULAR = Reason("popular", None)


def reasons(items: np.ndarray, ranks: np.ndarray, clicked: np.ndarray, vectors: np.ndarray) -> list[Reason]:
    """One for each of the recommended items.

    items: (k,) int32; ranks: (k, len(COLUMNS)), theirs by source; clicked: (c,) int32, the session's known items,
    oldest first; vectors: (n_items, d), the encoder's.
    """
    if not len(clicked):
        return [POPULAR] * len(items)
    ordered = ranks[:, _BY_KIND]
    strongest = _KIND_OF_COLUMN[_BY_KIND[ordered.argmin(axis=1)]]
    nearest = clicked[(vectors[items] @ vectors[clicked].T).argmax(axis=1)]
    found = []
    for kind, best, near in zip(strongest.tolist(), ordered.min(axis=1).tolist(), nearest.tolist(), strict=True):
        if best >= UNRANKED:
            found.append(POPULAR)
        elif NAMES[kind] == "seen":
            found.append(Reason("seen", None))
        else:
            found.append(Reason(NAMES[kind], int(clicked[-1]) if NAMES[kind] == "clicked_next" else near))
    return found
