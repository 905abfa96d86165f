"""Messages that break the schema, kept in a topic of their own: the original bytes, and in headers why and whence."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from nextclick.errors import BrokerUnavailableError, InputError
from nextclick.stream.kafka import LARGEST_MESSAGE, client_config, quarantine_of
from nextclick.stream.validation import Broken

KEPT_OF_TOO_LARGE = 64 * 1024  # bytes, of a message that the quarantine's topic does not take whole
PATIENCE = 30.0  # s

Headers = list[tuple[str, bytes]]


class Quarantine:
    def __init__(self, topic: str) -> None:
        self._topic = quarantine_of(topic)
        # 0: never given up; what is not delivered keeps the consumer from moving on
        self._producer = Producer(
            client_config(**{"enable.idempotence": True, "message.max.bytes": LARGEST_MESSAGE, "message.timeout.ms": 0})
        )
        self._refused: KafkaError | None = None

    def put(self, message: Message, broken: Broken) -> None:
        """Send a message that came from Kafka; it is there once `flush` returns."""
        headers = {
            "field": broken.field,
            "reason": broken.reason,
            "topic": message.topic(),
            "partition": message.partition(),
            "offset": message.offset(),
        }
        self._send(
            message.key(), message.value() or b"", [(name, str(value).encode()) for name, value in headers.items()]
        )

    def _send(self, key: bytes | None, value: bytes, headers: Headers) -> None:
        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is None:
                return
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE and len(value) > KEPT_OF_TOO_LARGE:
                self._send(None, value[:KEPT_OF_TOO_LARGE], [*headers, ("size", str(len(value)).encode())])
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
