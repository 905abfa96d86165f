"""All that is known of the catalogue at the moment at which a log ends: vocabulary, index, item vectors, statistics."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from nextclick.events.prefixes import Prefixes, next_clicks
from nextclick.events.sessions import SessionLog, Vocabulary
from nextclick.features.candidate_features import ItemStatistics, candidate_features
from nextclick.params import Retrieval
from nextclick.retrieval.candidates import Candidates, Retriever
from nextclick.retrieval.encoder import Encoder, train_encoder
from nextclick.retrieval.index import SessionIndex

PARTS: dict[str, type[Any]] = {
    "vocabulary": Vocabulary,
    "index": SessionIndex,
    "encoder": Encoder,
    "statistics": ItemStatistics,
}


@dataclass(frozen=True)
class Snapshot:
    vocabulary: Vocabulary
    retriever: Retriever
    statistics: ItemStatistics

    @classmethod
    def of(cls, log: SessionLog, params: Retrieval, seed: int) -> Snapshot:
        encoder = train_encoder(next_clicks(log), dimensions=params.dimensions, epochs=params.encoder_epochs, seed=seed)
        return cls(log.vocabulary, _retriever(SessionIndex.of(log), encoder, params), ItemStatistics.of(log))

    def features(self, prefixes: Prefixes) -> tuple[Candidates, np.ndarray]:
        """Candidates, and their features (n, width, len(NAMES))."""
        candidates = self.retriever.retrieve(prefixes)
        return candidates, candidate_features(prefixes, candidates, self.statistics, self.retriever.encoder)

    def save(self, folder: Path) -> None:
        """One .npy file an array, so that processes which serve it can share its pages."""
        folder.mkdir(parents=True, exist_ok=True)
        held = {
            "vocabulary": self.vocabulary,
            "index": self.retriever.index,
            "encoder": self.retriever.encoder,
            "statistics": self.statistics,
        }
        for part, kind in PARTS.items():
            for field in fields(kind):
                np.save(folder / f"{part}-{field.name}.npy", getattr(held[part], field.name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, params: Retrieval) -> Snapshot:
        """Memory-mapped. Raises OSError or ValueError where a file is missing or broken."""
        loaded = {
            part: kind(
                *(
                    np.load(folder / f"{part}-{field.name}.npy", mmap_mode="r", allow_pickle=False)
                    for field in fields(kind)
                )
            )
            for part, kind in PARTS.items()
        }
        return cls(loaded["vocabulary"], _retriever(loaded["index"], loaded["encoder"], params), loaded["statistics"])


def _retriever(index: SessionIndex, encoder: Encoder, params: Retrieval) -> Retriever:
    return Retriever(index, encoder, params.width, params.nearest, params.sample, params.neighbours)
