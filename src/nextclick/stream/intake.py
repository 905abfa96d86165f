"""The door for events that come over HTTP: into Kafka where there is one, else applied here, by the same code."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from nextclick.features.store.connect import connect
from nextclick.logs.event_log import QUARANTINE, EventLog
from nextclick.logs.parquet_log import TIMESTAMP_MS
from nextclick.params import Params
from nextclick.settings import KafkaSettings
from nextclick.stream.live_events import LiveEvents
from nextclick.stream.validation import Broken, Judged, Message

STORE_PATIENCE = 0.5  # seconds that Redis may take


class Receipt(NamedTuple):
    """accepted: good events; late: how many of them came too late to change a session. broken: all others."""

    accepted: int
    late: int
    broken: list[Broken]


class Intake(Protocol):
    def accept(self, messages: Sequence[bytes]) -> Receipt:
        """Take events, each a JSON object. When it returns they are on disk or in Kafka, in whole.

        Any number of threads and processes may call it at once; the same event twice is once.
        Raises UnavailableError; the same messages may then be sent again.
        """

    def close(self) -> None: ...


def open_intake(root: Path, params: Params) -> Intake:
    """The environment's NEXTCLICK_KAFKA decides where events go. Raises UnavailableError, InputError."""
    if KafkaSettings.read().kafka:
        from nextclick.stream.kafka_intake import KafkaIntake

        return KafkaIntake(params)
    return EmbeddedIntake(root, params)


class EmbeddedIntake:
    """No broker: states, offline log and quarantine are written before the answer."""

    def __init__(self, root: Path, params: Params) -> None:
        self._live = LiveEvents(root, params, connect(root, params, STORE_PATIENCE))
        self._quarantine = EventLog(root / QUARANTINE)
        self._one_at_a_time = Lock()

    def accept(self, messages: Sequence[bytes]) -> Receipt:
        now = time.time_ns() // 1_000_000
        with self._one_at_a_time:
            judged = self._live.judge([Message(value, now) for value in messages])
            self._live.apply(judged.events)
            self._live.keep(judged.events)
            try:
                self._live.flush()
            finally:
                self._live.drop()  # also where it failed: whoever sent it is told, and sends it again
            self._live.publish_statistics()
            if judged.broken:
                self._quarantine.append(_rows(judged.broken, messages, now))
        return receipt(judged)

    def close(self) -> None:
        """Nothing is held back."""


def receipt(judged: Judged) -> Receipt:
    return Receipt(judged.events.num_rows, pc.sum(judged.events["late"]).as_py() or 0, judged.broken)


def _rows(broken: Sequence[Broken], messages: Sequence[bytes], now: int) -> pa.Table:
    columns = {
        "timestamp": pa.array([now] * len(broken), TIMESTAMP_MS),
        "field": [bad.field for bad in broken],
        "reason": [bad.reason for bad in broken],
        "raw": pa.array([messages[bad.place] for bad in broken], pa.binary()),
    }
    return pa.table(columns)
