"""Sessions as flat arrays: the form in which every later step reads events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nextclick.errors import InputError
from nextclick.events.click_order import read_columns, with_positions
from nextclick.events.schema import REQUIRED_FIELDS


@dataclass(frozen=True)
class Vocabulary:
    """The known item ids, each of which has an index, its position in `ids`.

    ids: (n_items,) array of str, strictly ascending.
    """

    ids: np.ndarray

    @classmethod
    def of(cls, item_ids: pd.Series | np.ndarray) -> Vocabulary:
        return cls(np.unique(np.asarray(item_ids, dtype=np.str_)))

    def __len__(self) -> int:
        return len(self.ids)

    def indices(self, item_ids: pd.Series | np.ndarray) -> np.ndarray:
        """(n,) int32: the index of each id, -1 for one that is not in the vocabulary."""
        wanted = np.asarray(item_ids, dtype=np.str_)
        if not len(self.ids):
            return np.full(len(wanted), -1, dtype=np.int32)
        # cut to the width of the known ids: for a single wider one all of those would be copied
        index = np.searchsorted(self.ids, wanted.astype(self.ids.dtype)).clip(max=len(self.ids) - 1)
        return np.where(self.ids[index] == wanted, index, -1).astype(np.int32)


@dataclass(frozen=True)
class SessionLog:
    """Events grouped by session; sessions in the order in which they ended, clicks in the order of time.

    Session `s` owns the events `offsets[s]:offsets[s + 1]` of the event arrays.

    offsets: (n_sessions + 1,) int64.
    items: (n_events,) int32, indices in `vocabulary`, -1 for items that it does not hold.
    types: (n_events,) int8, indices in the list of event types.
    times: (n_events,) int64, ms since 1970 UTC.
    session_ids: (n_sessions,) array of str.
    """

    vocabulary: Vocabulary
    offsets: np.ndarray
    items: np.ndarray
    types: np.ndarray
    times: np.ndarray
    session_ids: np.ndarray

    @property
    def n_sessions(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_events(self) -> int:
        return len(self.items)

    @property
    def ends(self) -> np.ndarray:
        """(n_sessions,) int64: time of each session's last event, ms. Ascending."""
        return self.times[self.offsets[1:] - 1]

    def slice(self, first: int, last: int) -> SessionLog:
        """The sessions `first:last`, with the same vocabulary."""
        begin, end = self.offsets[first], self.offsets[last]
        return SessionLog(
            vocabulary=self.vocabulary,
            offsets=self.offsets[first : last + 1] - begin,
            items=self.items[begin:end],
            types=self.types[begin:end],
            times=self.times[begin:end],
            session_ids=self.session_ids[first:last],
        )

    @classmethod
    def from_events(
        cls, events: pd.DataFrame, event_types: list[str], vocabulary: Vocabulary | None = None
    ) -> SessionLog:
        """Group canonical events (see `nextclick.events.schema`) into sessions.

        Without a vocabulary, the items of these events make it. Events are ordered by (timestamp, position, event_id)
        within their session, by (timestamp, event_id) where they have no positions, and sessions by (end, session_id),
        so the order of the rows given does not matter.
        Raises InputError on an event type that is not in `event_types`.
        """
        vocabulary = vocabulary or Vocabulary.of(events["item_id"])
        # .factorize keeps this fast for categoricals and strings alike
        codes, names = pd.factorize(events["event_type"])
        unknown = set(names) - set(event_types)
        if unknown:
            raise InputError(f"unknown event types {sorted(unknown)}; params name {event_types}")
        types = np.asarray([event_types.index(name) for name in names], dtype=np.int8)[codes] if len(events) else codes
        times = events["timestamp"].to_numpy("datetime64[ms]").astype(np.int64)
        session_codes, session_ids = pd.factorize(events["session_id"], sort=True)
        ends = np.full(len(session_ids), np.iinfo(np.int64).min)
        np.maximum.at(ends, session_codes, times)
        place = np.empty(len(session_ids), dtype=np.int64)
        place[np.lexsort((np.arange(len(session_ids)), ends))] = np.arange(len(session_ids))
        event_order = pd.factorize(events["event_id"], sort=True)[0]
        order = np.lexsort((event_order, with_positions(events)["position"], times, place[session_codes]))
        counts = np.bincount(place[session_codes], minlength=len(session_ids))
        ids = np.empty(len(session_ids), dtype=object)
        ids[place] = np.asarray(session_ids, dtype=object)
        return cls(
            vocabulary=vocabulary,
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            items=vocabulary.indices(events["item_id"])[order],
            types=np.asarray(types, dtype=np.int8)[order],
            times=times[order],
            session_ids=ids.astype(np.str_),
        )

    @classmethod
    def read(cls, path: Path, event_types: list[str], vocabulary: Vocabulary | None = None) -> SessionLog:
        """The sessions of a canonical Parquet file."""
        return cls.from_events(read_columns(path, REQUIRED_FIELDS), event_types, vocabulary)

    @classmethod
    def merged(cls, shards: Sequence[SessionLog]) -> SessionLog:
        """The log of all sessions of several logs, to the byte what `from_events` makes of their events together.

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
        # an item outside a shard's vocabulary, -1, takes the last of these
        indices = [np.append(vocabulary.indices(shard.vocabulary.ids), np.int32(-1)) for shard in shards]
        items = np.concatenate([of[shard.items] for of, shard in zip(indices, shards, strict=True)])
        return cls(
            vocabulary=vocabulary,
            offsets=offsets,
            items=items[events],
            types=np.concatenate([shard.types for shard in shards])[events],
            times=np.concatenate([shard.times for shard in shards])[events],
            session_ids=ids[order],
        )
