"""What the features of a batch of candidates are made from, and what a group of features is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nextclick.events.prefixes import Prefixes
from nextclick.features.catalogue import Catalogue
from nextclick.features.item_columns import item_columns
from nextclick.features.item_statistics import ItemStatistics
from nextclick.features.statistics_versions import ItemHistory
from nextclick.retrieval.candidates import Candidates
from nextclick.retrieval.encoder import Encoder


@dataclass(frozen=True)
class ItemKnowledge:
    """What is known of the items when the predictions are made.

    statistics: at the end of the log. history: the versions published since, None where none are.
    """

    encoder: Encoder
    statistics: ItemStatistics
    catalogue: Catalogue
    history: ItemHistory | None = None

    @property
    def timed(self) -> bool:
        """Whether the log's times are real, and not only an order."""
        return len(self.statistics.decayed) > 0

    @cached_property
    def item_columns(self) -> dict[str, np.ndarray]:
        """Each feature that depends on the item alone, (n_items,) float32."""
        return item_columns(self.encoder, self.statistics, self.catalogue)

    @cached_property
    def item_tables(self) -> np.ndarray:
        """(n_versions, n_items, len(item_columns)) float32."""
        versions = (
            [item_columns(self.encoder, version, self.catalogue) for version in self.history.versions]
            if self.history
            else [self.item_columns]
        )
        return np.stack([np.stack(list(columns.values()), axis=1) for columns in versions])

    def versions_at(self, times: np.ndarray) -> np.ndarray:
        """(n,) int64: the index of the item table that holds at each time, (n,) int64 ms."""
        return self.history.at(times) if self.history else np.zeros(len(times), np.int64)


@dataclass(frozen=True)
class FeatureContext:
    """Predictions, their candidates, and what is known of the items: all that features are computed from."""

    prefixes: Prefixes
    candidates: Candidates
    knowledge: ItemKnowledge


@dataclass(frozen=True)
class FeatureGroup:
    """Features that need the same data, and are computed or left out together.

    names: the group's features, () where the source lacks the data that they need.
    fill: writes them into (n, width, len(names)) float32, zero before; rows behind the last candidate stay zero.
    """

    name: str
    names: Callable[[ItemKnowledge], tuple[str, ...]]
    fill: Callable[[FeatureContext, np.ndarray], None]
