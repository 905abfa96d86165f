"""The consumer of live clicks. At least once, and every step idempotent, so in effect each event counts once:

1. a micro-batch goes into the online states, which merge it (twice is once, in any order, whoever else writes);
2. the store's own position moves on; where it is not what it was, the store has forgotten, and Kafka plays it again;
3. every `log_seconds` the offline log and the quarantine are written, and only then the offsets committed.

Killed between any two of them, the next owner of the partition repeats what was not committed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from confluent_kafka import OFFSET_STORED, Consumer, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from nextclick.errors import BrokerUnavailableError, LogUnavailableError, StoreUnavailableError
from nextclick.events.prefixes import IDLE
from nextclick.features.statistics_versions import lateness_ms
from nextclick.features.store.connect import BATCH_TIMEOUT, check_store_setting, connect
from nextclick.features.store.feast_internals import redis_client
from nextclick.params import Params
from nextclick.stream.kafka import ARRIVED, LARGEST_MESSAGE, PATIENCE, Received, client_config, unavailable_or_refused
from nextclick.stream.live_events import LiveEvents
from nextclick.stream.metrics import StreamMetrics
from nextclick.stream.positions import Positions
from nextclick.stream.quarantine import Quarantine
from nextclick.stream.validation import CLOCK_SKEW, Message
from nextclick.units import MS_PER_SECOND

STORE_PAUSE = 0.2  # seconds between two attempts
SAID_EVERY = 10.0  # seconds between two lines of the log while it is away
GONE_AFTER_MS = 6_000  # a consumer that was not heard of for so long loses its partitions; the least that Kafka allows

log = logging.getLogger(__name__)


class StreamConsumer:
    """One member of the group. Its partitions are given and taken by Kafka while it runs."""

    def __init__(self, root: Path, params: Params, metrics: StreamMetrics) -> None:
        self._params = params.stream
        self._metrics = metrics
        check_store_setting(params)
        store = connect(root, params, BATCH_TIMEOUT)
        self._live = LiveEvents(root, params, store)
        client = redis_client(store)
        # SQLite forgets nothing
        self._positions = Positions(client, self._params.group, self._params.topic) if client else None
        self._session_ttl = IDLE + lateness_ms(params.features)
        self._quarantine = Quarantine(self._params.topic)
        self._consumer = Consumer(
            client_config(
                **{
                    "group.id": self._params.group,
                    "enable.auto.commit": False,
                    "auto.offset.reset": "earliest",
                    "partition.assignment.strategy": "cooperative-sticky",
                    "session.timeout.ms": GONE_AFTER_MS,
                    "fetch.message.max.bytes": LARGEST_MESSAGE,
                }
            )
        )
        self._next: dict[int, int] = {}  # by partition: the offset behind what the states hold
        self._stored: dict[int, int | None] = {}  # what `positions` say
        self._kept: dict[int, int] = {}  # what lies before it is in the offline log already
        self._say_again = 0.0  # monotonic; until then a store that is gone is no news
        self._running: Callable[[], bool] = lambda: True

    def run(self, running: Callable[[], bool]) -> None:
        """Until `running` says no, at a batch's end. Raises UnavailableError, InputError; all may be started again."""
        self._running = running
        try:
            self._consumer.subscribe(
                [self._params.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
            )
            due = time.monotonic() + self._params.log_seconds
            while running():
                messages = self._consumer.consume(self._params.batch_events, self._params.batch_ms / MS_PER_SECOND)
                received = [_received(message) for message in messages if not _failed(message)]
                if received:
                    self._take(received)
                if time.monotonic() >= due:
                    self._settle()
                    self._look_for_forgotten()
                    due = time.monotonic() + self._params.log_seconds
            self._settle()
        except KafkaException as error:
            raise unavailable_or_refused(error) from error
        finally:
            self._consumer.close()

    def _take(self, batch: list[Received]) -> None:
        start = time.monotonic()
        known = [one for one in batch if one.offset < self._kept.get(one.partition, 0)]
        fresh = [one for one in batch if one.offset >= self._kept.get(one.partition, 0)]
        events, broken = self._live.judge([one.message for one in fresh])
        played_again = self._live.judge([one.message for one in known]).events if known else None
        reached = {one.partition: one.offset + 1 for one in batch}
        while True:
            try:
                self._live.apply(events)
                if played_again:
                    self._live.apply(played_again)
                found = self._move_positions(reached)
                break
            except StoreUnavailableError as error:
                self._wait_for_store(error)
        self._live.keep(events)
        for bad in broken:
            self._quarantine.put(fresh[bad.place].message.value, bad, fresh[bad.place])
        self._next |= reached
        self._metrics.batch(events, broken, len(known), time.monotonic() - start)
        self._play_forgotten(found)

    def _look_for_forgotten(self) -> None:
        """Also where nothing comes that would make the store's position move."""
        try:
            self._play_forgotten(self._move_positions(self._next))
        except StoreUnavailableError as error:
            log.warning("waiting for the online store: %s", error)
            self._metrics.store_down.inc()

    def _play_forgotten(self, found: dict[int, int | None]) -> None:
        for partition, position in found.items():
            if position is None or position < self._next[partition]:
                self._play_again(partition, position)

    def _wait_for_store(self, error: StoreUnavailableError) -> None:
        """Raises the error where nobody waits any longer."""
        if time.monotonic() >= self._say_again:
            log.warning("waiting for the online store: %s", error)
            self._say_again = time.monotonic() + SAID_EVERY
        self._metrics.store_down.inc()
        self._waiting()
        if not self._running():
            raise error
        time.sleep(STORE_PAUSE)

    def _move_positions(self, reached: dict[int, int]) -> dict[int, int | None]:
        """What the store says of each partition now."""
        if self._positions is None:
            return dict(reached)
        # never back: another may have the partition by now, and be further
        moves = {
            partition: (known, max(then, known or 0))
            for partition, then in reached.items()
            for known in [self._stored.get(partition)]
        }
        found = self._positions.advance(moves)
        self._stored |= found
        return found

    def _play_again(self, partition: int, position: int | None) -> None:
        start = self._start(partition, self._next[partition], position)
        log.warning("partition %d: the online store has forgotten; again from offset %d", partition, start)
        try:
            self._consumer.seek(TopicPartition(self._params.topic, partition, start))
        except (
            KafkaException
        ) as error:  # it has only just been assigned, or is no longer: found out again, if it is ours
            log.warning("partition %d: cannot go back yet: %s", partition, error)
            return
        self._kept[partition] = max(self._kept.get(partition, 0), self._next[partition])
        self._next[partition] = start
        self._live.store_has_forgotten()

    def _start(self, partition: int, reached: int, position: int | None) -> int:
        """Where the states go on from. What is older than an idle session's life is not needed to build them again."""
        if position is not None:
            return min(position, reached)
        alive = TopicPartition(self._params.topic, partition, int(time.time() * MS_PER_SECOND) - self._session_ttl)
        offset = self._consumer.offsets_for_times([alive], timeout=PATIENCE)[0].offset
        return min(offset, reached) if offset >= 0 else reached

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        committed = consumer.committed(partitions, timeout=PATIENCE) if partitions else []
        positions = self._read_positions() if partitions else {}
        for given in committed:
            partition, position = given.partition, positions.get(given.partition)
            if self._positions:
                self._stored[partition] = position
            if given.offset < 0:  # never committed: from the beginning
                given.offset = OFFSET_STORED
            elif self._positions and (position is None or position < given.offset):
                self._kept[partition] = given.offset
                given.offset = self._start(partition, given.offset, position)
                self._live.store_has_forgotten()
                log.warning("partition %d: states again from offset %d", partition, given.offset)
            if given.offset >= 0:
                self._next[partition] = given.offset
        log.info("given partitions %s", {given.partition: given.offset for given in committed})
        consumer.incremental_assign(committed)

    def _read_positions(self) -> dict[int, int]:
        while self._positions:
            try:
                return self._positions.read()
            except StoreUnavailableError as error:
                self._wait_for_store(error)
        return {}

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.info("giving back partitions %s", [gone.partition for gone in partitions])
        try:
            self._settle()
        except LogUnavailableError as error:  # what is held is not committed: the next owner repeats it
            log.warning("offsets not committed: %s", error)
        self._forget(partitions)
        consumer.incremental_unassign(partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Another member has them already and repeats what was not committed."""
        log.warning("lost partitions %s", [gone.partition for gone in partitions])
        self._forget(partitions)
        consumer.incremental_unassign(partitions)

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        for gone in partitions:
            for held in (self._next, self._stored, self._kept):
                held.pop(gone.partition, None)
            self._metrics.gave_back(gone.partition)

    def _settle(self) -> None:
        """Log and quarantine on disk, then the offsets."""
        self._live.flush()
        try:
            self._quarantine.flush()
            # what is played again was committed before, and stays so
            done = {partition: max(then, self._kept.get(partition, 0)) for partition, then in self._next.items()}
            if done:
                offsets = [TopicPartition(self._params.topic, partition, then) for partition, then in done.items()]
                self._consumer.commit(offsets=offsets, asynchronous=False)
        except (BrokerUnavailableError, KafkaException) as error:
            # the broker is away, or the group has given the partitions to others: at worst they are repeated
            log.warning("offsets not committed: %s", error)
        if not sum(self._waiting()):
            self._live.publish_statistics()

    def _waiting(self) -> list[int]:
        """Messages of each partition that are still to come, as far as is known."""
        found = []
        for given in self._consumer.assignment():
            first, end = self._consumer.get_watermark_offsets(given, cached=True)
            found.append(max(0, end - self._next.get(given.partition, max(0, first))))
            self._metrics.waiting(given.partition, found[-1])
        return found


def _failed(message: KafkaMessage) -> bool:
    """Whether it is no message but an error of the client. Raises what cannot pass by itself."""
    error = message.error()
    if error is None:
        return False
    failure = unavailable_or_refused(KafkaException(error))
    if error.fatal() or not isinstance(failure, BrokerUnavailableError):
        raise failure
    log.warning("%s", failure)
    return True


def _received(message: KafkaMessage) -> Received:
    key, value = message.key(), message.value()
    return Received(
        cast(int, message.partition()), cast(int, message.offset()), key, Message(value or b"", _arrived(message))
    )


def _arrived(message: KafkaMessage) -> int:
    """When it came in, ms: as its header says, else its record; both are the sender's, and may not be ahead of now."""
    told = dict(cast(list[tuple[str, bytes | None]], message.headers() or [])).get(ARRIVED) or b""
    arrived = int(told) if told.isdigit() and len(told) < 15 else message.timestamp()[1]
    now = time.time_ns() // 1_000_000
    return arrived if arrived <= now + CLOCK_SKEW else now
