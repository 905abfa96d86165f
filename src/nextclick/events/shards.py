"""A log in shards: sessions grouped by themselves, anywhere, make together what they would have made as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nextclick.events.sessions import SessionLog, Vocabulary


def merged(shards: Sequence[SessionLog]) -> SessionLog:
    """The log of all sessions, to the byte what `SessionLog.from_events` makes of their events together.

    shards: at least one; no session is in two, and each may have a vocabulary of its own.
    """
    vocabulary = Vocabulary(np.unique(np.concatenate([shard.vocabulary.ids for shard in shards])))
    ids = np.concatenate([shard.session_ids for shard in shards])
    ends = np.concatenate([shard.ends for shard in shards])
    lengths = np.concatenate([np.diff(shard.offsets) for shard in shards])
    begins = np.cumsum(lengths) - lengths
    order = np.lexsort((ids, ends))
    offsets = np.concatenate([[0], np.cumsum(lengths[order])]).astype(np.int64)
    events = np.repeat(begins[order] - offsets[:-1], lengths[order]) + np.arange(offsets[-1])
    items = np.concatenate([_renumbered(shard, vocabulary) for shard in shards])
    types = np.concatenate([shard.types for shard in shards])
    times = np.concatenate([shard.times for shard in shards])
    return SessionLog(vocabulary, offsets, items[events], types[events], times[events], ids[order])


def _renumbered(shard: SessionLog, vocabulary: Vocabulary) -> np.ndarray:
    """The shard's item numbers in another vocabulary, -1 where they were."""
    numbers = np.append(vocabulary.numbers(shard.vocabulary.ids), np.int32(-1))
    return numbers[shard.items]
