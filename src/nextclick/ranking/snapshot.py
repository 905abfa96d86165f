"""All that is known of the catalogue at the moment at which a log ends: vocabulary, index, item vectors, statistics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nextclick.events.prefixes import Prefixes, next_clicks
from nextclick.events.sessions import SessionLog, Vocabulary
from nextclick.features.candidate_features import candidate_features, feature_names, features_by_group
from nextclick.features.catalogue import Catalogue
from nextclick.features.feature_group import Knowledge, Scene
from nextclick.features.item_statistics import ItemStatistics
from nextclick.features.statistics_versions import ItemHistory
from nextclick.files import mapped
from nextclick.params import Features, Retrieval
from nextclick.retrieval.candidates import Candidates, Retriever
from nextclick.retrieval.encoder import Encoder
from nextclick.retrieval.encoder_training import train_encoder
from nextclick.retrieval.index import SessionIndex

# each part of a bundle: its class, and each field with the name of its file, `<part>-<name>.npy`, which stays when a
# field is renamed
PARTS: dict[str, tuple[type[Any], dict[str, str]]] = {
    "vocabulary": (Vocabulary, {"ids": "ids"}),
    "index": (
        SessionIndex,
        dict(
            offsets="offsets",
            items="items",
            sessions="sessions",
            posting_offsets="posting_offsets",
            posting_events="posting_events",
        ),
    ),
    "encoder": (Encoder, dict(vectors="vectors", position_weight="position_weight", item_weight="item_weight")),
    "statistics": (
        ItemStatistics,
        dict(
            clicks="clicks",
            clicks_lately="clicks_lately",
            last_seen="last_seen",
            types="types",
            by_type="by_type",
            decayed="decayed",
            decayed_by_type="decayed_by_type",
            first_click="first_click",
            last_click="last_click",
        ),
    ),
    "catalogue": (Catalogue, dict(category="category", department="department", price="price", titles="titles")),
}


@dataclass(frozen=True)
class Snapshot:
    vocabulary: Vocabulary
    retriever: Retriever
    knowledge: Knowledge

    @classmethod
    def of(
        cls,
        log: SessionLog,
        params: Retrieval,
        seed: int,
        *,
        event_types: list[str],
        items: pd.DataFrame | None = None,
        timed: bool = True,
    ) -> Snapshot:
        """items: what the shop says of them, see `Catalogue.of`. timed: whether the log's times are real."""
        encoder = train_encoder(
            next_clicks(log),
            dimensions=params.dimensions,
            epochs=params.encoder_epochs,
            min_steps=params.encoder_min_steps,
            seed=seed,
        )
        statistics = ItemStatistics.of(log, event_types, timed)
        knowledge = Knowledge(encoder, statistics, Catalogue.of(items, log.vocabulary, seed))
        return cls(log.vocabulary, _retriever(SessionIndex.of(log), knowledge, params), knowledge)

    def over(self, log: SessionLog, event_types: list[str], features: Features, first: int, last: int) -> Snapshot:
        """The same, with the item statistics that are published from `log` between `first` and `last` (ms):
        for predictions made in that time. Where times only give an order, nothing changes.

        event_types: the names of the log's types; those that were added after this snapshot was made are left out."""
        if not self.knowledge.timed:
            return self
        types = self.knowledge.statistics.types.tolist() or event_types[:1]
        return self.with_history(ItemHistory.of(log, types, features, first, last))

    def with_history(self, history: ItemHistory) -> Snapshot:
        """The same, with item statistics in versions."""
        return replace(self, knowledge=replace(self.knowledge, history=history))

    @property
    def feature_names(self) -> tuple[str, ...]:
        return feature_names(self.knowledge)

    @property
    def features_by_group(self) -> dict[str, tuple[str, ...]]:
        return features_by_group(self.knowledge)

    def features(self, prefixes: Prefixes) -> tuple[Candidates, np.ndarray]:
        """Candidates, and their features (n, width, len(feature_names))."""
        candidates = self.retriever.retrieve(prefixes)
        return candidates, self.features_of(prefixes, candidates)

    def features_of(self, prefixes: Prefixes, candidates: Candidates) -> np.ndarray:
        """(n, width, len(feature_names)) float32: the features of candidates that were retrieved before."""
        return candidate_features(Scene(prefixes, candidates, self.knowledge))

    def save(self, folder: Path) -> None:
        """One .npy file an array, so that processes which serve it can share its pages."""
        folder.mkdir(parents=True, exist_ok=True)
        held = {
            "vocabulary": self.vocabulary,
            "index": self.retriever.index,
            "encoder": self.knowledge.encoder,
            "statistics": self.knowledge.statistics,
            "catalogue": self.knowledge.catalogue,
        }
        for part, (_, files) in PARTS.items():
            for field, name in files.items():
                np.save(folder / f"{part}-{name}.npy", getattr(held[part], field), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, params: Retrieval) -> Snapshot:
        """Memory-mapped. Raises OSError or ValueError where a file is missing or broken."""
        loaded = {
            part: kind(**{field: mapped(folder / f"{part}-{name}.npy") for field, name in files.items()})
            for part, (kind, files) in PARTS.items()
        }
        knowledge = Knowledge(loaded["encoder"], loaded["statistics"], loaded["catalogue"])
        return cls(loaded["vocabulary"], _retriever(loaded["index"], knowledge, params), knowledge)


def _retriever(index: SessionIndex, knowledge: Knowledge, params: Retrieval) -> Retriever:
    statistics = knowledge.statistics
    popular = np.lexsort((-statistics.clicks, -statistics.clicks_lately))[: params.width].astype(np.int32)
    return Retriever(index, knowledge.encoder, popular, params.width, params.nearest, params.sample, params.neighbours)
