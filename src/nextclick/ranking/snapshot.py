"""All that is known of the catalogue at the moment at which a log ends: vocabulary, index, item vectors, statistics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nextclick.events.known_items import known_items
from nextclick.events.prefixes import Prefixes, next_clicks
from nextclick.events.sessions import SessionLog, Vocabulary
from nextclick.features.candidate_features import candidate_features, feature_names, features_by_group
from nextclick.features.catalogue import Catalogue
from nextclick.features.feature_group import FeatureContext, ItemKnowledge
from nextclick.features.item_statistics import ItemStatistics
from nextclick.features.statistics_versions import ItemHistory
from nextclick.files import mapped
from nextclick.params import Features, Retrieval
from nextclick.retrieval.candidates import Candidates, Retriever
from nextclick.retrieval.encoder import Encoder
from nextclick.retrieval.encoder_training import train_encoder
from nextclick.retrieval.index import SessionIndex

# The parts of a snapshot, each with its class and the names of its arrays, in the order of the class's fields: an array
# is the file <part>-<name>.npy. Stored bundles have these files, whatever the fields are called.
PARTS: dict[str, tuple[type[Any], str]] = {
    "vocabulary": (Vocabulary, "ids"),
    "index": (SessionIndex, "offsets items sessions posting_offsets posting_events"),
    "encoder": (Encoder, "vectors position_weight item_weight"),
    "statistics": (
        ItemStatistics,
        "clicks clicks_lately last_seen types by_type decayed decayed_by_type first_click last_click",
    ),
    "catalogue": (Catalogue, "category department price titles"),
}


@dataclass(frozen=True)
class Snapshot:
    """Retrieval and features of what a log held when it ended."""

    vocabulary: Vocabulary
    retriever: Retriever
    knowledge: ItemKnowledge

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
        """The snapshot at the end of a log, whose encoder is trained here.

        items: what the shop reports of them, see `known_items`; what came after the log's end is left out. timed:
        whether the log's times are real.
        """
        encoder = train_encoder(
            next_clicks(log),
            dimensions=params.dimensions,
            epochs=params.encoder_epochs,
            min_steps=params.encoder_min_steps,
            seed=seed,
        )
        statistics = ItemStatistics.of(log, event_types, timed)
        known = None if items is None else known_items(items, pd.Timestamp(log.times.max(), unit="ms", tz="UTC"))
        knowledge = ItemKnowledge(encoder, statistics, Catalogue.of(known, log.vocabulary, seed))
        return cls(log.vocabulary, _retriever(SessionIndex.of(log), knowledge, params), knowledge)

    def as_published_during(
        self, log: SessionLog, event_types: list[str], features: Features, predicted_at: np.ndarray
    ) -> Snapshot:
        """This snapshot with the item statistics that are published from `log` while predictions are made.

        Without a prediction, or where times only give an order, nothing changes. log: all events, those before the
        predictions too, in this vocabulary. event_types: the names of the log's types; those that were added after this
        snapshot was made are left out. predicted_at: (n,) int64 ms, see `Prefixes.predicted_at`.
        """
        if not self.knowledge.timed or not len(predicted_at):
            return self
        types = self.knowledge.statistics.types.tolist() or event_types[:1]
        first, last = int(predicted_at.min()), int(predicted_at.max())
        return self.with_history(ItemHistory.of(log, types, features, first, last))

    def with_history(self, history: ItemHistory) -> Snapshot:
        """This snapshot with item statistics in versions."""
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
        return candidate_features(FeatureContext(prefixes, candidates, self.knowledge))

    def save(self, folder: Path) -> None:
        """Write one .npy file an array, so that processes which serve the snapshot can share its pages."""
        folder.mkdir(parents=True, exist_ok=True)
        knowledge = self.knowledge
        parts = {"vocabulary": self.vocabulary, "index": self.retriever.index}
        parts |= {name: getattr(knowledge, name) for name in ("encoder", "statistics", "catalogue")}
        for part, (kind, names) in PARTS.items():
            for field, name in zip(kind.__match_args__, names.split(), strict=True):
                np.save(folder / f"{part}-{name}.npy", getattr(parts[part], field), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, params: Retrieval) -> Snapshot:
        """A saved snapshot, memory-mapped. Raises OSError or ValueError where a file is missing or invalid."""
        parts = {
            part: kind(*(mapped(folder / f"{part}-{name}.npy") for name in names.split()))
            for part, (kind, names) in PARTS.items()
        }
        knowledge = ItemKnowledge(parts["encoder"], parts["statistics"], parts["catalogue"])
        return cls(parts["vocabulary"], _retriever(parts["index"], knowledge, params), knowledge)


def _retriever(index: SessionIndex, knowledge: ItemKnowledge, params: Retrieval) -> Retriever:
    return Retriever(
        index=index,
        encoder=knowledge.encoder,
        popular=knowledge.statistics.popular[: params.width],
        width=params.width,
        nearest=params.nearest,
        sample=params.sample,
        neighbours=params.neighbours,
    )
