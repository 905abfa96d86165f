"""The intake of events that come over HTTP: into Kafka if there is a broker, else applied here, by the same code."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Protocol

import pyarrow as pa

from nextclick.features.store.connect import connect
from nextclick.features.store.redis_rows import UnreadableRow
from nextclick.logs.event_log import QUARANTINE, EventLog
from nextclick.logs.parquet_log import TIMESTAMP_MS
from nextclick.params import Params
from nextclick.settings import KafkaSettings
from nextclick.stream.live_events import LiveEvents
from nextclick.stream.validation import ROW_FIELD, InvalidMessage, Message, Receipt

STORE_TIMEOUT = 0.5  # seconds that Redis may take


class Intake(Protocol):
    def accept(self, messages: Sequence[bytes]) -> Receipt:
        """Take events, each a JSON object. When it returns they are on disk or in Kafka, in whole.

        Any number of threads and processes may call it at once; it is idempotent. Raises UnavailableError; the same
        messages may then be sent again.
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

    def accept(self, messages: Sequence[bytes]) -> Receipt:
        now = time.time_ns() // 1_000_000
        with self._one_at_a_time:
            # by the clock, so that they ascend over a restart too
            first = max(self._next_position, time.time_ns())
            self._next_position = first + len(messages)
            validated = self._live.validate(
                [Message(value, now, position) for position, value in enumerate(messages, first)]
            )
            self._live.apply(validated.events)
            self._live.buffer(validated.events)
            try:
                self._live.flush()
            finally:
                self._live.discard()  # also if it failed: the sender receives the error and sends the events again
            self._live.publish_statistics()
            if validated.invalid:
                self._quarantine.append(_rows(validated.invalid, messages, now))
        return validated.receipt()

    def _set_aside(self, row: UnreadableRow) -> None:
        invalid = [InvalidMessage(0, ROW_FIELD, f"{row.name}: {row.reason}")]
        self._quarantine.append(_rows(invalid, [row.content], time.time_ns() // 1_000_000))

    def close(self) -> None:
        """Nothing is buffered."""


def _rows(invalid: Sequence[InvalidMessage], messages: Sequence[bytes], now: int) -> pa.Table:
    columns = {
        "timestamp": pa.array([now] * len(invalid), TIMESTAMP_MS),
        "field": [one.field for one in invalid],
        "reason": [one.reason for one in invalid],
        "raw": pa.array([messages[one.place] for one in invalid], pa.binary()),
    }
    return pa.table(columns)
