"""Messages that break the schema, kept in a topic of their own: the original bytes, and in headers why and whence."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from nextclick.errors import BrokerUnavailableError, InputError
from nextclick.stream.kafka import LARGEST_MESSAGE, Received, quarantine_of, reliable_producer
from nextclick.stream.validation import Broken

KEPT_OF_TOO_LARGE = 64 * 1024  # bytes, of a message that the quarantine's topic does not take whole
PATIENCE = 30.0  # s

Headers = list[tuple[str, str | bytes | None]]


class Quarantine:
    def __init__(self, topic: str) -> None:
        self._topic = quarantine_of(topic)
        # 0: never given up; what is not delivered keeps the consumer from moving on
        self._producer = reliable_producer(**{"message.max.bytes": LARGEST_MESSAGE, "message.timeout.ms": 0})
        self._refused: KafkaError | None = None

    def put(self, value: bytes, broken: Broken, received: Received | None = None) -> None:
        """Send a message, `received` from Kafka or not; it is there once `flush` returns."""
        headers: Headers = [("field", broken.field), ("reason", broken.reason)]
        if received:
            headers += [("partition", str(received.partition)), ("offset", str(received.offset))]
        self._send(received.key if received else None, value, headers)

    def _send(self, key: bytes | None, value: bytes, headers: Headers) -> None:
        def delivered(error: KafkaError | None, _: object) -> None:
            if error is None:
                return
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE and len(value) > KEPT_OF_TOO_LARGE:
                self._send(None, value[:KEPT_OF_TOO_LARGE], [*headers, ("size", str(len(value)))])
            else:
                self._refused = error

        while True:
            try:
                self._producer.produce(self._topic, value, key, headers=headers, on_delivery=delivered)
                self._producer.poll(0)
                return
            except BufferError:  # as many are on their way as the client holds
                self._producer.poll(0.1)
            except KafkaException as error:
                delivered(error.args[0], None)
                return

    def flush(self) -> None:
        """Returns when all that was put is there.

        Raises BrokerUnavailableError where it is still on its way, InputError where the broker refused some of it.
        """
        left = self._producer.flush(PATIENCE)
        if self._refused:
            raise InputError(f"{self._topic}: {self._refused.str()}")
        if left:
            raise BrokerUnavailableError(f"{self._topic}: {left} messages not acknowledged within {PATIENCE:g} s")
