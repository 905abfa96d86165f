"""The one function that makes the ranker's features: for training, evaluation and serving alike."""

from __future__ import annotations

import numpy as np

from nextclick.features.feature_group import FeatureContext, FeatureGroup, ItemKnowledge
from nextclick.features.groups.catalogue import CATALOGUE
from nextclick.features.groups.event_types import EVENT_TYPES
from nextclick.features.groups.item import ITEM
from nextclick.features.groups.retrieval import RETRIEVAL
from nextclick.features.groups.session import SESSION
from nextclick.features.groups.time import TIME
from nextclick.threads import in_parts

GROUPS: tuple[FeatureGroup, ...] = (RETRIEVAL, ITEM, SESSION, TIME, EVENT_TYPES, CATALOGUE)
FEATURE_TYPE = "float32"


def features_by_group(knowledge: ItemKnowledge) -> dict[str, tuple[str, ...]]:
    """The names of the features for which there are the data, by group, in their order."""
    return {group.name: names for group in GROUPS if (names := group.names(knowledge))}


def feature_names(knowledge: ItemKnowledge) -> tuple[str, ...]:
    """The names of all features, in the order of their columns."""
    return tuple(name for names in features_by_group(knowledge).values() for name in names)


def candidate_features(context: FeatureContext) -> np.ndarray:
    """(n, width, len(feature_names)) float32; NaN is unknown, and rows behind the last candidate are zero."""
    n, width = context.candidates.items.shape
    out = np.zeros((n, width, len(feature_names(context.knowledge))), FEATURE_TYPE)

    def fill(part: slice) -> None:
        some = FeatureContext(context.prefixes.take(part), context.candidates.take(part), context.knowledge)
        first = 0
        for group in GROUPS:
            names = group.names(context.knowledge)
            if names:
                group.fill(some, out[part, :, first : first + len(names)])
                first += len(names)

    in_parts(fill, n)
    return out
