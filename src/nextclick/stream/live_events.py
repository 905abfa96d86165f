"""What happens to live messages, from Kafka and in the process alike: validation, the online states, the log."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
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
from nextclick.features.store.online import OnlineStates
from nextclick.features.store.redis_rows import UnreadableRow
from nextclick.files import scratch_folder
from nextclick.logs.event_log import LIVE_EVENTS, EventLog
from nextclick.logs.published_statistics import published_at, published_versions
from nextclick.params import Params
from nextclick.stream.publish_statistics import publish_due
from nextclick.stream.validation import Message, ValidatedEvents, Validator
from nextclick.units import MS_PER_HOUR, MS_PER_SECOND

log = logging.getLogger(__name__)

PROBES = "freshness-"  # sessions of these names are clicked by `nextclick freshness`, not by visitors
CHECK_EVERY = 60.0  # seconds between two checks whether the online store still has the item statistics
REBUILT = timedelta(days=7)  # of a session's clicks before its newest are looked for, if its row is made again
MAX_FILES = 500  # of one day, after which they are merged


def validator(params: Params) -> Validator:
    return Validator(params.ingest.event_types, lateness_ms(params.features), params.ingest.nobody)


class LiveEvents:
    """Not for several threads at once; for any number of processes at once."""

    def __init__(
        self, root: Path, params: Params, store: FeatureStore, set_aside: Callable[[UnreadableRow], None]
    ) -> None:
        """set_aside: is called with each row of the online store that cannot be read, before it is made again."""
        self._root, self._params, self._set_aside = root, params, set_aside
        self._types = {name: index for index, name in enumerate(params.ingest.event_types)}
        self._validator = validator(params)
        # users have no rows: no feature reads any, and whoever may post could fill the store with them
        self._sessions = OnlineStates(store)
        self._log = EventLog(root / LIVE_EVENTS)
        self._buffered: list[pa.Table] = []
        self._files: Counter[Path] = Counter()  # written by this process, by partition
        existing = published_versions(root)
        # the newest arrival in the log, ms; before any, that which made the newest version due
        self._newest = published_at(existing[-1]) + lateness_ms(params.features) if existing else 0
        self._published = 0  # the step whose versions are published; 0 if that must be checked
        self._checked = time.monotonic()

    def validate(self, messages: Sequence[Message]) -> ValidatedEvents:
        return self._validator.validate(messages)

    def apply(self, events: pa.Table) -> None:
        """Bring events that are not late into the states of their sessions; idempotent.

        Raises StoreUnavailableError; some of them may then have been applied.
        """
        timely = events.filter(pc.invert(events["late"]))
        by_session: dict[str, list[Click]] = defaultdict(list)
        for session, click in zip(timely["session_id"].to_pylist(), self._clicks(timely), strict=True):
            by_session[session].append(click)
        if by_session:
            self._sessions.merge(by_session, lambda row: self._rebuild(row, max(by_session[row.name]).timestamp))

    def _clicks(self, events: pa.Table) -> list[Click]:
        return [
            Click(*click)
            for click in zip(
                events["timestamp"].to_numpy().astype("datetime64[ms]").astype(np.int64).tolist(),
                events["position"].to_pylist(),
                events["event_id"].to_pylist(),
                events["item_id"].to_pylist(),
                map(self._types.__getitem__, events["event_type"].to_pylist()),
                strict=True,
            )
        ]

    def _rebuild(self, row: UnreadableRow, newest: int) -> list[Click]:
        """The clicks of a session whose row cannot be read: those of the log, and those that are not in it yet.

        newest: ms since 1970 UTC, of its newest click.
        """
        log.warning("the row of session %s cannot be read (%s): it is made again of the log", row.name, row.reason)
        self._set_aside(row)
        since = datetime.fromtimestamp(newest / MS_PER_SECOND, UTC) - REBUILT
        logged = self._log.of_session(row.name, since)
        return self._clicks(pa.concat_tables([logged, *(self._timely_of(row.name, some) for some in self._buffered)]))

    @staticmethod
    def _timely_of(session: str, events: pa.Table) -> pa.Table:
        return events.filter(pc.and_(pc.equal(events["session_id"], session), pc.invert(events["late"])))

    def buffer(self, events: pa.Table) -> None:
        """Hold events for the next `flush`."""
        if events.num_rows:
            self._buffered.append(events)

    def flush(self) -> int:
        """Write the buffered events to the offline log; they are on disk when it returns. Returns their number.

        Raises LogUnavailableError; all of them are then still buffered.
        """
        if not self._buffered:
            return 0
        buffered = pa.concat_tables(self._buffered)
        of_probes = pc.starts_with(buffered["session_id"], PROBES)
        events, probes = buffered.filter(pc.invert(of_probes)), buffered.filter(of_probes)
        for day in self._log.append(events):
            self._files[day] += 1
            if self._files[day] % MAX_FILES == 0:
                Thread(target=self._log.compact, args=(day, MAX_FILES // 2)).start()
        if probes.num_rows:  # written as any click is, so that it takes as long, but nobody is to learn from it
            with scratch_folder(self._root / f"data/live/.probes-{uuid4().hex}") as folder:
                EventLog(folder / "events").append(probes)
        self._buffered = []
        if events.num_rows:
            self._newest = max(self._newest, pc.max(events["arrived"]).cast(pa.int64()).as_py())
        return buffered.num_rows

    def discard(self) -> None:
        """Empty the buffer."""
        self._buffered = []

    def store_lost_data(self) -> None:
        """Tell that the online store lost data, so that the next `publish_statistics` brings it the item statistics."""
        self._published = 0

    def publish_statistics(self) -> None:
        """Start to publish the item statistics that are due, in the background, since no event may wait for it.

        A version is due when events that it has to count would be too late by now. From time to time this also checks
        whether the online store still has the newest version.
        """
        if time.monotonic() - self._checked > CHECK_EVERY:
            self._checked, self._published = time.monotonic(), 0
        step = round(self._params.features.item_stats_every * MS_PER_HOUR)
        due = (self._newest - lateness_ms(self._params.features)) // step
        if due > self._published:
            self._published = due
            Thread(target=self._publish, args=(self._newest,)).start()

    def _publish(self, until: int) -> None:
        try:
            publish_due(self._root, self._params, connect(self._root, self._params, BATCH_TIMEOUT), until)
        except Exception as error:  # nobody waits for a thread's error; the next call tries again
            unavailable = isinstance(error, UnavailableError)
            log.error("item statistics were not published: %s", error, exc_info=not unavailable)
            self._published = 0
