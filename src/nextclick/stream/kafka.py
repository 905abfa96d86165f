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

# the header of a replayed event: the ms at which it would have arrived. Without it Kafka's own timestamp counts, which
# must be the time of writing, since Kafka deletes by it what is older than a topic's retention
ARRIVED = "arrived"
BROKER_TIMEOUT = 10.0  # seconds that a broker may take to answer at the start
MAX_MESSAGE = 20 * 2**20  # bytes; far more than an event has, so that an invalid message arrives and gets its reason
ONLY_CRITICAL = 2  # of syslog's levels


class Received(NamedTuple):
    """A message as it came from Kafka, with its partition and offset."""

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
    """Create the topic and its quarantine if they are missing; existing ones stay as they are.

    Raises BrokerUnavailableError if no broker answers, InputError if it refuses.
    """
    wanted = {params.topic: params.partitions, quarantine_of(params.topic): 1}
    reported: list[KafkaError] = []
    admin = None
    try:
        admin = AdminClient(client_config(error_cb=reported.append))
        existing = admin.list_topics(timeout=BROKER_TIMEOUT).topics
        missing = [
            NewTopic(name, num_partitions=count, config={"max.message.bytes": str(MAX_MESSAGE + 2**20)})
            for name, count in wanted.items()
            if name not in existing
        ]
        for made in admin.create_topics(missing).values() if missing else ():
            with _existing_is_fine():
                made.result(timeout=BROKER_TIMEOUT)
    except KafkaException as error:
        if admin:
            admin.poll(0)  # for its reports, since the error itself only says that nothing answers
        refused = [one for one in reported if one.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL)]
        why = (refused or reported)[:1]
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
        # deleted, and perhaps made anew soon
        *(KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART),
        KafkaError._MSG_TIMED_OUT,  # a producer gave a message up
        # a consumer that did not poll for so long has lost its partitions, and is assigned others when it polls again
        KafkaError._MAX_POLL_EXCEEDED,
    )
    kind = BrokerUnavailableError if reason.retriable() or reason.code() in passing else InputError
    return kind(f"Kafka at {KafkaSettings.read().kafka}: {reason.str()}")


def reliable_producer(**more: Any) -> Producer:
    """A producer that writes each message once and in order, to the partition that Java's clients choose for a key."""
    return Producer(client_config(**{"enable.idempotence": True, "partitioner": "murmur2_random", **more}))
