"""Rows in Feast's online store: newest clicks of sessions, replaced whole and read once a request; and statistics of
items, all of them replaced when a newer version is published. Each expires, so that a full Redis has what may go."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from feast import FeatureStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from redis.exceptions import RedisError

from nextclick.errors import StoreUnavailableError
from nextclick.events.session_state import EMPTY, Click, SessionState, advance_all
from nextclick.features.store.feast_internals import delete_sqlite_rows, entity_key, redis_client
from nextclick.features.store.redis_rows import (
    COLUMNS,
    Rebuild,
    RedisRows,
    UnreadableRow,
    decoded,
    encoded,
    is_of_one_row,
)
from nextclick.files import locked
from nextclick.progress import progress_bar
from nextclick.units import MS_PER_SECOND

FAILURES = (RedisError, OSError, sqlite3.Error)  # of a store that does not answer, is full or locked
ITEM_STATISTICS = "item_statistics"  # the view
BATCH = 500  # rows of item statistics a write
PROBED = 100  # items whose version in the store is read before a write; at most a batch


@dataclass(frozen=True)
class StoredState:
    """A state as it was read. age: ms from its newest click to `now`; None without a row, or without `now`. unreadable:
    why the row cannot be read, in which case the state is EMPTY."""

    state: SessionState
    age: int | None
    unreadable: str | None = None


class OnlineStates:
    """The rows of one view of newest clicks: session_state or user_history. Its methods raise StoreUnavailableError."""

    def __init__(self, store: FeatureStore, view: str = "session_state") -> None:
        self._store = store
        self._view = store.get_feature_view(view)
        self._join_key = self._view.join_keys[0]
        self._ttl = int(self._view.ttl.total_seconds()) * MS_PER_SECOND if self._view.ttl else 0
        client = redis_client(store)
        self._redis = RedisRows(store, self._view, client) if client else None

    def read(self, keys: Sequence[str], now: int | None = None) -> list[StoredState]:
        """The state of each entity; EMPTY without a row, or if at `now` (ms) it was idle for longer than the ttl.

        Without `now`, states have no age and never expire. A row that cannot be read is `unreadable`, and no concern of
        the others.
        """
        try:
            return [self._stored(decoded(row), now) for row in self._rows(keys)]
        except Exception as error:
            if not is_of_one_row(error):
                raise
            return [self._read_one(key, now) for key in keys]

    def _read_one(self, key: str, now: int | None) -> StoredState:
        try:
            (row,) = self._rows([key])
            return self._stored(decoded(row), now)
        except Exception as error:
            if not is_of_one_row(error):
                raise
            return StoredState(EMPTY, None, unreadable=str(error))

    def _rows(self, keys: Sequence[str]) -> list[Mapping[str, Value] | None]:
        """The values of each entity's row as Feast reads them.

        Raises StoreUnavailableError, or an error that `is_of_one_row`.
        """
        entities = [entity_key(self._join_key, key) for key in keys]
        try:
            # what get_online_features calls; twice as fast as with the answer that it makes of it
            rows = self._store.provider.online_read(self._store.config, self._view, entities, list(COLUMNS))
        except FAILURES as error:
            if is_of_one_row(error):
                raise
            raise self._unavailable(error) from error
        return [row for _, row in rows]

    def _stored(self, state: SessionState, now: int | None) -> StoredState:
        if not state:
            return StoredState(EMPTY, None)
        age = None if now is None else now - state[-1].timestamp
        if age is not None and self._ttl and age > self._ttl:
            return StoredState(EMPTY, None)
        return StoredState(state, age)

    def write(self, states: Mapping[str, SessionState]) -> None:
        """Replace the rows of entities by whole states, in one round trip; an empty state changes nothing."""
        rows: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]] = [
            (
                entity_key(self._join_key, key),
                encoded(state),
                datetime.fromtimestamp(state[-1].timestamp / MS_PER_SECOND, UTC),
                None,
            )
            for key, state in states.items()
            if state
        ]
        if not rows:
            return
        try:
            self._store.provider.online_write_batch(self._store.config, self._view, rows, None)
        except FAILURES as error:
            raise self._unavailable(error) from error

    def forget(self, keys: Sequence[str]) -> None:
        """Remove the rows of entities, existing or not."""
        try:
            if self._redis:
                self._redis.forget(keys)
            elif keys:
                entities = [entity_key(self._join_key, key) for key in keys]
                delete_sqlite_rows(self._store, self._view.name, entities)
        except (RedisError, OSError, sqlite3.OperationalError) as error:
            raise self._unavailable(error) from error

    def merge(self, clicks: Mapping[str, Sequence[Click]], rebuild: Rebuild = lambda _: ()) -> None:
        """Advance the states of entities by their clicks, whoever else does so at the same time.

        rebuild: is called with each row that cannot be read, before it is replaced, and returns the clicks that it
        should hold.
        """
        if self._redis:
            try:
                self._redis.merge(clicks, rebuild)
            except FAILURES as error:
                raise self._unavailable(error) from error
        else:
            with locked(Path(self._store.config.online_store.path).with_suffix(".lock")):
                rows = dict(zip(clicks, self.read(list(clicks)), strict=True))
                lost = {
                    key: rebuild(UnreadableRow(key, row.unreadable, b"")) for key, row in rows.items() if row.unreadable
                }
                self.write(
                    {key: advance_all(row.state, [*lost.get(key, ()), *clicks[key]]) for key, row in rows.items()}
                )

    def _unavailable(self, error: Exception) -> StoreUnavailableError:
        return StoreUnavailableError(f"{self._view.name}: {error}")


def bring_version(store: FeatureStore, version: pd.DataFrame) -> None:
    """Write a published version, rows of the view item_statistics, unless the store holds it or a newer one.

    The store itself is asked: Feast's registry remembers what was loaded, not whether it still exists. The items that
    are probed are written last, so that a version of which only a part was written does not count as held. Raises
    StoreUnavailableError; a second call then writes the rest.
    """
    try:
        if _holds(store, version["item_id"][:PROBED].tolist(), version["event_timestamp"].iloc[0]):
            return
        starts = range(0, len(version), BATCH)
        for first in progress_bar(starts[::-1], desc=ITEM_STATISTICS, unit="batch"):
            store.write_to_online_store(ITEM_STATISTICS, version.iloc[first : first + BATCH])
    except FAILURES as error:
        raise StoreUnavailableError(f"{ITEM_STATISTICS}: {error}") from error


def _holds(store: FeatureStore, items: list[str], published_at: pd.Timestamp) -> bool:
    keys = [entity_key("item_id", item) for item in items]
    rows = store.provider.online_read(store.config, store.get_feature_view(ITEM_STATISTICS), keys, ["clicks"])
    return any(time is not None and pd.to_datetime(time, utc=True) >= published_at for time, _ in rows)
