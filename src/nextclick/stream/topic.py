"""Which topic it is whose offsets are kept: one that was deleted and made anew has the same name and other messages."""

from __future__ import annotations

from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient

from nextclick.stream.kafka import client_config


class TopicIdentity:
    """Asks the broker for the id that Kafka gives a topic when it is made."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._admin = AdminClient(client_config())

    def read(self, timeout: float) -> str:
        """timeout: seconds. Raises KafkaException if no broker answers, or there is no such topic."""
        described = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=timeout)
        return str(described[self._topic].result(timeout).topic_id)
