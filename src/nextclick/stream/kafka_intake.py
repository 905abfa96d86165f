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
from nextclick.stream.quarantine import Ended, Quarantine
from nextclick.stream.validation import Judged, Message
from nextclick.units import MS_PER_SECOND

# s that Kafka may take to acknowledge. BentoML gives up at 5, with an answer that is not ours, and a request may wait
# for a thread for as long as those before it wait for Kafka
PATIENCE = 2.0
REFUSING = 1.0  # s in which nobody waits, after somebody waited in vain; as the Retry-After of a 503 says


class KafkaIntake:
    """An `Intake`: events are in Kafka when `accept` returns, and a consumer applies them."""

    def __init__(self, params: Params) -> None:
        ensure_topics(params.stream)
        self._topic = params.stream.topic
        self._validator = validator(params)
        give_up_ms = round(PATIENCE * MS_PER_SECOND)
        self._quarantine = Quarantine(self._topic, give_up_ms)
        self._one_at_a_time = Lock()
        self._producer = reliable_producer(**{"message.timeout.ms": give_up_ms, "linger.ms": 2})
        self._refusing_until = 0.0  # monotonic

    def accept(self, messages: Sequence[bytes]) -> Receipt:
        if time.monotonic() < self._refusing_until:
            raise BrokerUnavailableError(f"{self._topic}: Kafka did not answer just now")
        now = time.time_ns() // 1_000_000
        with self._one_at_a_time:
            judged = self._validator.judge([Message(value, now) for value in messages])
        outcomes: list[KafkaError | None] = []  # of this call, whoever polls; one for each message
        try:
            self._send(judged, messages, outcomes.append)
            self._wait(outcomes, len(messages))
        except BrokerUnavailableError:
            self._refusing_until = time.monotonic() + REFUSING
            raise
        return receipt(judged)

    def _send(self, judged: Judged, messages: Sequence[bytes], ended: Ended) -> None:
        for bad in judged.broken:
            self._quarantine.put(messages[bad.place], bad, ended=ended)
        bad_places = {bad.place for bad in judged.broken}
        good = (message for place, message in enumerate(messages) if place not in bad_places)
        try:
            for message, session in zip(good, judged.events["session_id"].to_pylist(), strict=True):
                self._producer.produce(self._topic, message, session, on_delivery=lambda error, _: ended(error))
        except BufferError as full:
            raise BrokerUnavailableError(f"{self._topic}: too many events wait for Kafka already") from full

    def _wait(self, outcomes: Sequence[KafkaError | None], count: int) -> None:
        until = time.monotonic() + PATIENCE
        while len(outcomes) < count:
            if time.monotonic() > until:
                left = count - len(outcomes)
                raise BrokerUnavailableError(f"{self._topic}: {left} events not acknowledged within {PATIENCE:g} s")
            self._quarantine.poll()
            self._producer.poll(0.01)
        for failure in filter(None, outcomes):
            raise unavailable_or_refused(KafkaException(failure))

    def close(self) -> None:
        self._producer.flush(PATIENCE)
