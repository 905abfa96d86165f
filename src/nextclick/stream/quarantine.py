"""The quarantine of invalid messages: a topic of the original bytes, whose headers say why and where they came from."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException

from nextclick.errors import BrokerUnavailableError, InputError
from nextclick.stream.kafka import MAX_MESSAGE, Received, quarantine_of, reliable_producer
from nextclick.stream.validation import InvalidMessage

TRUNCATED_BYTES = 64 * 1024  # what is sent of a message that the quarantine's topic refuses as too large
FLUSH_TIMEOUT = 30.0  # seconds

Headers = list[tuple[str, str | bytes | None]]
OnDelivery = Callable[[KafkaError | None], None]  # receives the error that kept a message from its topic, or None


class Quarantine:
    """Not for several threads at once, except for `put` with `on_delivery`, and `poll`."""

    def __init__(self, topic: str, give_up_ms: int = 0) -> None:
        """give_up_ms: after which a message is no longer sent; 0 is never, as for the consumer, which must not move on
        without it."""
        self._topic = quarantine_of(topic)
        self._gives_up = give_up_ms > 0
        self._producer = reliable_producer(**{"message.max.bytes": MAX_MESSAGE, "message.timeout.ms": give_up_ms})
        self._refused: KafkaError | None = None

    def put(
        self,
        value: bytes,
        invalid: InvalidMessage,
        received: Received | None = None,
        on_delivery: OnDelivery | None = None,
    ) -> None:
        """Send a message, which was `received` from Kafka or not. It is in the topic once `flush` returns, or once
        `poll` has called `on_delivery` without an error.

        Raises BrokerUnavailableError if the client's buffer is full and `give_up_ms` was set.
        """
        headers: Headers = [("field", invalid.field), ("reason", invalid.reason)]
        if received:
            headers += [("partition", str(received.partition)), ("offset", str(received.offset))]
        self._send(received.key if received else None, value, headers, on_delivery or self._remember)

    def _send(self, key: bytes | None, value: bytes, headers: Headers, on_delivery: OnDelivery) -> None:
        def delivered(error: KafkaError | None, _: object) -> None:
            if error and error.code() == KafkaError.MSG_SIZE_TOO_LARGE and len(value) > TRUNCATED_BYTES:
                self._send(None, value[:TRUNCATED_BYTES], [*headers, ("size", str(len(value)))], on_delivery)
            else:
                on_delivery(error)

        while True:
            try:
                self._producer.produce(self._topic, value, key, headers=headers, on_delivery=delivered)
                self._producer.poll(0)
                return
            except BufferError as full:
                if self._gives_up:
                    raise BrokerUnavailableError(f"{self._topic}: too many messages wait for Kafka already") from full
                self._producer.poll(0.1)
            except KafkaException as error:
                delivered(error.args[0], None)
                return

    def poll(self) -> None:
        """Call `on_delivery` of each message whose outcome is known by now."""
        self._producer.poll(0)

    def flush(self) -> None:
        """Return when all that was put without `on_delivery` is in the topic.

        Raises BrokerUnavailableError if some is still on its way, InputError if the broker has ever refused some.
        """
        count = self._producer.flush(FLUSH_TIMEOUT)
        if self._refused:
            raise InputError(f"{self._topic}: {self._refused.str()}")
        if count:
            raise BrokerUnavailableError(f"{self._topic}: {count} messages not acknowledged within {FLUSH_TIMEOUT:g} s")

    def _remember(self, error: KafkaError | None) -> None:
        # for good: a later `flush` without an error would let the consumer commit what was refused
        self._refused = self._refused or error
