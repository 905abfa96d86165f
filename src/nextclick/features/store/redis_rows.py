"""Rows of newest clicks in Redis, changed without losing what another writer does at the same time.

The layout is Feast's: a hash an entity, its key and fields named and encoded by Feast's functions. Feast itself can
only put one row in place of another, blind to what was written since it was read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from feast import FeatureStore, FeatureView
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from redis import Redis

from nextclick.events.session_state import EMPTY, Click, SessionState, advance_all
from nextclick.features.store.click_rows import COLUMNS, decoded, encoded

# ARGV: the time to live (s, 0 for ever), two fields, what they were when they were read, then the new row
_REPLACE_UNCHANGED = """
local now = redis.call('HMGET', KEYS[1], ARGV[2], ARGV[3])
if (now[1] or '') ~= ARGV[4] or (now[2] or '') ~= ARGV[5] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
if ARGV[1] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[1]) else redis.call('PERSIST', KEYS[1]) end
return 1
"""


class RedisRows:
    """The rows of one view, two trips for any number of them."""

    def __init__(self, store: FeatureStore, view: FeatureView, client: Redis) -> None:
        self._client = client
        self._project = store.config.project
        self._version = store.config.entity_key_serialization_version
        self._entity = view.join_keys[0]
        self._fields = [_mmh3(f"{view.name}:{name}") for name in COLUMNS]
        self._moment = f"_ts:{view.name}".encode()
        self._expires = (store.config.online_store.key_ttl_seconds or 0) if view.ttl else 0
        self._replace = client.register_script(_REPLACE_UNCHANGED)

    def merge(self, clicks: Mapping[str, Sequence[Click]]) -> None:
        """Advance each row by its clicks; one that changed between reading and writing is read again."""
        rows: dict[Any, Sequence[Click]] = {self._key(name): new for name, new in clicks.items()}
        while rows:
            keys = list(rows)
            with self._client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hmget(key, self._fields)
                found = pipe.execute()
            changed = []
            with self._client.pipeline(transaction=False) as pipe:
                for key, values in zip(keys, found, strict=True):
                    known = _decoded(values)
                    state = advance_all(known, rows[key])
                    if state != known:
                        changed.append(key)
                        self._replace([key], [self._expires, *self._expected(values), *self._row(state)], client=pipe)
                replaced = pipe.execute() if changed else []
            rows = {key: rows[key] for key, done in zip(changed, replaced, strict=True) if not done}

    def forget(self, names: Sequence[str]) -> None:
        if names:
            self._client.delete(*(self._key(name) for name in names))

    def _key(self, name: str) -> bytes:
        entity = EntityKey(join_keys=[self._entity], entity_values=[Value(string_val=name)])
        return _redis_key(self._project, entity, self._version)

    def _expected(self, values: list[bytes | None]) -> list[bytes]:
        return [*self._fields[:2], values[0] or b"", values[1] or b""]

    def _row(self, state: SessionState) -> list[bytes]:
        moment = Timestamp()
        moment.FromMilliseconds(state[-1].timestamp)
        row = [self._moment, moment.SerializeToString()]
        for field, value in zip(self._fields, encoded(state).values(), strict=True):
            row += (field, value.SerializeToString())
        return row


def _decoded(values: list[bytes | None]) -> SessionState:
    if None in values:
        return EMPTY
    return decoded({name: Value.FromString(value or b"") for name, value in zip(COLUMNS, values, strict=True)})
