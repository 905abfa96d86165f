"""A bundle in memory, ready to answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from nextclick.bundle.bundle import bundled_items, load_bundle
from nextclick.events.session_state import EMPTY, Click, prefixes_of
from nextclick.features.statistics_versions import ItemHistory, lateness_ms
from nextclick.logs.published_statistics import published_at, published_versions, read_version
from nextclick.params import Features
from nextclick.ranking.recommender import Recommender
from nextclick.retrieval.candidates import all_cosines, best_positions
from nextclick.serving.item_catalogue import ItemCatalogue

WARM_UPS = 50
STATISTICS_VERSIONS = 2  # the last click of a session may be older than the newest published version


@dataclass(frozen=True)
class LoadedBundle:
    """folder: where it was loaded from."""

    folder: Path
    recommender: Recommender
    catalogue: ItemCatalogue
    version: str
    trained_until: str
    event_types: tuple[str, ...]

    @classmethod
    def load(cls, folder: Path) -> LoadedBundle:
        """Raises InputError if the bundle is not complete, see `load_bundle`."""
        recommender, manifest = load_bundle(folder)
        return cls(
            folder=folder,
            recommender=recommender,
            catalogue=ItemCatalogue.of(recommender.snapshot, bundled_items(folder)),
            version=manifest["version"],
            trained_until=manifest["trained_until"],
            event_types=tuple(manifest["event_types"]),
        )

    @cached_property
    def statistics_at(self) -> int | None:
        """The time of the newest item statistics, ms since 1970 UTC; None if the log's times were only an order."""
        knowledge = self.recommender.snapshot.knowledge
        if not knowledge.timed:
            return None
        return int(knowledge.history.published_at[-1] if knowledge.history else knowledge.statistics.last_click.max())

    def with_published_statistics(self, root: Path, features: Features) -> LoadedBundle:
        """This bundle with the newest published versions of item statistics, itself if none is newer than its own.

        All is read and prepared beside the bundle that answers, so that no request waits for it. A prediction reads the
        version that is in force when it is made, as offline. Raises InputError, naming the file of an invalid version.
        """
        snapshot = self.recommender.snapshot
        bundled = snapshot.knowledge.statistics
        until = int(bundled.last_click.max(initial=0))
        newest = published_versions(root)[-STATISTICS_VERSIONS:]
        newer = [file for file in newest if published_at(file) - lateness_ms(features) > until]
        if self.statistics_at is None or not newer or published_at(newer[-1]) == self.statistics_at:
            return self
        statistics = (read_version(file, snapshot.vocabulary, bundled) for file in newer)
        history = ItemHistory(np.array([until, *map(published_at, newer)], np.int64), (bundled, *statistics))
        updated = replace(self, recommender=self.recommender.with_history(history))
        _fill_caches(updated, updated.recommender.snapshot.knowledge)
        return updated

    def warm_up(self) -> None:
        """Answer until everything that is made at first use is made: compiled code, tables, pages of memory."""
        random = np.random.default_rng(0)
        ids = self.catalogue.ids
        for length in range(WARM_UPS if ids else 0):
            clicks = (Click(time, 0, str(time), ids[random.integers(len(ids))], 0) for time in range(length % 30))
            self.recommender.scores(prefixes_of([tuple(clicks)], self.recommender.snapshot.vocabulary))
        self.recommender.scores(prefixes_of([EMPTY, EMPTY], self.recommender.snapshot.vocabulary))
        if ids:
            self.similar(0, 1)
        _fill_caches(self, self.catalogue)

    def similar(self, item: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k items whose vectors are nearest to an item's, nearest first and without itself; and their cosines."""
        encoder = self.recommender.snapshot.knowledge.encoder
        cosines = np.empty((1, len(self.catalogue.ids)), np.float32)
        all_cosines(encoder.vectors[item : item + 1], encoder.columns, cosines)
        cosines[0, item] = 0
        nearest = best_positions(cosines[0], min(k, len(self.catalogue.ids)))
        return nearest, cosines[0, nearest]


def _fill_caches(*owners: object) -> None:
    """Compute every cached property now, so that no request waits for it."""
    for owner in owners:
        for name, attribute in vars(type(owner)).items():
            if isinstance(attribute, cached_property):
                getattr(owner, name)
