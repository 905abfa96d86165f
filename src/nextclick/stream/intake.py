"""The intake of events that come over HTTP: into Kafka if there is a broker, else applied here, by the same code."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Protocol

import pyarrow as pa

from nextclick.events.tables import parquet_files
from nextclick.features.store.connect import connect
from nextclick.features.store.redis_rows import UnreadableRow
from nextclick.logs.event_log import QUARANTINE, EventLog
from nextclick.logs.parquet_log import TIMESTAMP_MS
from nextclick.params import Params
from nextclick.settings import KafkaSettings
from nextclick.stream.live_events import LiveEvents
from nextclick.stream.validation import MAX_BYTES, ROW_FIELD, InvalidMessage, Message, Receipt

log = logging.getLogger(__name__)

QUARANTINE_BYTES = 2**28
BOUND_EVERY = 60.0  # seconds between two checks of the quarantine's size
STORE_TIMEOUT = 0.5  # seconds that Redis may take


class Intake(Protocol):
    def accept(self, messages: Sequence[bytes]) -> Receipt:
        """Take events, each a JSON object. When it returns they are on disk or in Kafka, in whole.

        Any number of threads and processes may call it at once; it is idempotent. Raises UnavailableError; the same
        messages may then be sent again. Raises TooManyDatesError; nothing was taken then.
        """

    def close(self) -> None: ...


def open_intake(root: Path, params: Params) -> Intake:
    """The environment's NEXTCLICK_KAFKA decides where events go. Raises UnavailableError, InputError."""
    if KafkaSettings.read().kafka:
        from nextclick.stream.kafka_intake import KafkaIntake

        return KafkaIntake(params)
    return EmbeddedIntake(root, params)


class EmbeddedIntake:
    """An `Intake` without a broker: states, offline log and quarantine are written before `accept` returns."""

    def __init__(self, root: Path, params: Params) -> None:
        self._live = LiveEvents(root, params, connect(root, params, STORE_TIMEOUT), self._set_aside)
        self._quarantine = EventLog(root / QUARANTINE)
        self._one_at_a_time = Lock()
        self._next_position = 0
        self._bound_after = 0.0  # monotonic

    def accept(self, messages: Sequence[bytes]) -> Receipt:
        now = time.time_ns() // 1_000_000
        with self._one_at_a_time:
            # by the clock, so that they ascend over a restart too
            first = max(self._next_position, time.time_ns())
            self._next_position = first + len(messages)
            validated = self._live.validate(
                [Message(value, now, position) for position, value in enumerate(messages, first)]
            )
            validated.require_few_dates()
            self._live.apply(validated.events)
            self._live.buffer(validated.events)
            try:
                self._live.flush()
            finally:
                self._live.discard()  # also if it failed: the sender receives the error and sends the events again
            self._live.publish_statistics()
            if validated.invalid:
                self._put_aside(_rows(validated.invalid, messages, now))
        return validated.receipt()

    def _set_aside(self, row: UnreadableRow) -> None:
        invalid = [InvalidMessage(0, ROW_FIELD, f"{row.name}: {row.reason}")]
        self._put_aside(_rows(invalid, [row.content], time.time_ns() // 1_000_000))

    def _put_aside(self, rows: pa.Table) -> None:
        """Write to the quarantine, of which the oldest goes where it grows beyond QUARANTINE_BYTES: whoever may post
        could else fill the disk under the events."""
        self._quarantine.append(rows)
        if time.monotonic() < self._bound_after:
            return
        self._bound_after = time.monotonic() + BOUND_EVERY
        files = sorted((file for day in self._quarantine.days() for file in parquet_files(day)), reverse=True)
        total = 0
        for file in files:  # newest first
            total += file.stat().st_size
            if total > QUARANTINE_BYTES:
                log.warning("the quarantine is beyond %d bytes: %s is deleted", QUARANTINE_BYTES, file)
                file.unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is buffered."""


def _rows(invalid: Sequence[InvalidMessage], messages: Sequence[bytes], now: int) -> pa.Table:
    columns = {
        "timestamp": pa.array([now] * len(invalid), TIMESTAMP_MS),
        "field": [one.field for one in invalid],
        "reason": [one.reason for one in invalid],
        "raw": pa.array([messages[one.place][:MAX_BYTES] for one in invalid], pa.binary()),
    }
    return pa.table(columns)
