"""The door into Kafka: good events to the topic of their sessions, all others to its quarantine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Lock

from confluent_kafka import KafkaError, KafkaException

from nextclick.errors import BrokerUnavailableError
from nextclick.params import Params
from nextclick.stream.intake import Receipt, receipt
from nextclick.stream.kafka import ensure_topics, reliable_producer, unavailable_or_refused
from nextclick.stream.live_events import validator
from nextclick.stream.quarantine import Quarantine
from nextclick.stream.validation import Judged, Message

PATIENCE_MS = 5_000  # that Kafka may take to acknowledge


class KafkaIntake:
    """An `Intake`: events are in Kafka when `accept` returns, and a consumer applies them."""

    def __init__(self, params: Params) -> None:
        ensure_topics(params.stream)
        self._topic = params.stream.topic
        self._validator = validator(params)
        self._quarantine = Quarantine(self._topic)
        self._one_at_a_time = Lock()
        self._producer = reliable_producer(**{"message.timeout.ms": PATIENCE_MS, "linger.ms": 2})

    def accept(self, messages: Sequence[bytes]) -> Receipt:
        now = time.time_ns() // 1_000_000
        with self._one_at_a_time:
            judged = self._validator.judge([Message(value, now) for value in messages])
            for bad in judged.broken:
                self._quarantine.put(messages[bad.place], bad)
            if judged.broken:
                self._quarantine.flush()
        self._send(judged, messages)
        return receipt(judged)

    def _send(self, judged: Judged, messages: Sequence[bytes]) -> None:
        bad_places = {bad.place for bad in judged.broken}
        good = [message for place, message in enumerate(messages) if place not in bad_places]
        outcomes: list[KafkaError | None] = []
        try:
            for message, session in zip(good, judged.events["session_id"].to_pylist(), strict=True):
                self._producer.produce(
                    self._topic, message, session, on_delivery=lambda error, _: outcomes.append(error)
                )
        except BufferError as full:
            raise BrokerUnavailableError(f"{self._topic}: too many events wait for Kafka already") from full
        while len(outcomes) < len(good):  # each has one, at the latest after the patience
            self._producer.poll(0.01)
        for failure in filter(None, outcomes):
            raise unavailable_or_refused(KafkaException(failure))

    def close(self) -> None:
        self._producer.flush(PATIENCE_MS / 1000)
