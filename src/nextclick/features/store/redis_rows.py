"""Rows of newest clicks in Redis, changed without losing what another writer does at the same time.

The layout is Feast's: a hash an entity, its key and fields named and encoded by Feast's functions. Feast itself can
only put one row in place of another, blind to what was written since it was read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple, cast

from feast import FeatureStore, FeatureView
from feast.protos.feast.types.Value_pb2 import Int64List, StringList, Value
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from redis import Redis
from redis.exceptions import ResponseError

from nextclick.events.session_state import EMPTY, Click, SessionState, advance_all
from nextclick.features.store.feast_internals import entity_key, redis_field, redis_key, redis_time_field

COLUMNS = ("event_ids", "times", "positions", "item_ids", "event_types")  # of a view of newest clicks
COMPARED = 3  # of these columns: clicks with the same id, time and position are the same click

# ARGV: the time to live (s), three fields, what they were when they were read, then the new row
_REPLACE_UNCHANGED = """
local now = redis.call('HMGET', KEYS[1], ARGV[2], ARGV[3], ARGV[4])
for i = 1, 3 do
  if (now[i] or '') ~= ARGV[4 + i] then return 0 end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 8))
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
"""


class UnreadableRowError(ValueError):
    """A row's columns do not fit together."""


class UnreadableRow(NamedTuple):
    """A row that is to be made again. name: of its entity. content: all that its key holds, as Redis dumps it."""

    name: str
    reason: str
    content: bytes


Rebuild = Callable[[UnreadableRow], Sequence[Click]]  # keeps the row for people, and returns the clicks it should hold


def is_of_one_row(error: Exception) -> bool:
    """Whether the store answers, and only a row of it cannot be read: a key of another type, or bytes that are none."""
    if isinstance(error, ResponseError):
        return "WRONGTYPE" in str(error)
    return isinstance(error, DecodeError | UnreadableRowError)


class RedisRows:
    """The rows of one view, changed in two round trips for any number of them. All methods raise RedisError."""

    def __init__(self, store: FeatureStore, view: FeatureView, client: Redis) -> None:
        self._client = client
        self._store = store
        self._join_key = view.join_keys[0]
        self._fields = [redis_field(view.name, column) for column in COLUMNS]
        self._time_field = redis_time_field(view.name)
        self._expires = store.config.online_store.key_ttl_seconds
        self._replace = client.register_script(_REPLACE_UNCHANGED)

    def merge(self, clicks: Mapping[str, Sequence[Click]], rebuild: Rebuild) -> None:
        """Advance each row by its clicks; one that changed between reading and writing is read and advanced again, and
        one that cannot be read is made again."""
        names: dict[Any, str] = {self._key(name): name for name in clicks}
        rows: dict[Any, Sequence[Click]] = {key: clicks[name] for key, name in names.items()}
        while rows:
            keys = list(rows)
            with self._client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hmget(key, self._fields)
                read = pipe.execute(raise_on_error=False)
            changed = []
            with self._client.pipeline(transaction=False) as pipe:
                for key, values in zip(keys, read, strict=True):
                    try:
                        before = _decoded_fields(values)
                    except Exception as error:
                        if not is_of_one_row(error):
                            raise
                        self._replace_unreadable(key, names[key], str(error), rows[key], rebuild)
                        continue
                    state = advance_all(before, rows[key])
                    if state != before:
                        changed.append(key)
                        self._replace([key], [self._expires, *self._expected(values), *self._row(state)], client=pipe)
                replaced = pipe.execute() if changed else []
            rows = {key: rows[key] for key, done in zip(changed, replaced, strict=True) if not done}

    def _replace_unreadable(self, key: bytes, name: str, reason: str, new: Sequence[Click], rebuild: Rebuild) -> None:
        content = cast(bytes | None, self._client.dump(key)) or b""
        state = advance_all(EMPTY, [*rebuild(UnreadableRow(name, reason, content)), *new])
        # in one step: a consumer that is killed between two would leave a row that lacks clicks and looks whole
        with self._client.pipeline(transaction=True) as pipe:
            pipe.unlink(key)
            pipe.execute_command("HSET", key, *self._row(state))
            pipe.expire(key, self._expires)
            pipe.execute()

    def forget(self, names: Sequence[str]) -> None:
        """Remove the rows of entities, existing or not."""
        if names:
            self._client.delete(*(self._key(name) for name in names))

    def _key(self, name: str) -> bytes:
        return redis_key(self._store, entity_key(self._join_key, name))

    def _expected(self, values: list[bytes | None]) -> list[bytes]:
        return [*self._fields[:COMPARED], *(value or b"" for value in values[:COMPARED])]

    def _row(self, state: SessionState) -> list[bytes]:
        newest = Timestamp()
        newest.FromMilliseconds(state[-1].timestamp)
        row = [self._time_field, newest.SerializeToString()]
        for field, value in zip(self._fields, encoded(state).values(), strict=True):
            row += (field, value.SerializeToString())
        return row


def _decoded_fields(values: list[bytes | None] | Exception) -> SessionState:
    """Raises the error that Redis answered, DecodeError and UnreadableRowError."""
    if isinstance(values, Exception):
        raise values
    if values == [None] * len(values):
        return EMPTY
    return decoded({name: Value.FromString(value or b"") for name, value in zip(COLUMNS, values, strict=True)})


def encoded(state: SessionState) -> dict[str, Value]:
    """A state that is not empty as the values of COLUMNS, in their order."""
    times, positions, event_ids, item_ids, event_types = zip(*state, strict=True)
    return {
        "event_ids": Value(string_list_val=StringList(val=event_ids)),
        "times": Value(int64_list_val=Int64List(val=times)),
        "positions": Value(int64_list_val=Int64List(val=positions)),
        "item_ids": Value(string_list_val=StringList(val=item_ids)),
        "event_types": Value(int64_list_val=Int64List(val=event_types)),
    }


def decoded(row: Mapping[str, Value] | None) -> SessionState:
    """The state of a row of COLUMNS; EMPTY without a row. A row of before positions existed has none: they are 0.

    Raises UnreadableRowError.
    """
    if row is None:
        return EMPTY
    times = row["times"].int64_list_val.val
    texts = (row[name].string_list_val.val for name in ("event_ids", "item_ids"))
    lengths = {len(times), len(row["event_types"].int64_list_val.val), *map(len, texts)}
    if len(lengths) > 1:
        raise UnreadableRowError(f"columns of {', '.join(map(str, sorted(lengths)))} values, expected as many of each")
    positions = row["positions"].int64_list_val.val if "positions" in row else ()
    return tuple(
        map(
            Click,
            times,
            positions if len(positions) == len(times) else repeat(0),
            row["event_ids"].string_list_val.val,
            row["item_ids"].string_list_val.val,
            row["event_types"].int64_list_val.val,
        )
    )
