"""The items as the service shows them: titles, categories and prices, filters by them, and popular items to fill up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from nextclick.features.catalogue import CATEGORY_SEPARATORS
from nextclick.ranking.snapshot import Snapshot

HIGHEST_PRICE = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Filters:
    """The items that recommendations may not hold.

    exclude: item indices. category: only items of it or of one below it. price_min, price_max: inclusive. An item whose
    category or price is unknown passes no filter by it.
    """

    exclude: tuple[int, ...] = ()
    category: str | None = None
    price_min: float | None = None
    price_max: float | None = None

    @property
    def any(self) -> bool:
        return bool(self.exclude) or not (self.category is None and self.price_min is None and self.price_max is None)


@dataclass(frozen=True)
class ItemCatalogue:
    """ids, titles, categories: of each item, text or None. prices: (n_items,) float32, NaN where unknown.
    popular: (n_items,) int32, all item indices, the most clicked lately first."""

    ids: list[str]
    titles: list[str | None]
    categories: list[str | None]
    prices: np.ndarray
    popular: np.ndarray

    @classmethod
    def of(cls, snapshot: Snapshot, items: pa.Table) -> ItemCatalogue:
        """items: the bundle's columns `title` and `category`, in the order of the vocabulary."""
        return cls(
            ids=snapshot.vocabulary.ids.tolist(),
            titles=items["title"].to_pylist(),
            categories=items["category"].to_pylist(),
            prices=snapshot.knowledge.catalogue.price,
            popular=snapshot.knowledge.statistics.popular,
        )

    def name(self, item: int) -> str:
        """The item's title, or its id if it has none."""
        return self.titles[item] or self.ids[item]

    def price(self, item: int) -> float | None:
        price = float(self.prices[item])
        return None if np.isnan(price) else round(price, 2)

    @cached_property
    def _category_codes(self) -> np.ndarray:
        """(n_items,) int64: the index of each item's category in `_category_paths`, -1 where it has none."""
        codes = {path: code for code, path in enumerate(self._category_paths)}
        return np.array([codes.get(category or "", -1) for category in self.categories])

    @cached_property
    def _category_paths(self) -> list[str]:
        return sorted({category for category in self.categories if category})

    @cached_property
    def codes_by_category(self) -> dict[str, list[int]]:
        """Each category, also one that is only above others, with the codes of the paths at and below it."""
        codes: dict[str, list[int]] = {}
        for code, path in enumerate(self._category_paths):
            ends = [end for end, letter in enumerate(path) if letter in CATEGORY_SEPARATORS] + [len(path)]
            for name in dict.fromkeys(path[:end].strip() for end in ends):
                codes.setdefault(name, []).append(code)
        return codes

    def allowed(self, filters: Filters) -> np.ndarray:
        """(n_items,) bool: which items may be shown."""
        allowed = np.ones(len(self.ids), bool)
        if filters.category is not None:
            allowed &= np.isin(self._category_codes, self.codes_by_category.get(filters.category, []))
        if filters.price_min is not None:
            allowed &= self.prices >= min(filters.price_min, HIGHEST_PRICE)
        if filters.price_max is not None:
            allowed &= self.prices <= min(filters.price_max, HIGHEST_PRICE)
        allowed[list(filters.exclude)] = False
        return allowed
