"""Item statistics that live events lead to: each version that is published takes its place beside those of the bundle.

All is read and made ready beside the model that answers, so that no request waits for it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nextclick.errors import InputError
from nextclick.features.item_statistics import ItemStatistics
from nextclick.features.statistics_versions import ItemHistory, lateness_ms
from nextclick.features.store.offline import statistics_of
from nextclick.logs.published_statistics import moment_of, published
from nextclick.params import Features
from nextclick.ranking.snapshot import Snapshot
from nextclick.serving.loaded_bundle import Model

KEPT = 2  # published versions: the last click of a session may be older than the newest


def with_published(model: Model, root: Path, features: Features) -> Model:
    """The model with the newest versions that are published, the same one where none is newer than what it holds.

    A prediction reads the version that holds when it is made, as offline. Raises InputError, naming the file, where
    one cannot be used.
    """
    snapshot = model.recommender.snapshot
    bundled = snapshot.knowledge.statistics
    until = int(bundled.last_click.max(initial=0))
    newer = [file for file in published(root)[-KEPT:] if moment_of(file) - lateness_ms(features) > until]
    if model.statistics_at is None or not newer or moment_of(newer[-1]) == model.statistics_at:
        return model
    moments = np.array([until, *map(moment_of, newer)], np.int64)
    return model.with_history(ItemHistory(moments, (bundled, *(_read(file, snapshot) for file in newer))))


def _read(file: Path, snapshot: Snapshot) -> ItemStatistics:
    bundled = snapshot.knowledge.statistics
    try:
        found = statistics_of(pq.read_table(file), snapshot.vocabulary, bundled)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{file}: no item statistics of this shop: {error}") from error
    if found.clicks.sum() < bundled.clicks.sum():
        raise InputError(f"{file}: knows of fewer clicks than the bundle: data/interim was not there when it was made")
    return found
