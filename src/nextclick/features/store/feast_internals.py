"""What Feast does not promise to keep: its connections, and the names under which its rows lie in Redis and SQLite.

Nothing else in nextclick uses private functions of Feast, so a new version of it may need changes here alone.
tests/features/test_merge.py compares the rows that are made of these names with those that Feast writes, by the byte.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from typing import cast

from feast import FeatureStore
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.infra.online_stores.sqlite import SqliteOnlineStore, adapt_datetime_epoch
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from redis import Redis


def entity_key(join_key: str, value: str) -> EntityKey:
    """The key of one entity in Feast's own form, such as of the session that has this session_id."""
    return EntityKey(join_keys=[join_key], entity_values=[Value(string_val=value)])


def redis_client(store: FeatureStore) -> Redis | None:
    """The connections of a store that is on Redis, else None."""
    online = store.provider.online_store
    return cast(Redis, online._get_client(store.config.online_store)) if isinstance(online, RedisOnlineStore) else None


def redis_key(store: FeatureStore, entity: EntityKey) -> bytes:
    """The key of the hash in which Redis has an entity's rows of all views."""
    return _redis_key(store.config.project, entity, store.config.entity_key_serialization_version)


def redis_field(view: str, column: str) -> bytes:
    """The field of that hash that holds a view's column."""
    return _mmh3(f"{view}:{column}")


def redis_time_field(view: str) -> bytes:
    """The field of that hash that holds the time of a view's row."""
    return f"_ts:{view}".encode()


def sqlite_connection(store: FeatureStore) -> sqlite3.Connection:
    """The connection of a store that is on SQLite, on which Feast can read the times that it wrote."""
    # nbformat, where it was imported later, has put in an adapter whose rows Feast cannot read
    sqlite3.register_adapter(datetime, adapt_datetime_epoch)
    return cast(SqliteOnlineStore, store.provider.online_store)._get_conn(store.config)


def delete_sqlite_rows(store: FeatureStore, view: str, entities: Sequence[EntityKey]) -> None:
    """Remove the rows of entities, existing or not, from a view on SQLite. Raises sqlite3.Error."""
    version = store.config.entity_key_serialization_version
    keys = [(serialize_entity_key(entity, version),) for entity in entities]
    with closing(sqlite3.connect(store.config.online_store.path)) as database, database:
        database.executemany(f'DELETE FROM "{store.config.project}_{view}" WHERE entity_key = ?', keys)
