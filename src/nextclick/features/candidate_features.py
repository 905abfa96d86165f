"""The one function that makes the ranker's features: for training, evaluation and serving alike."""

from __future__ import annotations

import numpy as np

from nextclick.features.feature_group import FeatureGroup, Knowledge, Scene
from nextclick.features.groups.catalogue import CATALOGUE
from nextclick.features.groups.event_types import EVENT_TYPES
from nextclick.features.groups.item import ITEM
from nextclick.features.groups.retrieval import RETRIEVAL
from nextclick.features.groups.session import SESSION
from nextclick.features.groups.time import TIME
from nextclick.threads import in_parts

GROUPS: tuple[FeatureGroup, ...] = (RETRIEVAL, ITEM, SESSION, TIME, EVENT_TYPES, CATALOGUE)
FEATURE_TYPE = "float32"


def features_by_group(knowledge: Knowledge) -> dict[str, tuple[str, ...]]:
    """The names of the features that this knowledge allows, by group, in their order."""
    return {group.name: names for group in GROUPS if (names := group.names(knowledge))}


def feature_names(knowledge: Knowledge) -> tuple[str, ...]:
    """All of them, in the order of the columns."""
    return tuple(name for names in features_by_group(knowledge).values() for name in names)


def candidate_features(scene: Scene) -> np.ndarray:
    """(n, width, len(feature_names)) float32; rows behind the last candidate are zero, NaN is unknown."""
    n, width = scene.candidates.items.shape
    out = np.zeros((n, width, len(feature_names(scene.knowledge))), FEATURE_TYPE)

    def fill(part: slice) -> None:
        some = Scene(scene.prefixes.take(part), scene.candidates.take(part), scene.knowledge)
        first = 0
        for group in GROUPS:
            names = group.names(scene.knowledge)
            if names:
                group.fill(some, out[part, :, first : first + len(names)])
                first += len(names)

    in_parts(fill, n)
    return out
