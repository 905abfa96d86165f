"""What is shown of the items, what a request may filter by, and the most popular ones, for lists that need filling."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from nextclick.ranking.snapshot import Snapshot

HIGHEST = float(np.finfo(np.float32).max)
SEPARATORS = "/>|"  # between the levels of a category path, as in `features.catalogue`


@dataclass(frozen=True)
class Filters:
    """What a list must leave out: items by their numbers, other categories than this one and those below it, other
    prices. An item whose category or price is unknown passes no filter by it."""

    exclude: tuple[int, ...] = ()
    category: str | None = None
    price_min: float | None = None
    price_max: float | None = None

    @property
    def any(self) -> bool:
        return bool(self.exclude) or not (self.category is None and self.price_min is None and self.price_max is None)


@dataclass(frozen=True)
class Shop:
    """ids, titles, categories: of each item, text or None. prices: (n_items,) float32, NaN where unknown.
    popular: (n_items,) int32, all items, the most clicked lately first."""

    ids: list[str]
    titles: list[str | None]
    categories: list[str | None]
    prices: np.ndarray
    popular: np.ndarray

    @classmethod
    def of(cls, snapshot: Snapshot, items: pa.Table) -> Shop:
        """items: what the bundle says of each item, in the order of the vocabulary."""
        ids = snapshot.vocabulary.ids.tolist()
        statistics = snapshot.knowledge.statistics
        popular = np.lexsort((-statistics.clicks, -statistics.clicks_lately)).astype(np.int32)
        titles, categories = items["title"].to_pylist(), items["category"].to_pylist()
        return cls(ids, titles, categories, snapshot.knowledge.catalogue.price, popular)

    def name(self, item: int) -> str:
        """Its title, or its id where it has none."""
        return self.titles[item] or self.ids[item]

    def price(self, item: int) -> float | None:
        price = float(self.prices[item])
        return None if np.isnan(price) else round(price, 2)

    @cached_property
    def _codes(self) -> np.ndarray:
        """(n_items,) int64: the place of each item's category in `_paths`, -1 where it has none."""
        places = {path: place for place, path in enumerate(self._paths)}
        return np.array([places.get(category or "", -1) for category in self.categories])

    @cached_property
    def _paths(self) -> list[str]:
        return sorted({category for category in self.categories if category})

    @cached_property
    def category_codes(self) -> dict[str, list[int]]:
        """All categories, those above a whole path too, each with the codes of the paths at and below it."""
        codes: dict[str, list[int]] = {}
        for code, path in enumerate(self._paths):
            ends = [end for end, letter in enumerate(path) if letter in SEPARATORS] + [len(path)]
            for name in dict.fromkeys(path[:end].strip() for end in ends):
                codes.setdefault(name, []).append(code)
        return codes

    def allowed(self, filters: Filters) -> np.ndarray:
        """(n_items,) bool: which items may be shown."""
        allowed = np.ones(len(self.ids), bool)
        if filters.category is not None:
            allowed &= np.isin(self._codes, self.category_codes.get(filters.category, []))
        if filters.price_min is not None:
            allowed &= self.prices >= min(filters.price_min, HIGHEST)
        if filters.price_max is not None:
            allowed &= self.prices <= min(filters.price_max, HIGHEST)
        allowed[list(filters.exclude)] = False
        return allowed
