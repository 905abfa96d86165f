"""What producers and consumers share: topics, the form of a message, errors in this project's terms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from nextclick.errors import BrokerUnavailableError, InputError
from nextclick.params import Stream
from nextclick.settings import KafkaSettings
from nextclick.stream.validation import Message

# the header of a replayed event: the ms at which it would have come. Kafka's own timestamp, which counts where there is
# none, must be the time of writing: by it Kafka deletes what is older than a topic's retention
ARRIVED = "arrived"
PATIENCE = 10.0  # seconds that a broker may take to answer at the start
LARGEST_MESSAGE = 20 * 2**20  # bytes; far more than an event has, so that what is wrong comes in and gets its reason
ONLY_CRITICAL = 2  # of syslog's levels


class Received(NamedTuple):
    """A message as it came from Kafka, and where it stands there."""

    partition: int
    offset: int
    key: bytes | None
    message: Message


def client_config(**more: Any) -> dict[str, Any]:
    """librdkafka's settings: where the brokers are, how they are entered, and `more`.

    Raises InputError if the environment names no broker, an unknown setting or a file that does not exist.
    """
    settings = KafkaSettings.read()
    if not settings.kafka:
        raise InputError("NEXTCLICK_KAFKA is not set; expected the broker's host:port, as 127.0.0.1:9092")
    # librdkafka's own log would report every attempt to connect; what matters of it comes as an error
    common = {"bootstrap.servers": settings.kafka, "client.id": "nextclick", "log_level": ONLY_CRITICAL}
    return {**common, **settings.security(), **more}


def quarantine_of(topic: str) -> str:
    return f"{topic}.quarantine"


def ensure_topics(params: Stream) -> None:
    """Make the topic and its quarantine where they are missing; those that are there stay as they are.

    Raises BrokerUnavailableError where none answers, InputError where the broker refuses.
    """
    wanted = {params.topic: params.partitions, quarantine_of(params.topic): 1}
    said: list[KafkaError] = []
    admin = None
    try:
        admin = AdminClient(client_config(error_cb=said.append))
        there = admin.list_topics(timeout=PATIENCE).topics
        missing = [
            NewTopic(name, num_partitions=count, config={"max.message.bytes": str(LARGEST_MESSAGE + 2**20)})
            for name, count in wanted.items()
            if name not in there
        ]
        for made in admin.create_topics(missing).values() if missing else ():
            with _existing_is_fine():
                made.result(timeout=PATIENCE)
    except KafkaException as error:
        if admin:
            admin.poll(0)  # what it has to say; its last word is only that nothing answers
        refused = [one for one in said if one.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL)]
        why = (refused or said)[:1]
        raise unavailable_or_refused(KafkaException(*why) if why else error) from error


@contextmanager
def _existing_is_fine() -> Iterator[None]:
    """Another process may make the same topic at the same time."""
    try:
        yield
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def unavailable_or_refused(error: KafkaException) -> Exception:
    """The error in this project's terms: BrokerUnavailableError where waiting may help, else InputError."""
    reason = error.args[0]
    passing = (
        *(KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._RESOLVE, KafkaError._ALL_BROKERS_DOWN),
        KafkaError._MSG_TIMED_OUT,  # a producer gave a message up
        # who waited for something else for so long has lost its partitions, and is given others when it asks again
        KafkaError._MAX_POLL_EXCEEDED,
    )
    kind = BrokerUnavailableError if reason.retriable() or reason.code() in passing else InputError
    return kind(f"Kafka at {KafkaSettings.read().kafka}: {reason.str()}")


def reliable_producer(**more: Any) -> Producer:
    """One whose messages are written once and in order, to the partitions where Java's clients write the same keys."""
    return Producer(client_config(**{"enable.idempotence": True, "partitioner": "murmur2_random", **more}))
