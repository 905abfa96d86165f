"""A consumer with a real broker and a real store: what is poisoned, replayed, measured and stopped."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from uuid import uuid4

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from stream.conftest import free_port, wait_until
from typer.testing import CliRunner

from nextclick.cli import app
from nextclick.events.ingest import ingest
from nextclick.events.session_state import EMPTY
from nextclick.events.tables import parquet_files
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.offline import states_of
from nextclick.features.store.online import OnlineStates
from nextclick.logs.event_log import LIVE_EVENTS
from nextclick.params import Ingest, Params
from nextclick.stream import consumer as module
from nextclick.stream.consumer import StreamConsumer
from nextclick.stream.intake import open_intake
from nextclick.stream.kafka import ARRIVED, client_config, ensure_topics, quarantine_of, reliable_producer
from nextclick.stream.metrics import StreamMetrics
from nextclick.stream.poison import HUGE
from nextclick.stream.replay import replay, schedule

PATIENCE = 60  # s


def lag(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as served:
        told = re.findall(r'nextclick_stream_lag{partition="(.)"} (.+)', served.read().decode())
    return {partition: float(messages) for partition, messages in told}


def rows_logged(live) -> int:
    return sum(pq.read_metadata(file).num_rows for file in parquet_files(live.root / LIVE_EVENTS))


@pytest.fixture
def params(live) -> Params:
    read = Params.read(live.root / "params.yaml")
    apply_definitions(live.root, read)
    return read


def end_of_quarantine(params) -> int:
    asking = Consumer(client_config(**{"group.id": "reader"}))
    end = asking.get_watermark_offsets(TopicPartition(quarantine_of(params.stream.topic), 0), timeout=30)[1]
    asking.close()
    return end


def quarantined(params) -> list:
    """The messages of the quarantine."""
    reader = Consumer(client_config(**{"group.id": "reader", "fetch.message.max.bytes": 2 * HUGE}))
    part = TopicPartition(quarantine_of(params.stream.topic), 0, 0)
    end = reader.get_watermark_offsets(part, timeout=30)[1]
    reader.assign([part])
    found: list = []
    while len(found) < end:
        found += reader.consume(min(500, end - len(found)), 5)  # it waits until there are so many
    reader.close()
    return found


@pytest.mark.fault(
    part="Kafka",
    wrong="thousands of messages are no events",
    noticed="the consumer: metric nextclick_stream_quarantined, headers that name field and reason",
    lost="nothing: the quarantine's topic keeps them whole",
    degraded="nothing",
    heals="nothing to heal",
)
@pytest.mark.parametrize(
    ("broken", "sessions"), [(1_000, 40), pytest.param(10_000, 400, marks=pytest.mark.proof)], ids=["1000", "10000"]
)
def test_many_broken_messages_between_good_ones(live, params, shop_events, stored, broken, sessions):
    events = shop_events(sessions, 2).assign(user_id=None)
    share = broken / len(events)
    coming = pd.concat([schedule(events, 0)] * int(np.ceil(share)))
    sent = replay(coming, params.stream, 0, poison=broken / len(coming))
    assert sent["poisoned"] > 0.9 * broken
    consumer = live.consume()
    stored(live.root, params, events)
    wait_until(lambda: end_of_quarantine(params) >= sent["poisoned"])
    found = quarantined(params)
    assert consumer.is_alive()
    live.signal(consumer, signal.SIGTERM)
    consumer.join(30)
    said = live.said_by(0).read_text().splitlines()[-1]
    counted = {"events": sent["events"], "quarantined": sent["poisoned"]}
    assert json.loads(said) == dict.fromkeys(("late", "replayed", "skipped", "resets", "unreadable_rows"), 0) | counted
    headers = [dict(message.headers()) for message in found]
    assert len(headers) == sent["poisoned"]
    assert len({(one["partition"], one["offset"]) for one in headers}) == sent["poisoned"]
    assert all(one["reason"] and one["field"] for one in headers)
    assert max(len(message.value()) for message in found) > HUGE  # whole, as it came


def test_the_command_says_what_it_did_and_serves_metrics(live, params, shop_events, stored):
    events = shop_events(30, 2).assign(user_id=None)
    replay(schedule(events, 0), params.stream, 0)
    port = free_port()
    running = subprocess.Popen(
        [sys.executable, "-m", "nextclick.cli", "stream", "--metrics-port", str(port)],
        cwd=live.root,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        stored(live.root, params, events)
        wait_until(lambda: lag(port) == {"0": 0, "1": 0, "2": 0})
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as served:
            metrics = served.read().decode()
        assert f"nextclick_stream_events_total {len(events)}.0" in metrics
        assert all(f'nextclick_stream_lag{{partition="{number}"}} 0.0' in metrics for number in range(3))
        assert "nextclick_stream_batch_seconds_count" in metrics
        running.send_signal(signal.SIGTERM)
        assert json.loads(running.communicate(timeout=30)[0])["events"] == len(events)
        assert running.returncode == 0
    finally:
        running.kill()


@pytest.mark.fault(
    part="clock",
    wrong="a producer's clock, or its header, is far off",
    noticed="nobody has to: times ahead of now count as now",
    lost="nothing",
    degraded="nothing",
    heals="nothing to heal",
)
def test_headers_and_times_of_records_neither_stop_it_nor_move_its_clock(live, params):
    """Whoever may produce may set them: to nothing, to no number, to a year that is far away."""
    ensure_topics(params.stream)
    producer = reliable_producer()
    now = time.time_ns() // 1_000_000
    ahead = now + 400 * 86_400_000
    good = {"session_id": "odd", "item_id": "i01", "event_type": "view"}
    for number, told in enumerate([None, b"", b"soon", b"9" * 30, b"99999999999999", str(ahead).encode()]):
        message = json.dumps(good | {"event_id": f"odd-{number}", "timestamp": now - number}).encode()
        producer.produce(params.stream.topic, message, "odd", headers=[(ARRIVED, told)])
    future = json.dumps(good | {"event_id": "future", "timestamp": ahead}).encode()
    producer.produce(params.stream.topic, future, "odd", headers=[(ARRIVED, str(ahead).encode())])
    soon = now + 3_000_000  # the most that a broker takes for the time of a record is an hour ahead
    later = json.dumps(good | {"event_id": "later", "timestamp": soon}).encode()
    producer.produce(params.stream.topic, later, "odd", timestamp=soon)
    producer.flush()
    live.consume()
    online = OnlineStates(connect(live.root, params, timeout=5))
    wait_until(lambda: len(online.read(["odd"])[0].state) == 6 and end_of_quarantine(params) == 2)
    wait_until(lambda: rows_logged(live) == 6)
    assert [click.event_id for click in online.read(["odd"])[0].state] == [f"odd-{n}" for n in reversed(range(6))]
    assert {message.value() for message in quarantined(params)} == {future, later}
    # by which the moments of item statistics come
    arrived = pd.concat(pd.read_parquet(file, columns=["arrived"]) for file in parquet_files(live.root / LIVE_EVENTS))
    assert arrived["arrived"].max() <= pd.Timestamp.now("UTC")


@pytest.mark.fault(
    part="Redis",
    wrong="Redis is gone under a consumer",
    noticed="the consumer: metrics nextclick_stream_store_unavailable and lag",
    lost="nothing: the consumer waits",
    degraded="states are as old as the outage",
    heals="by itself",
)
def test_the_lag_is_told_while_the_store_is_gone_and_not_of_partitions_that_another_has(
    live, params, redis, shop_events, stored
):
    events = shop_events(60, 2).assign(user_id=None)
    replay(schedule(events, 0), params.stream, 0)
    port = free_port()
    live.consume("--metrics-port", str(port))
    stored(live.root, params, events)
    wait_until(lambda: lag(port) == {"0": 0, "1": 0, "2": 0})
    redis.kill()
    replay(schedule(events, 0), params.stream, 0)
    wait_until(lambda: sum(lag(port).values()) > 0)
    redis.start()
    wait_until(lambda: lag(port) == {"0": 0, "1": 0, "2": 0})
    live.consume()
    wait_until(lambda: len(lag(port)) < 3)


@pytest.mark.fault(
    part="Redis",
    wrong="Redis is gone for longer than Kafka waits for a consumer",
    noticed="the consumer: metric nextclick_stream_store_unavailable",
    lost="nothing",
    degraded="states are as old as the outage",
    heals="by itself: the partitions are taken again",
)
def test_it_outlives_a_store_that_is_gone_for_longer_than_kafka_waits_for_it(
    live, params, redis, monkeypatch, shop_events, stored
):
    config = module.client_config
    # the default is five minutes
    soon = {"session.timeout.ms": 2_000, "max.poll.interval.ms": 2_000}
    monkeypatch.setattr(module, "client_config", lambda **more: config(**more | soon))
    events = shop_events(60, 2).assign(user_id=None)
    replay(schedule(events[:100], 0), params.stream, 0)
    stopped, consumer = Event(), StreamConsumer(live.root, params, StreamMetrics())
    with ThreadPoolExecutor() as threads:
        running = threads.submit(consumer.run, lambda: not stopped.is_set())
        try:
            stored(live.root, params, events[:100])
            redis.kill()
            replay(schedule(events[100:], 0), params.stream, 0)
            asking = AdminClient(client_config())
            group = params.stream.group
            wait_until(lambda: not asking.describe_consumer_groups([group])[group].result(30).members)
            redis.start()
            stored(live.root, params, events)
        finally:
            stopped.set()
        running.result(PATIENCE)


def test_events_over_http_reach_the_same_states_through_kafka(live, params, shop_events, stored):
    events = shop_events(20, 4).assign(user_id=None)
    now = pd.Timestamp.now("UTC")
    ended = events["timestamp"].max()
    events["timestamp"] = (now - (ended - events["timestamp"]) / 60).astype("datetime64[ms, UTC]")
    rows = events.drop(columns="user_id").assign(timestamp=events["timestamp"].astype("int64")).to_dict("records")
    intake = open_intake(live.root, params)
    receipt = intake.accept([*(json.dumps(row).encode() for row in rows), b"nonsense"])
    intake.close()
    assert receipt.accepted == len(events)
    assert [(one.place, one.reason) for one in receipt.invalid] == [(len(events), "not a JSON object")]
    assert [message.value() for message in quarantined(params)] == [b"nonsense"]
    live.consume()
    stored(live.root, params, events)
    assert OnlineStates(connect(live.root, params, timeout=5)).read(["unknown"])[0].state == EMPTY


def test_clicks_of_one_moment_stay_in_the_order_in_which_they_were_sent(live, params):
    """Whatever their ids are, also when they are sent again."""
    now = time.time_ns() // 1_000_000
    ids = [uuid4().hex for _ in range(9)]
    click = {"session_id": "s", "event_type": "view", "timestamp": now}
    sent = [json.dumps(click | {"event_id": one, "item_id": one}).encode() for one in ids]
    intake = open_intake(live.root, params)
    for part in (sent[:3], sent[3:], sent[::-1]):
        intake.accept(part)
    intake.close()
    live.consume()
    wait_until(lambda: rows_logged(live) == 2 * len(ids))
    state = OnlineStates(connect(live.root, params, timeout=5)).read(["s"])[0].state
    assert [click.event_id for click in state] == ids
    ingest(Ingest(path=str(LIVE_EVENTS)), live.root, live.root / "ingested")
    logged = pd.read_parquet(live.root / "ingested/events.parquet")
    assert logged["event_id"].tolist() == ids
    assert dict(states_of(logged, "session_id", params.ingest.event_types)) == {"s": state}


@pytest.mark.fault(
    part="process",
    wrong="a consumer is asked to end while the broker is gone",
    noticed="nobody has to",
    lost="nothing: the next one repeats what was not committed",
    degraded="nothing",
    heals="at the next start",
)
def test_it_ends_when_asked_though_the_broker_is_gone(
    mortal_broker, make_live, redis_server, tmp_path, monkeypatch, shop_events, stored
):
    """What is not committed the next one repeats; nobody has to kill it."""
    live = make_live(tmp_path, mortal_broker.address, redis_server().address, tmp_path.name, log_seconds=30)
    for name, value in live.environment.items():
        monkeypatch.setenv(name, value)
    params = Params.read(live.root / "params.yaml")
    apply_definitions(live.root, params)
    events = shop_events(30, 2).assign(user_id=None)
    replay(schedule(events, 0), params.stream, 0)
    consumer = live.consume()
    try:
        stored(live.root, params, events)
        mortal_broker.kill()
        live.signal(consumer, signal.SIGTERM)
        consumer.join(PATIENCE)
        assert not consumer.is_alive(), "it does not end"
    finally:
        live.stop()
    assert rows_logged(live) == len(events)


@pytest.mark.fault(
    part="disk",
    wrong="the live log cannot be written",
    noticed="the consumer: one line, exit 2",
    lost="nothing: offsets are not committed",
    degraded="states wait for the next consumer",
    heals="at the next start, once it can be written",
)
def test_a_log_that_cannot_be_written_ends_it_in_one_line_and_nothing_is_lost(live, params, shop_events):
    events = shop_events(30, 2).assign(user_id=None)
    replay(schedule(events, 0), params.stream, 0)
    day = live.root / LIVE_EVENTS / f"date={events['timestamp'].min().date()}"
    day.parent.mkdir(parents=True)
    day.touch()  # where a folder is needed
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for asked, reason in (
            (["--metrics-port", str(taken.getsockname()[1])], "--metrics-port"),
            ([], f"{day}: cannot be written"),
        ):
            ended = live.consume(*asked)
            ended.join(PATIENCE)
            assert ended.exitcode == 2
            said = live.said_by(len(live.consumers) - 1).read_text()
            assert reason in said.splitlines()[-1]
            assert "Traceback" not in said
    day.unlink()
    live.consume()
    wait_until(lambda: rows_logged(live) == len(events))


def consumed(params) -> list[dict]:
    """The events in the topic, in the order in which they were sent."""
    reader = Consumer(client_config(**{"group.id": "reader"}))
    parts = [TopicPartition(params.stream.topic, number, 0) for number in range(params.stream.partitions)]
    expected = sum(reader.get_watermark_offsets(part, timeout=30)[1] for part in parts)
    reader.assign(parts)
    found: list = []
    while len(found) < expected:
        found += reader.consume(min(500, expected - len(found)), 5)
    reader.close()
    found.sort(key=lambda message: message.timestamp())
    return [json.loads(message.value()) for message in found]


@pytest.fixture
def played(live, monkeypatch):
    """played(*arguments) runs `nextclick replay`, in this process, which has imported it already."""
    monkeypatch.chdir(live.root)
    return lambda *arguments: CliRunner().invoke(app, ["replay", *arguments])


def test_a_source_in_any_format_and_the_simulator_are_played_at_a_rate(live, params, played, tmp_path):
    folder = tmp_path / "ml"
    folder.mkdir()
    lines = [f"{user}::{movie}::4::{978300000 + 60 * movie + user}" for user in range(5) for movie in range(8)]
    (folder / "ratings.dat").write_text("\n".join([*lines, "broken::1::1::1"]) + "\n", encoding="latin-1")
    (folder / "movies.dat").write_text("1::Toy Story (1995)::Animation|Comedy\n", encoding="latin-1")
    ran = played("--source", str(folder), "--format", "movielens", "--rate", "40")
    assert ran.exit_code == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["events"] == 40
    assert said["seconds"] >= 39 / 40
    assert {event["item_id"] for event in consumed(params)} == {str(movie) for movie in range(8)}
    small = {"sessions": 300, "items": 100, "users": 50, "days": 4}
    (live.root / "params.yaml").write_text(
        yaml.safe_dump(yaml.safe_load((live.root / "params.yaml").read_text()) | {"simulator": small})
    )
    ran = played("--source", "simulator", "--most", "50")
    assert json.loads(ran.stdout)["events"] == 50
    assert len(consumed(params)) == 90
    for arguments, reason in (
        (["--source", "nowhere"], "--source nowhere: expected a file, a folder"),
        (["--source", str(folder), "--format", "xml"], "--format xml"),
        (["--format", "movielens"], "--format: expected a --source"),
        (["--rate", "10", "--speed", "10"], "--speed, --rate: expected one of the two"),
        (["--events", "params.yaml"], "params.yaml: not a Parquet file"),
        (["--events", "none.parquet"], "none.parquet: no such file"),
    ):
        ran = played(*arguments)
        assert ran.exit_code == 2
        assert ran.stderr.count("\n") == 1
        assert reason in ran.stderr
