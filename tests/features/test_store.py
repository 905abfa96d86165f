"""The feature store gives back what was put in: point in time offline, the newest clicks online, twice as once."""

import subprocess

import numpy as np
import pandas as pd
import pytest

from nextclick.errors import InputError, StoreUnavailableError
from nextclick.events.prefixes import IDLE, IDLE_HOURS, KEPT_EVENTS
from nextclick.events.session_state import EMPTY, Click, advance
from nextclick.events.sessions import SessionLog
from nextclick.features.statistics_versions import ItemHistory
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.offline import states_of
from nextclick.features.store.online import OnlineStates
from nextclick.features.store.publish import materialise, publish
from nextclick.params import Params
from nextclick.units import MS_PER_HOUR

TYPES = ["view", "cart", "purchase"]


@pytest.fixture
def store(project, params):
    publish(project, params, timed=True)
    apply_definitions(project, params)
    return connect(project, params, timeout=5)


def test_a_point_in_time_join_by_feast_gives_what_the_ranker_learns_from(store, params, shop):
    log = SessionLog.from_events(shop, TYPES)
    times = log.times
    history = ItemHistory.of(log, TYPES, params.features, int(times.min()), int(times.max()))
    random = np.random.default_rng(0)
    items = random.integers(0, len(log.vocabulary), 400)
    moments = random.integers(times.min() - MS_PER_HOUR, times.max() + MS_PER_HOUR, 400)
    moments[:100] = random.choice(history.published_at, 100)  # the very moment of a publication
    asked = pd.DataFrame(
        {
            "item_id": log.vocabulary.ids[items],
            "event_timestamp": pd.to_datetime(moments, unit="ms", utc=True),
            "place": np.arange(400),
        }
    )
    names = ["clicks", "clicks_1d", "view_events", "cart_events_7d", "cart_rate", "last_click", "price"]
    joined = store.get_historical_features(asked, [f"item_statistics:{name}" for name in names]).to_df()
    joined = joined.sort_values("place", ignore_index=True)
    version = history.at(moments)
    published = [history.versions[v].clicks[item] > 0 for v, item in zip(version, items, strict=True)]
    # of rows that ask the same Feast answers one; those for which nothing had been published yet it may leave out
    due = asked[np.array(published) & (moments >= history.published_at[0])]
    joined = joined.dropna(subset="clicks")
    asking = ["item_id", "event_timestamp"]
    assert set(joined[asking].itertuples(index=False)) == set(due[asking].itertuples(index=False))
    for row in joined.itertuples():
        known = history.versions[version[row.place]]
        item = items[row.place]
        assert row.clicks == known.clicks[item]
        assert np.float32(row.clicks_1d) == known.decayed[1, item]
        assert row.view_events == known.by_type[0, item]
        assert np.float32(row.cart_events_7d) == known.decayed_by_type[1, 2, item]
        assert row.last_click == known.last_click[item]
    assert len(joined) > 200
    priced = joined[joined["item_id"].eq("i00")]
    assert priced["price"].eq(1.5).all()


def test_materialising_gives_each_session_its_newest_clicks_and_twice_is_once(store, shop):
    for _ in range(2):
        materialise(store, shop, TYPES, None, None)
        expected = dict(states_of(shop, "session_id", TYPES))
        read = OnlineStates(store).read(list(expected))
        assert [found.state for found in read] == list(expected.values())
        assert max(len(state) for state in expected.values()) == KEPT_EVENTS
    statistics = store.get_online_features(["item_statistics:clicks"], [{"item_id": "i07"}]).to_dict()
    latest = pd.read_parquet(store.config.repo_path / "data/features/store/item_statistics.parquet")
    assert statistics["clicks"] == latest[latest["item_id"] == "i07"]["clicks"].tail(1).tolist()


