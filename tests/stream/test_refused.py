"""What Kafka does not take: whoever sent it is told, in time and in this project's terms, and nobody else."""

import json
import time
from secrets import token_hex

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from stream.conftest import wait_until

from nextclick.errors import BrokerUnavailableError, InputError
from nextclick.features.store.connect import apply_definitions
from nextclick.params import Params
from nextclick.stream import kafka_intake
from nextclick.stream.consumer import StreamConsumer
from nextclick.stream.intake import open_intake
from nextclick.stream.kafka import client_config, ensure_topics, quarantine_of, reliable_producer
from nextclick.stream.metrics import StreamMetrics
from nextclick.stream.replay import replay, schedule

SMALL = 2_000  # bytes that a topic takes at once
TOO_LARGE = token_hex(SMALL)  # which does not get smaller by compression


@pytest.fixture
def params(live) -> Params:
    return Params.read(live.root / "params.yaml")


def make_small(topic: str, partitions: int = 1) -> None:
    wanted = NewTopic(topic, num_partitions=partitions, config={"max.message.bytes": str(SMALL)})
    admin = AdminClient(client_config())  # which has to live until it is made
    admin.create_topics([wanted])[topic].result(30)


def event(name: str = "e") -> bytes:
    now = time.time_ns() // 1_000_000
    about = {"event_id": name, "session_id": "s", "item_id": "i01", "event_type": "view", "timestamp": now}
    return json.dumps(about).encode()


@pytest.mark.fault(
    part="Kafka",
    wrong="the quarantine's topic refuses a message",
    noticed="whoever posted it: 503",
    lost="nothing",
    degraded="nothing for the next request",
    heals="when the topic takes it",
)
def test_a_broken_event_that_is_refused_costs_the_next_request_nothing(live, params):
    make_small(quarantine_of(params.stream.topic))
    intake = open_intake(live.root, params)
    with pytest.raises(InputError, match="too large"):
        intake.accept([event(), TOO_LARGE.encode()])
    assert intake.accept([event(), b"nonsense"]).accepted == 1
    intake.close()


@pytest.mark.fault(
    part="Kafka",
    wrong="the quarantine's topic refuses what a consumer found invalid",
    noticed="the consumer: one line, exit 2",
    lost="nothing: the offsets are not committed",
    degraded="that consumer's partitions wait",
    heals="when the topic takes it",
)
def test_the_consumer_does_not_commit_what_the_quarantine_was_refused(live, params):
    """Nor while it ends, when it settles once more."""
    make_small(quarantine_of(params.stream.topic))
    ensure_topics(params.stream)
    apply_definitions(live.root, params)
    producer = reliable_producer()
    producer.produce(params.stream.topic, TOO_LARGE.encode(), "s", partition=0)
    producer.flush()
    with pytest.raises(InputError, match="too large"):
        StreamConsumer(live.root, params, StreamMetrics()).run(lambda: True)
    reader = Consumer(client_config(**{"group.id": params.stream.group}))
    (committed,) = reader.committed([TopicPartition(params.stream.topic, 0)], timeout=30)
    reader.close()
    assert committed.offset < 1


def test_a_replayed_event_that_is_refused_is_said_in_one_line(live, params, shop_events):
    make_small(params.stream.topic, partitions=3)
    events = shop_events(3, 2).assign(user_id=None)
    with pytest.raises(InputError, match=r"Kafka at .*too large"):
        replay(schedule(events.assign(item_id=TOO_LARGE), 0), params.stream, 0)


@pytest.mark.fault(
    part="Kafka",
    wrong="the broker is gone under the intake",
    noticed="whoever posts events: 503 with Retry-After",
    lost="nothing that was accepted",
    degraded="POST /events",
    heals="by itself",
)
@pytest.mark.timed
def test_while_the_broker_is_gone_an_event_waits_a_little_and_the_next_not_at_all(
    mortal_broker, make_live, redis, tmp_path, monkeypatch
):
    broker = mortal_broker
    live = make_live(tmp_path, broker.address, redis.address, tmp_path.name)
    monkeypatch.setenv("NEXTCLICK_KAFKA", broker.address)
    monkeypatch.setattr(kafka_intake, "ACKNOWLEDGE_TIMEOUT", 1.0)
    monkeypatch.setattr(kafka_intake, "REFUSING", 0.5)
    intake = open_intake(live.root, Params.read(live.root / "params.yaml"))

    def refused_after(*messages: bytes) -> float:
        began = time.monotonic()
        with pytest.raises(BrokerUnavailableError):
            intake.accept(messages)
        return time.monotonic() - began

    def taken() -> bool:
        try:
            return intake.accept([event(), b"nonsense"]).accepted == 1
        except BrokerUnavailableError:
            return False

    wait_until(taken)
    broker.kill()
    for messages in ([event()], [b"nonsense"], [event(), b"nonsense"]):
        assert refused_after(*messages) < kafka_intake.ACKNOWLEDGE_TIMEOUT + 0.5
        assert refused_after(*messages) < 0.2
        time.sleep(kafka_intake.REFUSING)
    broker.start()
    wait_until(taken)
