"""A row of the online store that cannot be read is that row's fault: it is set aside and made again, nobody waits."""

import json
import re

import pandas as pd
import pyarrow.parquet as pq
import pytest
from stream.conftest import wait_until
from stream.test_consumer import quarantined
from stream.test_topic import clicks, ended

from nextclick.events.tables import parquet_files
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.feast_internals import entity_key, redis_client, redis_field, redis_key
from nextclick.features.store.offline import states_of
from nextclick.features.store.online import OnlineStates
from nextclick.logs.event_log import QUARANTINE
from nextclick.params import Params
from nextclick.stream.intake import EmbeddedIntake
from nextclick.stream.replay import replay, schedule

TYPES = ["view", "cart", "purchase"]


@pytest.fixture
def params(live) -> Params:
    read = Params.read(live.root / "params.yaml")
    apply_definitions(live.root, read)
    return read


def another_type(client, key: bytes) -> None:
    client.delete(key)
    client.set(key, "what somebody else put here")


def no_protobuf(client, key: bytes) -> None:
    for field in client.hkeys(key):
        client.hset(key, field, b"\xff\xff no row")


def half_a_row(client, key: bytes) -> None:
    client.hdel(key, redis_field("session_state", "item_ids"))


ILL = [another_type, no_protobuf, half_a_row]


def spoil(root, params, session: str, how) -> None:
    store = connect(root, params, timeout=5)
    how(redis_client(store), redis_key(store, entity_key("session_id", session)))


PROMISED = {
    "part": "Redis",
    "noticed": "the consumer, with the session's next click: a line, metric nextclick_stream_unreadable_rows",
    "lost": "nothing: the row goes to the quarantine and is made again of the offline log",
    "degraded": "lists of that session alone, until its next click",
    "heals": "by itself",
}
WRONG = {another_type: "has another type", no_protobuf: "holds bytes that are no row", half_a_row: "lacks a column"}


@pytest.mark.parametrize(
    "how",
    [pytest.param(how, marks=pytest.mark.fault(wrong=f"a session's key {WRONG[how]}", **PROMISED)) for how in ILL],
)
def test_a_row_that_cannot_be_read_is_made_again_and_nobody_waits_for_it(live, params, shop_events, stored, how):
    events = clicks(shop_events, 40, 1)
    newest = events.groupby("session_id")["timestamp"].transform("max") == events["timestamp"]
    before, after = events[~newest], events[newest]
    ill = events["session_id"].value_counts().index[0]
    replay(schedule(before, 0), params.stream, 0)
    consumer = live.consume()
    stored(live.root, params, before)
    wait_until(lambda: [*(live.root / "data/live/events").glob("*/*.parquet")])
    spoil(live.root, params, ill, how)
    replay(schedule(after, 0), params.stream, 0)
    stored(live.root, params, events)
    assert consumer.is_alive()
    said = ended(live, consumer)
    assert f"the row of session {ill} cannot be read" in said
    assert '"unreadable_rows": 1' in said
    (message,) = quarantined(params)
    assert dict(message.headers())["reason"].startswith(f"{ill}: ".encode())


def test_the_planted_consumer_waits_for_a_row_that_nobody_can_read(live, params, shop_events):
    events = clicks(shop_events, 20, 2)
    ill = events["session_id"].iloc[0]
    spoil(live.root, params, ill, another_type)
    replay(schedule(events, 0), params.stream, 0)
    live.consume("--bug", "waits_for_rows_that_nobody_can_read")
    said = live.said_by(0)
    wait_until(lambda: said.exists() and "waiting for the online store" in said.read_text(), 40)


@pytest.mark.parametrize("how", ILL)
def test_only_the_session_of_that_row_has_none(live, params, shop_events, how):
    expected = dict(states_of(clicks(shop_events, 5, 3), "session_id", TYPES))
    online = OnlineStates(connect(live.root, params, timeout=5))
    online.write(expected)
    ill, *others = expected
    spoil(live.root, params, ill, how)
    read = dict(zip(expected, online.read(list(expected)), strict=True))
    assert read[ill].unreadable
    assert read[ill].state == ()
    assert all(read[name].state == expected[name] and not read[name].unreadable for name in others)


@pytest.mark.parametrize("how", ILL)
def test_without_a_broker_too_the_row_is_set_aside_and_made_again(live, params, shop_events, monkeypatch, how):
    monkeypatch.delenv("NEXTCLICK_KAFKA")
    now = pd.Timestamp.now("UTC").floor("ms")
    events = clicks(shop_events, 3, 4)
    events = events.assign(timestamp=events["timestamp"] - events["timestamp"].max() + now)
    recent = events[events["timestamp"] > now - pd.Timedelta(minutes=9)]
    ill = recent["session_id"].value_counts().index[0]
    mine = recent[recent["session_id"] == ill].sort_values("timestamp")
    rows = [row.to_json(date_format="iso").encode() for _, row in mine.drop(columns="user_id").iterrows()]
    intake = EmbeddedIntake(live.root, params)
    assert intake.accept(rows[:-1]).accepted == len(rows) - 1
    spoil(live.root, params, ill, how)
    assert intake.accept(rows[-1:]).accepted == 1
    state = OnlineStates(connect(live.root, params, timeout=5)).read([ill])[0].state
    assert [click.event_id for click in state] == mine["event_id"].tolist()
    (file,) = parquet_files(live.root / QUARANTINE)
    (kept,) = pq.read_table(file).to_pylist()
    assert re.match(f"{ill}: ", kept["reason"])
    assert kept["raw"]


def test_clicks_of_users_that_nobody_knew_leave_no_rows_of_users(live, params, shop_events, redis, monkeypatch):
    """Whoever may post could fill a store with rows of users that cannot go, until sessions do."""
    monkeypatch.delenv("NEXTCLICK_KAFKA")
    intake = EmbeddedIntake(live.root, params)
    now = pd.Timestamp.now("UTC").isoformat()
    click = {"item_id": "i", "event_type": "view", "timestamp": now}
    ids = [{"event_id": f"e{i}", "session_id": f"s{i % 5}", "user_id": f"u{i}"} for i in range(500)]
    intake.accept([json.dumps(click | one).encode() for one in ids])
    client = redis_client(connect(live.root, params, timeout=5))
    keys = client.keys("*")
    assert len([key for key in keys if b"session_id" in key]) == 5
    assert not [key for key in keys if b"user_id" in key]
    assert all(client.ttl(key) > 0 for key in keys)
