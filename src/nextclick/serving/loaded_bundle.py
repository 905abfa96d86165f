"""A bundle in memory, ready to answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from nextclick.bundle.bundle import bundled_items, load_bundle
from nextclick.events.session_state import EMPTY, Click, prefixes_of
from nextclick.features.statistics_versions import ItemHistory
from nextclick.ranking.recommender import Recommender
from nextclick.retrieval.candidates import all_cosines, best_places
from nextclick.serving.shop import Shop

WARM_UPS = 50


@dataclass(frozen=True)
class Model:
    """folder: where it was loaded from."""

    folder: Path
    recommender: Recommender
    shop: Shop
    version: str
    trained_until: str
    event_types: tuple[str, ...]

    @classmethod
    def load(cls, folder: Path) -> Model:
        """Raises InputError where the bundle is not whole, see `load_bundle`."""
        recommender, manifest = load_bundle(folder)
        shop = Shop.of(recommender.snapshot, bundled_items(folder))
        types = tuple(manifest["event_types"])
        return cls(folder, recommender, shop, manifest["version"], manifest["trained_until"], types)

    @cached_property
    def statistics_at(self) -> int | None:
        """Of the newest item statistics, ms since 1970 UTC; None where the log's times were only an order."""
        knowledge = self.recommender.snapshot.knowledge
        if not knowledge.timed:
            return None
        return int(knowledge.history.published_at[-1] if knowledge.history else knowledge.statistics.last_click.max())

    def with_history(self, history: ItemHistory) -> Model:
        """The same, with item statistics in versions, ready to answer."""
        made = replace(self, recommender=self.recommender.with_history(history))
        knowledge = made.recommender.snapshot.knowledge
        _ = knowledge.item_columns, knowledge.item_tables, made.statistics_at
        return made

    def warm_up(self) -> None:
        """Answer until everything that is made at first use is made: compiled code, tables, pages of memory."""
        random = np.random.default_rng(0)
        ids = self.shop.ids
        for length in range(WARM_UPS if ids else 0):
            clicks = (Click(place, str(place), ids[random.integers(len(ids))], 0) for place in range(length % 30))
            self.recommender.scores(prefixes_of([tuple(clicks)], self.recommender.snapshot.vocabulary))
        self.recommender.scores(prefixes_of([EMPTY, EMPTY], self.recommender.snapshot.vocabulary))
        if ids:
            self.similar(0, 1)
        _ = self.shop.category_codes

    def similar(self, item: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k items whose vectors lie nearest to an item's, nearest first, without itself; and their cosines."""
        encoder = self.recommender.snapshot.knowledge.encoder
        cosines = np.empty((1, len(self.shop.ids)), np.float32)
        all_cosines(encoder.vectors[item : item + 1], encoder.columns, cosines)
        cosines[0, item] = 0
        nearest = best_places(cosines[0], min(k, len(self.shop.ids)))
        return nearest, cosines[0, nearest]