def test_windows_in_any_order_add_up_to_the_whole(store, shop):
    middle = shop["timestamp"].sort_values().iloc[len(shop) // 2].to_pydatetime()
    materialise(store, shop, TYPES, middle, None)
    clicks = ["item_statistics:clicks"]
    before = store.get_online_features(clicks, [{"item_id": "i07"}]).to_dict()
    materialise(connect_again(store), shop, TYPES, None, middle)
    expected = dict(states_of(shop, "session_id", TYPES))
    assert [found.state for found in OnlineStates(store).read(list(expected))] == list(expected.values())
    assert store.get_online_features(clicks, [{"item_id": "i07"}]).to_dict() == before  # no older version


def test_a_window_that_ends_before_it_begins_is_refused(store, shop):
    with pytest.raises(InputError, match="is no window: expected the first before the second"):
        materialise(
            store, shop, TYPES, shop["timestamp"].max().to_pydatetime(), shop["timestamp"].min().to_pydatetime()
        )


def test_the_address_of_a_redis_that_is_not_used_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("NEXTCLICK_REDIS", "127.0.0.1:6379")
    connect(tmp_path, Params())
    assert "NEXTCLICK_REDIS is not used: features.online_store is sqlite" in caplog.text


@pytest.mark.fault(
    part="Redis",
    wrong="Redis comes back empty, and item statistics were loaded before",
    noticed="nobody has to: the store itself is asked",
    lost="nothing",
    degraded="nothing",
    heals="by the next load",
)
def test_what_is_there_is_asked_of_the_store_and_not_of_what_was_loaded_before(
    project, redis_params, redis_server, monkeypatch, shop
):
    """Redis lost everything, and a window without a published version was the first to be loaded."""
    server = redis_server()
    monkeypatch.setenv("NEXTCLICK_REDIS", server.address)
    publish(project, redis_params, timed=True)
    apply_definitions(project, redis_params)
    store, first = connect(project, redis_params, timeout=5), shop["timestamp"].min()
    materialise(store, shop, TYPES, None, (first + pd.Timedelta(minutes=30)).to_pydatetime())
    for lost in (False, True):
        if lost:
            server.kill()
            server.start()
        written = materialise(store, shop, TYPES, None, None)
        there = store.get_online_features(["item_statistics:clicks"], [{"item_id": "i07"}]).to_dict()
        assert there["clicks"][0] > 0, lost
        assert written["item_statistics"] == shop["item_id"].nunique()


def test_on_redis_every_row_expires_so_that_a_full_one_has_what_may_go(
    project, redis_params, redis_server, monkeypatch, shop
):
    import redis

    server = redis_server()
    monkeypatch.setenv("NEXTCLICK_REDIS", server.address)
    publish(project, redis_params, timed=True)
    apply_definitions(project, redis_params)
    materialise(connect(project, redis_params, timeout=5), shop, TYPES, None, None)
    client = redis.Redis(port=server.port)
    assert client.keys("*session_id*")
    assert client.keys("*item_id*")
    assert client.keys("*user_id*") == []
    assert all(client.ttl(key) > 0 for key in client.keys("*"))


def connect_again(store):
    store.refresh_registry()
    return store


def test_unknown_sessions_are_empty_and_idle_ones_expire(store):
    online = OnlineStates(store)
    state = (Click(1_767_225_600_000, 5, "e1", "i01", 0), Click(1_767_225_700_000, 6, "e2", "i02", 1))
    online.write({"s": state, "nothing": EMPTY})
    assert [found.state for found in online.read(["s", "nothing", "unknown"])] == [state, EMPTY, EMPTY]
    newest = state[-1].timestamp
    assert online.read(["s"], now=newest + 5)[0].age == 5
    assert online.read(["s"], now=newest + IDLE)[0].state == state
    assert online.read(["s"], now=newest + IDLE + 1)[0].state == EMPTY


def test_repetitions_do_not_push_out_older_clicks(shop):
    long = shop[shop["session_id"] == shop["session_id"].value_counts().index[0]]
    assert len(long) > KEPT_EVENTS
    assert dict(states_of(pd.concat([long, long.tail(5)]), "session_id", TYPES)) == dict(
        states_of(long, "session_id", TYPES)
    )


@pytest.mark.fault(
    part="Redis",
    wrong="Redis dies between two reads",
    noticed="whoever reads or writes: a clear error",
    lost="nothing",
    degraded="nothing else",
    heals="by itself",
)
def test_a_redis_that_dies_is_a_clear_error_and_is_used_again_when_it_is_back(
    project, redis_params, redis_server, monkeypatch, shop
):
    server = redis_server()
    monkeypatch.setenv("NEXTCLICK_REDIS", server.address)
    apply_definitions(project, redis_params)
    online = OnlineStates(connect(project, redis_params, timeout=5))
    clicks = [Click(i, i, f"e{i}", "i01", 0) for i in range(1, 9)]

    def play() -> None:
        for click in clicks:
            online.write({"s": advance(online.read(["s"])[0].state, click)})

    play()
    server.kill()
    with pytest.raises(StoreUnavailableError, match="session_state"):
        online.read(["s"])
    with pytest.raises(StoreUnavailableError, match="session_state"):
        online.write({"s": tuple(clicks)})
    server.start()  # empty: nothing was saved
    assert online.read(["s"])[0].state == EMPTY
    play()
    assert online.read(["s"])[0].state == tuple(clicks)


def test_redis_forgets_an_idle_session_by_itself(project, redis_params, redis_server, monkeypatch):
    import redis

    server = redis_server()
    monkeypatch.setenv("NEXTCLICK_REDIS", server.address)
    apply_definitions(project, redis_params)
    OnlineStates(connect(project, redis_params, timeout=5)).write({"s": (Click(1, 0, "e", "i", 0),)})
    client = redis.Redis(port=server.port)
    (key,) = client.keys("*")
    # an event of a session that is not idle yet may come late
    longest = IDLE_HOURS * 3600 + redis_params.features.lateness_minutes * 60
    assert longest - 100 < client.ttl(key) <= longest


@pytest.mark.fault(
    part="Redis",
    wrong="the environment lacks Redis's password",
    noticed="whoever connects: a clear error",
    lost="nothing",
    degraded="that process",
    heals="when the password is set",
)
def test_a_password_is_asked_for_and_taken_from_the_environment(project, redis_params, redis_server, monkeypatch):
    monkeypatch.setenv("NEXTCLICK_REDIS", redis_server("--requirepass", "s3cret=word").address)
    with pytest.raises(StoreUnavailableError):
        written_and_read(project, redis_params)
    monkeypatch.setenv("NEXTCLICK_REDIS_PASSWORD", "s3cret=word")
    assert written_and_read(project, redis_params)


def test_the_connection_is_encrypted_where_an_authority_is_named(
    project, redis_params, redis_server, monkeypatch, tmp_path
):
    signed = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{tmp_path}/key.pem", "-out", f"{tmp_path}/cert.pem"]
    subprocess.run(["openssl", "req", *signed, *files], check=True, capture_output=True)
    options = ["--tls-cert-file", f"{tmp_path}/cert.pem", "--tls-key-file", f"{tmp_path}/key.pem"]
    server = redis_server(*options, "--tls-auth-clients", "no", plain=False)
    monkeypatch.setenv("NEXTCLICK_REDIS", server.address)
    with pytest.raises(StoreUnavailableError):
        written_and_read(project, redis_params)
    monkeypatch.setenv("NEXTCLICK_REDIS_CA", f"{tmp_path}/cert.pem")
    assert written_and_read(project, redis_params)


def written_and_read(project, params) -> bool:
    apply_definitions(project, params)
    online = OnlineStates(connect(project, params, timeout=5))
    state = (Click(1, 0, "e", "i", 0),)
    online.write({"s": state})
    return online.read(["s"])[0].state == state


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NEXTCLICK_REDIS", "somewhere"),
        ("NEXTCLICK_REDIS_PASSWORD", "with,comma"),
        ("NEXTCLICK_REDIS_CA", "/nowhere.pem"),
    ],
)
def test_an_environment_that_cannot_be_used_is_named(project, redis_params, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=name):
        connect(project, redis_params, timeout=5)
