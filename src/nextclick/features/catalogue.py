"""What the shop reports of its items: category, price, title. Whatever is missing gives fewer features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from nextclick.events.sessions import Vocabulary

TITLE_DIMENSIONS = 32
CATEGORY_SEPARATORS = "/>|"  # between the levels of a category path


@dataclass(frozen=True)
class Catalogue:
    """The items' data, as arrays over the vocabulary.

    category, department: (n_items,) int32, the whole category path and its first level, -1 where unknown.
    price: (n_items,) float32, NaN where unknown. titles: (n_items, d) float32 unit vectors, zero where there is no
    title; d is 0 where no item has one.
    """

    category: np.ndarray
    department: np.ndarray
    price: np.ndarray
    titles: np.ndarray

    @cached_property
    def has_categories(self) -> bool:
        return bool((self.category >= 0).any())

    @cached_property
    def has_prices(self) -> bool:
        return bool(np.isfinite(self.price).any())

    @classmethod
    def of(cls, items: pd.DataFrame | None, vocabulary: Vocabulary, seed: int) -> Catalogue:
        """The data of the vocabulary's items.

        items: rows of item_id and any of category, price and title; None if the source has none. seed: see
        `title_vectors`.
        """
        ids = vocabulary.ids
        described = pd.DataFrame(columns=["item_id"]) if items is None else items
        described = described.set_index("item_id").reindex(ids)
        texts = {
            name: described[name].astype("string") if name in described else pd.Series(pd.NA, ids, dtype="string")
            for name in ("category", "title")
        }
        price = described["price"].astype(np.float32) if "price" in described else pd.Series(np.nan, ids)
        path = texts["category"].str.strip()
        return cls(
            category=_codes(path),
            department=_codes(path.str.split(f"[{CATEGORY_SEPARATORS}]", n=1, regex=True).str[0]),
            price=price.to_numpy(np.float32),
            titles=title_vectors(texts["title"], seed),
        )


def _codes(labels: pd.Series) -> np.ndarray:
    return pd.factorize(labels, sort=True)[0].astype(np.int32)


def title_vectors(titles: pd.Series, seed: int) -> np.ndarray:
    """(n, d) float32: latent semantic vectors of the titles (Deerwester et al., 1990), of unit length."""
    # imported here, since only training needs the library
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    given = titles.fillna("")
    if not (given.str.strip() != "").any():
        return np.zeros((len(titles), 0), np.float32)
    # a word that only one title has connects it with no other
    words = TfidfVectorizer(min_df=2, sublinear_tf=True, dtype=np.float32)
    try:
        weights = words.fit_transform(given)
    except ValueError:  # no word stands in two titles
        return np.zeros((len(titles), 0), np.float32)
    dimensions = min(TITLE_DIMENSIONS, min(weights.shape) - 1)
    if dimensions < 1:
        return np.zeros((len(titles), 0), np.float32)
    vectors = TruncatedSVD(dimensions, random_state=seed).fit_transform(weights).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(np.where(lengths > 1e-6, vectors / np.maximum(lengths, 1e-6), 0), dtype=np.float32)
