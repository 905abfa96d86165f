"""Messages that break the schema, kept in a topic of their own: the original bytes, and in headers why and whence."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException

from nextclick.errors import BrokerUnavailableError, InputError
from nextclick.stream.kafka import LARGEST_MESSAGE, Received, quarantine_of, reliable_producer
from nextclick.stream.validation import Broken

KEPT_OF_TOO_LARGE = 64 * 1024  # bytes, of a message that the quarantine's topic does not take whole
PATIENCE = 30.0  # s, of `flush`

Headers = list[tuple[str, str | bytes | None]]
Ended = Callable[[KafkaError | None], None]  # told what kept a message from its topic; None: it is there


class Quarantine:
    """give_up_ms: after which a message is no longer sent; 0 is never, as for the consumer, which must not move on
    without it. Not for several threads at once, except for `put` with `ended`, and `poll`."""

    def __init__(self, topic: str, give_up_ms: int = 0) -> None:
        self._topic = quarantine_of(topic)
        self._gives_up = give_up_ms > 0
        self._producer = reliable_producer(**{"message.max.bytes": LARGEST_MESSAGE, "message.timeout.ms": give_up_ms})
        self._refused: KafkaError | None = None

    def put(self, value: bytes, broken: Broken, received: Received | None = None, ended: Ended | None = None) -> None:
        """Send a message, `received` from Kafka or not. It is there once `flush` returns, or where `poll` has `ended`
        told so.

        Raises BrokerUnavailableError where as many are on their way as the client holds, and it is one that gives up.
        """
        headers: Headers = [("field", broken.field), ("reason", broken.reason)]
        if received:
            headers += [("partition", str(received.partition)), ("offset", str(received.offset))]
        self._send(received.key if received else None, value, headers, ended or self._remember)

    def _send(self, key: bytes | None, value: bytes, headers: Headers, ended: Ended) -> None:
        def delivered(error: KafkaError | None, _: object) -> None:
            if error and error.code() == KafkaError.MSG_SIZE_TOO_LARGE and len(value) > KEPT_OF_TOO_LARGE:
                self._send(None, value[:KEPT_OF_TOO_LARGE], [*headers, ("size", str(len(value)))], ended)
            else:
                ended(error)

        while True:
            try:
                self._producer.produce(self._topic, value, key, headers=headers, on_delivery=delivered)
                self._producer.poll(0)
                return
            except BufferError as full:  # as many are on their way as the client holds
                if self._gives_up:
                    raise BrokerUnavailableError(f"{self._topic}: too many messages wait for Kafka already") from full
                self._producer.poll(0.1)
            except KafkaException as error:
                delivered(error.args[0], None)
                return

    def poll(self) -> None:
        """Let each `ended` be told what is known by now."""
        self._producer.poll(0)

    def flush(self) -> None:
        """Returns when all that was put without `ended` is there.

        Raises BrokerUnavailableError where it is still on its way, InputError where the broker has ever refused some.
        """
        left = self._producer.flush(PATIENCE)
        if self._refused:
            raise InputError(f"{self._topic}: {self._refused.str()}")
        if left:
            raise BrokerUnavailableError(f"{self._topic}: {left} messages not acknowledged within {PATIENCE:g} s")

    def _remember(self, error: KafkaError | None) -> None:
        # for good: a later `flush` that said all is there would let the consumer commit what was refused
        self._refused = self._refused or error
