"""How far the online store has come with each partition, kept in Redis beside the states themselves.

A Redis that comes back empty, or as it was some time ago, has lost states that Kafka believes done. It has then lost
the position too, or has an older one, and the consumer plays the difference again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from redis import Redis
from redis.exceptions import RedisError

from nextclick.errors import StoreUnavailableError

# moves a position on if it is still what it was; returns what it is
_ADVANCE = """
local now = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if now ~= ARGV[2] then return now end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return ARGV[3]
"""


class Positions:
    """Offsets of the next message by partition; None where there is none. All raise StoreUnavailableError."""

    def __init__(self, client: Redis, group: str, topic: str) -> None:
        self._client = client
        self._key = f"nextclick:positions:{group}:{topic}"
        self._advance = client.register_script(_ADVANCE)

    def read(self) -> dict[int, int]:
        try:
            found = cast(dict[bytes, bytes], self._client.hgetall(self._key))
        except (RedisError, OSError) as error:
            raise StoreUnavailableError(f"positions: {error}") from error
        return {int(partition): int(offset) for partition, offset in found.items()}

    def advance(self, moves: Mapping[int, tuple[int | None, int]]) -> dict[int, int | None]:
        """Move each partition from its position to another, unless it is elsewhere; returns where each is then."""
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for partition, (known, then) in moves.items():
                    self._advance([self._key], [partition, "" if known is None else known, then], client=pipe)
                found = pipe.execute()
        except (RedisError, OSError) as error:
            raise StoreUnavailableError(f"positions: {error}") from error
        return {partition: int(at) if at else None for partition, at in zip(moves, found, strict=True)}
