"""States that several writers advance at once lose no click, and Feast reads what was merged."""

import sqlite3
import threading
from contextlib import closing

import pytest

from nextclick.events.prefixes import KEPT_EVENTS
from nextclick.events.session_state import EMPTY, Click, advance_all
from nextclick.features.store import redis_rows
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.feast_internals import redis_client, redis_field
from nextclick.features.store.online import OnlineStates
from nextclick.features.store.redis_rows import RedisRows


@pytest.fixture
def clicks() -> list[Click]:
    """Some of which share a moment, with ids that do not say their order."""
    return [
        Click(1_767_225_600_000 + 7 * (i // 3), i, f"e{i * 37 % 101}", f"ï{i % 9}", i % 3)
        for i in range(KEPT_EVENTS + 20)
    ]


@pytest.mark.fault(
    part="Redis",
    wrong="several writers change one session at once",
    noticed="nobody has to",
    lost="nothing",
    degraded="nothing",
    heals="nothing to heal",
)
def test_writers_at_the_same_time_lose_no_click(project, params, clicks):
    apply_definitions(project, params)
    names = [f"s{i}" for i in range(5)]

    def write(share: list[Click]) -> None:
        online = OnlineStates(connect(project, params, timeout=5))
        for click in share:
            online.merge({name: [click] for name in names})

    writers = [threading.Thread(target=write, args=(clicks[i::3],)) for i in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = OnlineStates(connect(project, params, timeout=5)).read(names)
    assert [row.state for row in found] == [advance_all(EMPTY, clicks)] * len(names)


@pytest.mark.fault(
    part="process",
    wrong="a writer sleeps between reading and writing a session",
    noticed="nobody has to",
    lost="nothing",
    degraded="nothing",
    heals="nothing to heal",
)
@pytest.mark.parametrize("blind", [False, True], ids=["", "planted bug: it writes whatever is there"])
def test_a_writer_that_slept_between_reading_and_writing_undoes_nothing_that_came_since(
    project, redis_params, redis_server, monkeypatch, clicks, blind
):
    if blind:
        monkeypatch.setattr(redis_rows, "_REPLACE_UNCHANGED", "redis.call('HSET', KEYS[1], unpack(ARGV, 8)) return 1")
    monkeypatch.setenv("NEXTCLICK_REDIS", redis_server().address)
    apply_definitions(project, redis_params)
    online = OnlineStates(connect(project, redis_params, timeout=5))
    decode = RedisRows._row

    def slow(self, state):
        monkeypatch.setattr(RedisRows, "_row", decode)
        online.merge({"s": clicks[1:]})  # what another does meanwhile
        return decode(self, state)

    monkeypatch.setattr(RedisRows, "_row", slow)
    online.merge({"s": clicks[:1]})
    assert (online.read(["s"])[0].state == advance_all(EMPTY, clicks)) is not blind


def test_a_writer_that_slept_undoes_no_older_position_of_a_click_that_came_since(
    project, redis_params, redis_server, monkeypatch
):
    monkeypatch.setenv("NEXTCLICK_REDIS", redis_server().address)
    apply_definitions(project, redis_params)
    online = OnlineStates(connect(project, redis_params, timeout=5))
    resent, first, other = Click(9, 5, "x", "i", 0), Click(9, 3, "x", "i", 0), Click(9, 4, "a", "i", 0)
    online.merge({"s": [resent]})
    encode = RedisRows._row

    def slow(self, state):
        monkeypatch.setattr(RedisRows, "_row", encode)
        online.merge({"s": [first]})  # changes the position alone
        return encode(self, state)

    monkeypatch.setattr(RedisRows, "_row", slow)
    online.merge({"s": [other]})
    assert online.read(["s"])[0].state == (first, other)


def test_rows_from_before_positions_existed_are_read_as_positions_of_0_and_merged(project, params, clicks):
    apply_definitions(project, params)
    store = connect(project, params, timeout=5)
    online = OnlineStates(store)
    old = tuple(sorted(click._replace(position=0) for click in clicks[:4]))
    online.write({"s": old})
    if client := redis_client(store):
        (key,) = client.keys("*")
        assert client.hdel(key, redis_field("session_state", "positions")) == 1
    else:
        with closing(sqlite3.connect(store.config.online_store.path)) as database, database:
            table = f'"{store.config.project}_session_state"'
            assert database.execute(f"DELETE FROM {table} WHERE feature_name = 'positions'").rowcount == 1
    assert online.read(["s"])[0].state == old
    online.merge({"s": [clicks[5]]})
    assert online.read(["s"])[0].state == (*old, clicks[5])


def test_a_merged_row_is_byte_for_byte_the_one_that_feast_writes(
    project, redis_params, redis_server, monkeypatch, clicks
):
    monkeypatch.setenv("NEXTCLICK_REDIS", redis_server().address)
    apply_definitions(project, redis_params)
    store = connect(project, redis_params, timeout=5)
    client = redis_client(store)
    for view in ("session_state", "user_history"):
        OnlineStates(store, view).write({"né": tuple(clicks[:3])})
        (key,) = client.keys("*")
        written, life = client.hgetall(key), client.ttl(key)
        client.flushall()
        OnlineStates(store, view).merge({"né": [*clicks[:3], clicks[0]]})
        assert client.hgetall(key) == written
        assert abs(client.ttl(key) - life) <= 1
        client.flushall()
