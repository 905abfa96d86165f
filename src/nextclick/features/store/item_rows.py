"""Item statistics in the online store: a row an item, all of them replaced when a newer version is published."""

from __future__ import annotations

import pandas as pd
from feast import FeatureStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from nextclick.errors import StoreUnavailableError
from nextclick.features.store.connect import without_ttl
from nextclick.features.store.online import FAILURES
from nextclick.progress import progress_bar

VIEW = "item_statistics"
BATCH = 500  # rows a write
ASKED = 100  # items that are asked for the version in the store; no more than a batch


def bring_version(store: FeatureStore, version: pd.DataFrame) -> None:
    """Write a published version, rows of the view item_statistics, unless the store holds it or a newer one.

    What is there is asked of the store: Feast's registry remembers what was loaded, not whether it is still there.
    The items that are asked are written last, so that a version of which only a part was written counts as not there.
    Raises StoreUnavailableError; call it again then.
    """
    store = FeatureStore(config=without_ttl(store.config))
    try:
        if _holds(store, version["item_id"][:ASKED].tolist(), version["event_timestamp"].iloc[0]):
            return
        starts = range(0, len(version), BATCH)
        for first in progress_bar(starts[::-1], desc=VIEW, unit="batch"):
            store.write_to_online_store(VIEW, version.iloc[first : first + BATCH])
    except FAILURES as error:
        raise StoreUnavailableError(f"{VIEW}: {error}") from error


def _holds(store: FeatureStore, items: list[str], moment: pd.Timestamp) -> bool:
    keys = [EntityKey(join_keys=["item_id"], entity_values=[Value(string_val=item)]) for item in items]
    there = store.provider.online_read(store.config, store.get_feature_view(VIEW), keys, ["clicks"])
    return any(found is not None and pd.to_datetime(found, utc=True) >= moment for found, _ in there)
