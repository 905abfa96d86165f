"""The intake into Kafka: valid events go to the topic, keyed by their session, all others to its quarantine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Lock

from confluent_kafka import KafkaError, KafkaException

from nextclick.errors import BrokerUnavailableError
from nextclick.params import Params
from nextclick.stream.kafka import ensure_topics, reliable_producer, unavailable_or_refused
from nextclick.stream.live_events import validator
from nextclick.stream.quarantine import OnDelivery, Quarantine
from nextclick.stream.validation import Message, Receipt, ValidatedEvents
from nextclick.units import MS_PER_SECOND

# seconds that Kafka may take to acknowledge. BentoML gives up at 5, with an answer that is not ours, and a request may
# wait for a thread for as long as those before it wait for Kafka
ACKNOWLEDGE_TIMEOUT = 2.0
REFUSING = 1.0  # seconds after such a timeout in which every request is refused at once; a 503's Retry-After says so


class KafkaIntake:
    """An `Intake`: events are in Kafka when `accept` returns, and a consumer applies them."""

    def __init__(self, params: Params) -> None:
        ensure_topics(params.stream)
        self._topic = params.stream.topic
        self._validator = validator(params)
        give_up_ms = round(ACKNOWLEDGE_TIMEOUT * MS_PER_SECOND)
        self._quarantine = Quarantine(self._topic, give_up_ms)
        self._one_at_a_time = Lock()
        self._producer = reliable_producer(**{"message.timeout.ms": give_up_ms, "linger.ms": 2})
        self._refusing_until = 0.0  # monotonic

    def accept(self, messages: Sequence[bytes]) -> Receipt:
        if time.monotonic() < self._refusing_until:
            raise BrokerUnavailableError(f"{self._topic}: Kafka did not answer just now")
        now = time.time_ns() // 1_000_000
        with self._one_at_a_time:
            # where an event has no position, the consumer takes the offset that Kafka will give it
            validated = self._validator.validate([Message(value, now, position=0) for value in messages])
        validated.require_few_dates()
        outcomes: list[KafkaError | None] = []  # one for each message of this call, whichever thread polls
        try:
            self._send(validated, messages, outcomes.append)
            self._wait(outcomes, len(messages))
        except BrokerUnavailableError:
            self._refusing_until = time.monotonic() + REFUSING
            raise
        return validated.receipt()

    def _send(self, validated: ValidatedEvents, messages: Sequence[bytes], on_delivery: OnDelivery) -> None:
        for one in validated.invalid:
            self._quarantine.put(messages[one.place], one, on_delivery=on_delivery)
        invalid = {one.place for one in validated.invalid}
        valid = (message for place, message in enumerate(messages) if place not in invalid)
        try:
            for message, session in zip(valid, validated.events["session_id"].to_pylist(), strict=True):
                self._producer.produce(self._topic, message, session, on_delivery=lambda error, _: on_delivery(error))
        except BufferError as full:
            raise BrokerUnavailableError(f"{self._topic}: too many events wait for Kafka already") from full

    def _wait(self, outcomes: Sequence[KafkaError | None], count: int) -> None:
        until = time.monotonic() + ACKNOWLEDGE_TIMEOUT
        while len(outcomes) < count:
            if time.monotonic() > until:
                missing, seconds = count - len(outcomes), ACKNOWLEDGE_TIMEOUT
                raise BrokerUnavailableError(f"{self._topic}: {missing} events not acknowledged within {seconds:g} s")
            self._quarantine.poll()
            self._producer.poll(0.01)
        for failure in filter(None, outcomes):
            raise unavailable_or_refused(KafkaException(failure))

    def close(self) -> None:
        self._producer.flush(ACKNOWLEDGE_TIMEOUT)
