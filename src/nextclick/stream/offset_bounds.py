"""Whether a partition still has the message of an offset: retention deletes the oldest, a topic may be made anew."""

from __future__ import annotations

import logging

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from nextclick.stream.kafka import BROKER_TIMEOUT
from nextclick.stream.metrics import StreamMetrics

ASK_TIMEOUT = 1.0  # seconds that a broker may take to answer while the consumer has messages to attend to
log = logging.getLogger(__name__)


class OffsetBounds:
    """Tells and counts what is not there any more."""

    def __init__(self, consumer: Consumer, metrics: StreamMetrics) -> None:
        self._consumer, self._metrics = consumer, metrics

    def keep_within(self, committed: TopicPartition, topic_id: str) -> int:
        """Move a committed offset on behind what the broker has deleted; to OFFSET_BEGINNING if it is of another topic
        of this name, or beyond the end of one that has lost messages, so that what comes is not taken for known.
        Returns the first offset that there is. Raises KafkaException."""
        first, end = self._consumer.get_watermark_offsets(committed, timeout=BROKER_TIMEOUT)
        # without metadata it was committed before topics were told apart
        if (committed.metadata or topic_id) != topic_id or committed.offset > end:
            log.warning(
                "%s: offset %d is not of this topic; read from the beginning", _name(committed), committed.offset
            )
            self._metrics.resets.inc()
            committed.offset = OFFSET_BEGINNING
        elif committed.offset < first:
            self._skipped(committed, committed.offset, first)
            committed.offset = first
        return first

    def deleted(self, assigned: TopicPartition, expected: int) -> int:
        """How many of the messages from the offset `expected` on the broker has deleted; 0 if it does not answer."""
        try:
            first, _ = self._consumer.get_watermark_offsets(assigned, timeout=ASK_TIMEOUT)
        except KafkaException:
            return 0
        if first <= expected:
            return 0
        self._skipped(assigned, expected, first)
        return first - expected

    def _skipped(self, partition: TopicPartition, expected: int, first: int) -> None:
        log.error("%s: messages %d to %d were deleted before they were read", _name(partition), expected, first - 1)
        self._metrics.skipped.inc(first - expected)


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}, partition {partition.partition}"
