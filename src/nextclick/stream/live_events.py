"""What happens to live messages, from Kafka and in the process alike: judged, into the online states, into the log."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore

from nextclick.errors import UnavailableError
from nextclick.events.session_state import Click
from nextclick.features.statistics_versions import lateness_ms
from nextclick.features.store.connect import BATCH_TIMEOUT, connect
from nextclick.features.store.offline import KEYS
from nextclick.features.store.online import OnlineStates
from nextclick.files import scratch_folder
from nextclick.logs.event_log import LIVE_EVENTS, EventLog
from nextclick.logs.published_statistics import published_at, published_versions
from nextclick.params import Params
from nextclick.stream.publish_statistics import publish_due
from nextclick.stream.validation import Judged, Message, Validator
from nextclick.units import MS_PER_HOUR

log = logging.getLogger(__name__)

PROBES = "freshness-"  # sessions of these names are clicked by `nextclick freshness`, not by visitors
LOOK_EVERY = 60.0  # seconds between two looks at whether the online store still has the item statistics
MANY_FILES = 500  # of one day, after which they are merged


def validator(params: Params) -> Validator:
    return Validator(params.ingest.event_types, lateness_ms(params.features))


class LiveEvents:
    """Not for several threads at once; for any number of processes at once."""

    def __init__(self, root: Path, params: Params, store: FeatureStore) -> None:
        self._root, self._params = root, params
        self._types = {name: place for place, name in enumerate(params.ingest.event_types)}
        self._validator = validator(params)
        self._states = {key: OnlineStates(store, view) for view, key in KEYS.items()}
        self._log = EventLog(root / LIVE_EVENTS)
        self._to_keep: list[pa.Table] = []
        self._files: Counter[Path] = Counter()  # written by this process
        existing = published_versions(root)
        # arrival in the log, ms; before any, that to which the newest version owes its moment
        self._newest = published_at(existing[-1]) + lateness_ms(params.features) if existing else 0
        self._published = 0  # the step whose versions are there; 0 where that must be looked at
        self._looked = time.monotonic()

    def judge(self, messages: Sequence[Message]) -> Judged:
        return self._validator.judge(messages)

    def apply(self, events: pa.Table) -> None:
        """Bring events that are not late into the states of their sessions and users; twice is once.

        Raises StoreUnavailableError; some of them may then have been applied.
        """
        timely = events.filter(pc.invert(events["late"]))
        clicks = [
            Click(*click)
            for click in zip(
                timely["timestamp"].to_numpy().astype("datetime64[ms]").astype(np.int64).tolist(),
                timely["event_id"].to_pylist(),
                timely["item_id"].to_pylist(),
                map(self._types.__getitem__, timely["event_type"].to_pylist()),
                strict=True,
            )
        ]
        for key, states in self._states.items():
            by_name: dict[str, list[Click]] = defaultdict(list)
            for name, click in zip(timely[key].to_pylist(), clicks, strict=True):
                if name is not None:
                    by_name[name].append(click)
            if by_name:
                states.merge(by_name)

    def keep(self, events: pa.Table) -> None:
        """Hold events for the next `flush`."""
        if events.num_rows:
            self._to_keep.append(events)

    def flush(self) -> int:
        """Write what is held to the offline log; on disk when it returns. Returns the number of events.

        Raises LogUnavailableError; all of it is then still held.
        """
        if not self._to_keep:
            return 0
        held = pa.concat_tables(self._to_keep)
        of_probes = pc.starts_with(held["session_id"], PROBES)
        events, probes = held.filter(pc.invert(of_probes)), held.filter(of_probes)
        for day in self._log.append(events):
            self._files[day] += 1
            if self._files[day] % MANY_FILES == 0:
                Thread(target=self._log.compact, args=(day, MANY_FILES // 2)).start()
        if probes.num_rows:  # written as any click is, so that it takes as long, but nobody is to learn from it
            with scratch_folder(self._root / f"data/live/.probes-{uuid4().hex}") as folder:
                EventLog(folder / "events").append(probes)
        self._to_keep = []
        if events.num_rows:
            self._newest = max(self._newest, pc.max(events["arrived"]).cast(pa.int64()).as_py())
        return held.num_rows

    def drop(self) -> None:
        """Hold nothing any longer."""
        self._to_keep = []

    def store_has_forgotten(self) -> None:
        """Item statistics too must be brought to it again."""
        self._published = 0

    def publish_statistics(self) -> None:
        """Start to publish, in the background, the item statistics whose moment has come; nothing must wait to come in.

        Their moment has come when what may still be on its way would be too late. Now and then it is looked at whether
        the online store still has them.
        """
        if time.monotonic() - self._looked > LOOK_EVERY:
            self._looked, self._published = time.monotonic(), 0
        step = round(self._params.features.item_stats_every * MS_PER_HOUR)
        due = (self._newest - lateness_ms(self._params.features)) // step
        if due > self._published:
            self._published = due
            Thread(target=self._publish, args=(self._newest,)).start()

    def _publish(self, until: int) -> None:
        try:
            publish_due(self._root, self._params, connect(self._root, self._params, BATCH_TIMEOUT), until)
        except Exception as error:  # nobody waits for a thread's error; the next call tries again
            gone = isinstance(error, UnavailableError)
            log.error("item statistics were not published: %s", error, exc_info=not gone)
            self._published = 0
