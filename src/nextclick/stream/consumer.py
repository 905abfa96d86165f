"""The consumer of live clicks. Delivery is at least once and every step idempotent, so each event counts once:

1. a micro-batch is merged into the online states, in any order, whoever else writes;
2. the store's own position moves on; if it is not what it was, the store has lost data, and Kafka replays it;
3. every `log_seconds` the offline log and the quarantine are written, and only then the offsets committed.

If it is killed between any two steps, the next owner of the partition repeats what was not committed. Offsets and
positions are those of one topic, known by its id: a topic that was made anew is read from its beginning.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from nextclick.errors import BrokerUnavailableError, LogUnavailableError, StoreUnavailableError
from nextclick.events.prefixes import IDLE
from nextclick.features.statistics_versions import lateness_ms
from nextclick.features.store.connect import BATCH_TIMEOUT, check_store_setting, connect
from nextclick.features.store.feast_internals import redis_client
from nextclick.features.store.redis_rows import UnreadableRow
from nextclick.params import Params
from nextclick.stream.kafka import ARRIVED, BROKER_TIMEOUT, MAX_MESSAGE, Received, client_config, unavailable_or_refused
from nextclick.stream.live_events import LiveEvents
from nextclick.stream.metrics import StreamMetrics
from nextclick.stream.offset_bounds import ASK_TIMEOUT, OffsetBounds
from nextclick.stream.positions import Positions
from nextclick.stream.quarantine import Quarantine
from nextclick.stream.topic import TopicIdentity
from nextclick.stream.validation import CLOCK_SKEW_MS, ROW_FIELD, InvalidMessage, Message
from nextclick.units import MS_PER_SECOND

STORE_RETRY = 0.2  # seconds between two attempts to reach the online store
LOG_EVERY = 10.0  # seconds between two warnings while the store does not answer
SESSION_TIMEOUT_MS = 6_000  # a consumer that is silent for so long loses its partitions; the minimum that Kafka allows

log = logging.getLogger(__name__)


class StreamConsumer:
    """One member of the group. Kafka assigns partitions to it, and revokes them, while it runs."""

    def __init__(self, root: Path, params: Params, metrics: StreamMetrics) -> None:
        self._params = params.stream
        self._metrics = metrics
        check_store_setting(params)
        store = connect(root, params, BATCH_TIMEOUT)
        self._live = LiveEvents(root, params, store, self._set_aside)
        self._redis = redis_client(store)
        self._identity = TopicIdentity(self._params.topic)
        self._topic_id: str | None = None  # None until a partition is assigned
        self._positions: Positions | None = None  # None before that, and with SQLite, which loses no data
        self._session_ttl = IDLE + lateness_ms(params.features)
        self._quarantine = Quarantine(self._params.topic)
        self._consumer = Consumer(
            client_config(
                **{
                    "group.id": self._params.group,
                    "enable.auto.commit": False,
                    "auto.offset.reset": "earliest",
                    "partition.assignment.strategy": "cooperative-sticky",
                    "session.timeout.ms": SESSION_TIMEOUT_MS,
                    "fetch.message.max.bytes": MAX_MESSAGE,
                }
            )
        )
        self._bounds = OffsetBounds(self._consumer, metrics)
        # all by partition, as offsets of the next message
        self._next_offset: dict[int, int] = {}  # behind what the states hold
        self._store_offset: dict[int, int | None] = {}  # what the store's position was when it was last read
        self._logged_until: dict[int, int] = {}  # messages before it are in the offline log already
        self._log_again_after = 0.0  # monotonic; until then no warning that the store does not answer
        self._running: Callable[[], bool] = lambda: True

    def run(self, running: Callable[[], bool]) -> None:
        """Consume until `running` returns False at a batch's end.

        Raises UnavailableError, InputError; after either it may be started again.
        """
        self._running = running
        try:
            self._subscribe()
            due = time.monotonic() + self._params.log_seconds
            while running():
                messages = self._consumer.consume(self._params.batch_events, self._params.batch_ms / MS_PER_SECOND)
                received = [_received(message) for message in messages if not _failed(message)]
                if received:
                    self._process(received)
                if time.monotonic() >= due:
                    self._flush_and_commit()
                    self._check_store()
                    self._check_topic()
                    due = time.monotonic() + self._params.log_seconds
            self._flush_and_commit()
        except KafkaException as error:
            raise unavailable_or_refused(error) from error
        finally:
            self._consumer.close()

    def _subscribe(self) -> None:
        self._consumer.subscribe(
            [self._params.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def _check_topic(self) -> None:
        """Begin anew if the topic was deleted and made anew while this consumer ran."""
        if self._topic_id is None:
            return
        try:
            now = self._identity.read(ASK_TIMEOUT)
        except KafkaException as error:  # no broker answers, or the topic is not made anew yet
            log.warning("%s: cannot be looked up: %s", self._params.topic, error)
            return
        if now != self._topic_id:
            log.warning("%s was deleted and made anew: its partitions are taken anew", self._params.topic)
            # what is committed on the way bears the id of the topic that is gone, and is not taken for the new one's
            self._consumer.unsubscribe()
            self._subscribe()

    def _set_aside(self, row: UnreadableRow) -> None:
        self._quarantine.put(row.content, InvalidMessage(0, ROW_FIELD, f"{row.name}: {row.reason}"))
        self._metrics.unreadable_rows.inc()

    def _process(self, batch: list[Received]) -> None:
        start = time.monotonic()
        replayed = [one for one in batch if one.offset < self._logged_until.get(one.partition, 0)]
        new = [one for one in batch if one.offset >= self._logged_until.get(one.partition, 0)]
        events, invalid = self._live.validate([one.message for one in new])
        replayed_events = self._live.validate([one.message for one in replayed]).events if replayed else None
        reached = {one.partition: one.offset + 1 for one in batch}
        while True:
            try:
                self._live.apply(events)
                if replayed_events:
                    self._live.apply(replayed_events)
                positions = self._move_positions(reached)
                break
            except StoreUnavailableError as error:
                self._wait_for_store(error)
        self._live.buffer(events)
        for one in invalid:
            received = new[one.place]
            self._quarantine.put(received.message.value, one, received)
        self._next_offset |= reached
        self._metrics.batch(events, invalid, len(replayed), time.monotonic() - start)
        self._replay_lost(positions)

    def _check_store(self) -> None:
        """Find out whether the store lost data also while no message comes that would move its position."""
        try:
            self._replay_lost(self._move_positions(self._next_offset))
        except StoreUnavailableError as error:
            log.warning("waiting for the online store: %s", error)
            self._metrics.store_down.inc()

    def _replay_lost(self, positions: dict[int, int | None]) -> None:
        for partition, position in positions.items():
            if position is None or position < self._next_offset[partition]:
                self._replay(partition, position)

    def _wait_for_store(self, error: StoreUnavailableError) -> None:
        """Pause before the next attempt. Raises the error if the consumer is asked to stop."""
        if time.monotonic() >= self._log_again_after:
            log.warning("waiting for the online store: %s", error)
            self._log_again_after = time.monotonic() + LOG_EVERY
        self._metrics.store_down.inc()
        self._lag()
        if not self._running():
            raise error
        time.sleep(STORE_RETRY)

    def _move_positions(self, reached: dict[int, int]) -> dict[int, int | None]:
        """Move the store's positions on to these offsets; returns what the store holds now."""
        if self._positions is None:
            return dict(reached)
        # never back: another may have the partition by now, and be further
        moves = {
            partition: (known, max(offset, known or 0))
            for partition, offset in reached.items()
            for known in [self._store_offset.get(partition)]
        }
        positions = self._positions.advance(moves)
        self._store_offset |= positions
        return positions

    def _replay(self, partition: int, position: int | None) -> None:
        start = self._replay_start(partition, self._next_offset[partition], position)
        log.warning("partition %d: the online store lost data; replay from offset %d", partition, start)
        try:
            self._consumer.seek(TopicPartition(self._params.topic, partition, start))
        except KafkaException as error:
            # it was assigned just now, or is no longer; if it is still ours, the next check finds the loss again
            log.warning("partition %d: cannot go back yet: %s", partition, error)
            return
        self._logged_until[partition] = max(self._logged_until.get(partition, 0), self._next_offset[partition])
        self._next_offset[partition] = start
        self._live.store_lost_data()

    def _replay_start(self, partition: int, reached: int, position: int | None) -> int:
        """The offset from which the states are built again, at most `reached`. Messages that are older than the time to
        live of an idle session are not needed."""
        if position is not None:
            return min(position, reached)
        alive = TopicPartition(self._params.topic, partition, int(time.time() * MS_PER_SECOND) - self._session_ttl)
        offset = self._consumer.offsets_for_times([alive], timeout=BROKER_TIMEOUT)[0].offset
        return min(offset, reached) if offset >= 0 else reached

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        committed = consumer.committed(partitions, timeout=BROKER_TIMEOUT) if partitions else []
        if partitions:
            self._topic_id = self._identity.read(BROKER_TIMEOUT)
            if self._redis:
                self._positions = Positions(self._redis, self._params.group, self._params.topic, self._topic_id)
        positions = self._read_positions() if partitions else {}
        for assigned in committed:
            partition, position = assigned.partition, positions.get(assigned.partition)
            if self._positions:
                self._store_offset[partition] = position
            if assigned.offset >= 0:
                first = self._bounds.keep_within(assigned, self._topic_id or "")
                position = max(position, first) if position is not None else None
            if assigned.offset < 0:  # never committed, or of a topic that is gone: from the beginning
                assigned.offset = OFFSET_BEGINNING
            elif self._positions and (position is None or position < assigned.offset):
                self._logged_until[partition] = assigned.offset
                assigned.offset = self._replay_start(partition, assigned.offset, position)
                self._live.store_lost_data()
                log.warning("partition %d: replay into the online store from offset %d", partition, assigned.offset)
            if assigned.offset >= 0:
                self._next_offset[partition] = assigned.offset
        log.info("assigned partitions %s", {assigned.partition: assigned.offset for assigned in committed})
        consumer.incremental_assign(committed)

    def _read_positions(self) -> dict[int, int]:
        while self._positions:
            try:
                return self._positions.read()
            except StoreUnavailableError as error:
                self._wait_for_store(error)
        return {}

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.info("releasing partitions %s", [revoked.partition for revoked in partitions])
        try:
            self._flush_and_commit()
        except LogUnavailableError as error:  # what is buffered is not committed: the next owner repeats it
            log.warning("offsets not committed: %s", error)
        self._release(partitions)
        consumer.incremental_unassign(partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Another member owns them already and repeats what was not committed."""
        log.warning("lost partitions %s", [lost.partition for lost in partitions])
        self._release(partitions)
        consumer.incremental_unassign(partitions)

    def _release(self, partitions: Sequence[TopicPartition]) -> None:
        for released in partitions:
            for offsets in (self._next_offset, self._store_offset, self._logged_until):
                offsets.pop(released.partition, None)
            self._metrics.released(released.partition)

    def _flush_and_commit(self) -> None:
        """Flush the log and the quarantine to disk and broker, then commit the offsets."""
        self._live.flush()
        try:
            self._quarantine.flush()
            # what is replayed was committed before, and stays so
            offsets = [
                TopicPartition(
                    self._params.topic,
                    partition,
                    max(offset, self._logged_until.get(partition, 0)),
                    metadata=self._topic_id,
                )
                for partition, offset in self._next_offset.items()
            ]
            if offsets:
                self._consumer.commit(offsets=offsets, asynchronous=False)
        except (BrokerUnavailableError, KafkaException) as error:
            # the broker is away, or the group has assigned the partitions to others: at worst they are repeated
            log.warning("offsets not committed: %s", error)
        if not self._lag():
            self._live.publish_statistics()

    def _lag(self) -> int:
        """How many messages are still to come from the assigned partitions, as far as is known."""
        total = 0
        for assigned in self._consumer.assignment():
            partition = assigned.partition
            first, end = self._consumer.get_watermark_offsets(assigned, cached=True)
            lag = max(0, end - self._next_offset.get(partition, max(0, first)))
            if lag and partition in self._next_offset:
                deleted = self._bounds.deleted(assigned, self._next_offset[partition])
                self._next_offset[partition] += deleted
                lag -= deleted
            self._metrics.lag(partition, lag)
            total += lag
        return total


def _failed(message: KafkaMessage) -> bool:
    """Whether it is no message but an error of the client that may pass. Raises an error that cannot pass by itself."""
    error = message.error()
    if error is None:
        return False
    failure = unavailable_or_refused(KafkaException(error))
    if error.fatal() or not isinstance(failure, BrokerUnavailableError):
        raise failure
    log.warning("%s", failure)
    return True


def _received(message: KafkaMessage) -> Received:
    key, value, offset = message.key(), message.value(), cast(int, message.offset())
    of_event = Message(value or b"", _arrived(message), position=offset)
    return Received(cast(int, message.partition()), offset, key, of_event)


def _arrived(message: KafkaMessage) -> int:
    """When it arrived, ms, by its header, else by its record; both come from the sender and may not be ahead of now."""
    header = dict(cast(list[tuple[str, bytes | None]], message.headers() or [])).get(ARRIVED) or b""
    arrived = int(header) if header.isdigit() and len(header) < 15 else message.timestamp()[1]
    now = time.time_ns() // 1_000_000
    return arrived if arrived <= now + CLOCK_SKEW_MS else now
