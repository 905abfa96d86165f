"""How Kafka is reached: broker and security from the environment, topics made where they are missing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from nextclick.errors import BrokerUnavailableError, InputError
from nextclick.params import Stream

BROKERS = "NEXTCLICK_KAFKA"
PATIENCE = 10.0  # seconds that a broker may take to answer at the start
LARGEST_MESSAGE = 20 * 2**20  # bytes; far more than an event has, so that what is wrong comes in and gets its reason
# what librdkafka calls it, by the environment: NEXTCLICK_KAFKA_SASL_PASSWORD is sasl.password
SECURITY = (
    "security.protocol",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.endpoint.identification.algorithm",
)


def brokers() -> str | None:
    """host:port of one or several brokers, separated by commas; None where live events stay in the process."""
    return os.environ.get(BROKERS) or None


def client_config(**more: Any) -> dict[str, Any]:
    """librdkafka's settings. Raises InputError where the environment names no broker, or a setting that is unknown."""
    servers = brokers()
    if servers is None:
        raise InputError(f"{BROKERS} is not set; expected the broker's host:port, as 127.0.0.1:9092")
    known = {f"{BROKERS}_{name.upper().replace('.', '_')}": name for name in SECURITY}
    given = {name: value for name, value in os.environ.items() if name.startswith(f"{BROKERS}_")}
    unknown = given.keys() - known.keys()
    if unknown:
        raise InputError(f"{', '.join(sorted(unknown))}: no such setting; there are {', '.join(known)}")
    security = {known[name]: value for name, value in given.items()}
    return {"bootstrap.servers": servers, "client.id": "nextclick", **security, **more}


def quarantine_of(topic: str) -> str:
    return f"{topic}.quarantine"


def ensure_topics(params: Stream) -> None:
    """Make the topic and its quarantine where they are missing; those that are there stay as they are.

    Raises BrokerUnavailableError where none answers, InputError where the broker refuses.
    """
    admin = AdminClient(client_config())
    wanted = {params.topic: params.partitions, quarantine_of(params.topic): 1}
    try:
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
        raise unavailable_or_refused(error) from error


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
    passing = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._RESOLVE, KafkaError._ALL_BROKERS_DOWN)
    kind = BrokerUnavailableError if reason.retriable() or reason.code() in passing else InputError
    return kind(f"Kafka at {brokers()}: {reason.str()}")
