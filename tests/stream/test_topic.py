"""Offsets are those of one topic: one that was made anew is read from its beginning, and what was deleted is told."""

import re
import signal
import urllib.request
from contextlib import contextmanager

import pandas as pd
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from stream.conftest import free_port, wait_until

from nextclick.events.ingest import ingest
from nextclick.features.store.connect import apply_definitions
from nextclick.logs.event_log import LIVE_EVENTS
from nextclick.params import Ingest, Params
from nextclick.stream.kafka import client_config, ensure_topics
from nextclick.stream.replay import replay, schedule


@pytest.fixture
def params(live) -> Params:
    read = Params.read(live.root / "params.yaml")
    apply_definitions(live.root, read)
    return read


def clicks(shop_events, sessions: int, seed: int) -> pd.DataFrame:
    events = shop_events(sessions, seed).assign(user_id=None)
    return events.assign(**{name: f"{seed}-" + events[name].astype(str) for name in ("event_id", "session_id")})


@contextmanager
def group_member(params):
    member = Consumer(client_config(**{"group.id": params.stream.group}))
    yield member
    member.close()


def committed(params) -> list[TopicPartition]:
    with group_member(params) as member:
        parts = [TopicPartition(params.stream.topic, part) for part in range(params.stream.partitions)]
        return member.committed(parts, timeout=30)


def make_anew(params) -> None:
    admin, topic = AdminClient(client_config()), params.stream.topic
    admin.delete_topics([topic])[topic].result(30)
    wait_until(lambda: topic not in admin.list_topics(timeout=10).topics)

    def made() -> bool:
        """A broker may still be deleting the old one."""
        try:
            ensure_topics(params.stream)
        except (KafkaException, RuntimeError):
            return False
        return topic in admin.list_topics(timeout=10).topics

    wait_until(made)


def logged(live) -> set[str]:
    ingest(Ingest(path=str(LIVE_EVENTS)), live.root, live.root / "ingested")
    return set(pd.read_parquet(live.root / "ingested/events.parquet")["event_id"])


def ended(live, consumer) -> str:
    live.signal(consumer, signal.SIGTERM)
    consumer.join(60)
    assert consumer.exitcode == 0, live.said_by(len(live.consumers) - 1).read_text()
    return live.said_by(len(live.consumers) - 1).read_text()


MADE_ANEW = {
    "part": "Kafka",
    "wrong": "the topic is deleted and made anew",
    "noticed": "the consumer, at its start or within stream.log_seconds: a line, metric nextclick_stream_resets",
    "lost": "nothing of the new topic",
    "degraded": "nothing",
    "heals": "by itself: the new topic is read from its beginning",
}


@pytest.mark.fault(**MADE_ANEW | {"wrong": "the topic is made anew while no consumer runs, and Redis comes back empty"})
@pytest.mark.parametrize("bug", [None, "takes_all_topics_of_a_name_for_one"])
def test_a_topic_made_anew_while_nobody_listened_is_read_from_its_beginning(
    live, params, redis, shop_events, stored, bug
):
    """Planted: with one identity for both the new topic's first events count as logged, and are lost."""
    planted = ["--bug", bug] if bug else []
    before, after = clicks(shop_events, 40, 1), clicks(shop_events, 30, 2)
    replay(schedule(before, 0), params.stream, 0)
    consumer = live.consume(*planted)
    stored(live.root, params, before)
    ended(live, consumer)
    stale = committed(params)
    make_anew(params)
    # as a consumer does that has not noticed yet
    with group_member(params) as member:
        member.commit(offsets=stale, asynchronous=False)
    redis.kill()
    redis.start()
    replay(schedule(after, 0), params.stream, 0)
    consumer = live.consume(*planted)
    stored(live.root, params, after)
    said = ended(live, consumer)
    expected = set(before["event_id"]) | set(after["event_id"])
    if bug:
        assert logged(live) < expected
    else:
        assert logged(live) == expected
        assert "is not of this topic; read from the beginning" in said


@pytest.mark.fault(**MADE_ANEW | {"wrong": "the topic is deleted and made anew under a running consumer"})
def test_a_topic_made_anew_under_a_running_consumer_is_read_from_its_beginning(live, params, shop_events, stored):
    before, after = clicks(shop_events, 40, 3), clicks(shop_events, 30, 4)
    replay(schedule(before, 0), params.stream, 0)
    consumer = live.consume()
    stored(live.root, params, before)
    make_anew(params)
    replay(schedule(after, 0), params.stream, 0)
    stored(live.root, params, after)
    ended(live, consumer)
    assert logged(live) == set(before["event_id"]) | set(after["event_id"])


@pytest.mark.fault(
    part="Kafka",
    wrong="retention deletes messages before they were read",
    noticed="the consumer, at its start or within stream.log_seconds: an error, metric nextclick_stream_skipped",
    lost="those messages, which Kafka was told to delete",
    degraded="nothing: no lag is told that nobody can catch up, and item statistics go on",
    heals="by itself",
)
@pytest.mark.parametrize("waits", [True, False], ids=["at the start", "after it"])
def test_messages_deleted_before_they_were_read_are_counted_and_waited_for_by_nobody(
    live, params, shop_events, stored, waits
):
    first, gone, last = (clicks(shop_events, 20, seed) for seed in (5, 6, 7))
    replay(schedule(first, 0), params.stream, 0)
    consumer = live.consume()
    stored(live.root, params, first)
    ended(live, consumer)
    replay(schedule(gone, 0), params.stream, 0)
    ends = ends_of(params)
    admin = AdminClient(client_config())
    parts = [TopicPartition(params.stream.topic, part, end) for part, end in ends.items()]
    for deleted in admin.delete_records(parts).values():
        deleted.result(30)
    wait_until(lambda: beginnings_of(params) == ends)
    if not waits:
        replay(schedule(last, 0), params.stream, 0)
    port = free_port()
    consumer = live.consume("--metrics-port", str(port))
    wait_until(lambda: metric(port, "nextclick_stream_skipped_total") == [len(gone)])
    wait_until(lambda: metric(port, "nextclick_stream_lag") == [0, 0, 0])
    if waits:
        replay(schedule(last, 0), params.stream, 0)
    stored(live.root, params, last)
    assert f"{len(gone)}" in ended(live, consumer)
    assert logged(live) == set(first["event_id"]) | set(last["event_id"])


def watermarks(params) -> dict[int, tuple[int, int]]:
    asking = Consumer(client_config(**{"group.id": "reader"}))
    parts = range(params.stream.partitions)
    found = {p: asking.get_watermark_offsets(TopicPartition(params.stream.topic, p), timeout=30) for p in parts}
    asking.close()
    return found


def ends_of(params) -> dict[int, int]:
    return {part: end for part, (_, end) in watermarks(params).items()}


def beginnings_of(params) -> dict[int, int]:
    return {part: first for part, (first, _) in watermarks(params).items()}


def metric(port: int, name: str) -> list[float]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as served:
            return [float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (.+)$", served.read().decode(), re.M)]
    except OSError:
        return []
