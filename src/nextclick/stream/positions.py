"""The online store's position in each partition, stored in Redis beside the states themselves.

A Redis that comes back empty, or as it was some time ago, has lost states whose offsets Kafka has committed. It has
then lost the position too, or has an older one, and the consumer replays the difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from redis import Redis
from redis.exceptions import RedisError

from nextclick.errors import StoreUnavailableError

# moves a position on if it is still what it was; returns what it is then
_ADVANCE = """
local now = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if now ~= ARGV[2] then return now end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return ARGV[3]
"""


class Positions:
    """The offset of the next message by partition. All methods raise StoreUnavailableError."""

    def __init__(self, client: Redis, group: str, topic: str, topic_id: str) -> None:
        """topic_id: see `TopicIdentity`; a topic that was made anew has no positions yet."""
        self._client = client
        self._key = f"nextclick:positions:{group}:{topic}:{topic_id}"
        self._advance = client.register_script(_ADVANCE)

    def read(self) -> dict[int, int]:
        try:
            positions = cast(dict[bytes, bytes], self._client.hgetall(self._key))
        except (RedisError, OSError) as error:
            raise StoreUnavailableError(f"positions: {error}") from error
        return {int(partition): int(offset) for partition, offset in positions.items()}

    def advance(self, moves: Mapping[int, tuple[int | None, int]]) -> dict[int, int | None]:
        """Move each partition from a position (None: it has none) to another, unless it is elsewhere by now.

        moves: position and new position by partition. Returns the position of each afterwards.
        """
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for partition, (known, new) in moves.items():
                    self._advance([self._key], [partition, "" if known is None else known, new], client=pipe)
                positions = pipe.execute()
        except (RedisError, OSError) as error:
            raise StoreUnavailableError(f"positions: {error}") from error
        return {partition: int(at) if at else None for partition, at in zip(moves, positions, strict=True)}
