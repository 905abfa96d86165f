"""Live item statistics are those that the offline store makes of the same events."""

import shutil
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureStore
from redis.exceptions import RedisError

from nextclick.errors import StoreUnavailableError
from nextclick.features.store import online
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.feast_internals import redis_client
from nextclick.features.store.publish import publish
from nextclick.logs.event_log import EVENT_SCHEMA, LIVE_EVENTS, EventLog
from nextclick.logs.published_statistics import published_versions
from nextclick.stream import live_events
from nextclick.stream.live_events import LiveEvents
from nextclick.stream.publish_statistics import publish_due
from nextclick.units import MS_PER_HOUR


def logged(events: pd.DataFrame) -> pa.Table:
    rows = events.assign(arrived=events["timestamp"], late=False)
    return pa.Table.from_pandas(rows, EVENT_SCHEMA, preserve_index=False)


@pytest.fixture
def versions(project, redis_params, redis_server, monkeypatch, shop):
    """The versions published while the shop's events come in, half of them known before, some twice."""
    monkeypatch.setenv("NEXTCLICK_REDIS", redis_server().address)
    apply_definitions(project, redis_params)
    store = connect(project, redis_params, timeout=5)
    ordered = shop.sort_values("timestamp")
    half = len(ordered) // 2
    ordered[:half].to_parquet(project / "data/interim/events.parquet")
    log = EventLog(project / LIVE_EVENTS)
    for part in np.array_split(np.arange(half - 20, len(ordered)), 15):
        live = ordered.iloc[part]
        log.append(logged(live))
        publish_due(project, redis_params, store, int(live["timestamp"].max().timestamp() * 1000))
    return published_versions(project), store


def test_each_version_is_the_offline_one(project, redis_params, versions):
    files, store = versions
    publish(project, redis_params, timed=True)
    offline = pd.read_parquet(project / "data/features/store/item_statistics.parquet")
    assert len(files) >= 4
    for file in files:
        live = pd.read_parquet(file)
        moment = pd.Timestamp(int(file.stem), unit="ms", tz="UTC")
        expected = offline[offline["event_timestamp"] == moment].reset_index(drop=True)
        pd.testing.assert_frame_equal(live.reset_index(drop=True), expected, check_exact=True)
    newest = pd.read_parquet(files[-1]).set_index("item_id")
    asked = [{"item_id": name} for name in newest.index]
    online = store.get_online_features(["item_statistics:clicks", "item_statistics:price"], asked).to_dict()
    assert online["clicks"] == newest["clicks"].tolist()


def test_nothing_is_published_twice_nor_skipped(project, redis_params, versions):
    files, store = versions
    moments = [int(file.stem) for file in files]
    step = 2 * MS_PER_HOUR  # of the params
    assert moments == list(range(moments[0], moments[-1] + 1, step))
    assert publish_due(project, redis_params, store, moments[-1] + step - 1) == []


def stored(store, file) -> pd.DataFrame:
    """What the online store holds of the items of a version."""
    items = [{"item_id": name} for name in pd.read_parquet(file)["item_id"]]
    return store.get_online_features(["item_statistics:clicks"], items).to_df().set_index("item_id")


@pytest.mark.fault(
    part="Redis",
    wrong="Redis is gone when item statistics are published",
    noticed="the consumer: a line",
    lost="nothing: the files are written",
    degraded="nothing: the service reads the files",
    heals="by itself",
)
def test_where_the_store_is_gone_the_files_are_there_and_the_next_call_brings_them(
    project, redis_params, redis_server, monkeypatch, shop
):
    server = redis_server()
    monkeypatch.setenv("NEXTCLICK_REDIS", server.address)
    apply_definitions(project, redis_params)
    store = connect(project, redis_params, timeout=5)
    EventLog(project / LIVE_EVENTS).append(logged(shop))
    until = int(shop["timestamp"].max().timestamp() * 1000) + 24 * MS_PER_HOUR
    server.kill()
    with pytest.raises(StoreUnavailableError, match="item_statistics: "):
        publish_due(project, redis_params, store, until)
    files = published_versions(project)
    assert files
    server.start()
    assert publish_due(project, redis_params, store, until) == []
    expected = pd.read_parquet(files[-1]).set_index("item_id")["clicks"]
    assert stored(store, files[-1])["clicks"].eq(expected).all()
    client = redis_client(store)
    assert all(client.ttl(key) > 0 for key in client.keys("*"))


def test_an_emptied_store_and_one_that_was_written_in_part_are_filled_again(
    project, redis_params, versions, monkeypatch
):
    files, store = versions
    redis_client(store).flushall()
    writes = []

    def interrupted(self, *arguments):
        writes.append(arguments)
        if len(writes) == 2:
            raise RedisError("gone in the middle")
        return whole(self, *arguments)

    whole = FeatureStore.write_to_online_store
    monkeypatch.setattr(online, "BATCH", 7)
    monkeypatch.setattr(online, "PROBED", 7)
    monkeypatch.setattr(FeatureStore, "write_to_online_store", interrupted)
    for _ in range(2):  # the second finds a part of it there
        with pytest.raises(StoreUnavailableError, match="gone in the middle"):
            publish_due(project, redis_params, store, int(files[-1].stem))
        assert 0 < stored(store, files[-1])["clicks"].notna().sum() <= 7
        writes.clear()
    monkeypatch.setattr(FeatureStore, "write_to_online_store", whole)
    assert publish_due(project, redis_params, store, int(files[-1].stem)) == []
    assert stored(store, files[-1])["clicks"].notna().all()


@pytest.mark.fault(
    part="clock",
    wrong="a clock that was ahead published item statistics of days that are yet to come",
    noticed="nobody has to: the publisher and the service leave them out",
    lost="nothing",
    degraded="nothing",
    heals="by itself, as the clock comes back",
)
def test_versions_that_are_yet_to_come_keep_no_other_from_being_published(project, redis_params, versions):
    files, store = versions
    ahead = time.time_ns() // 1_000_000 + 400 * 24 * MS_PER_HOUR
    future = files[-1].with_name(f"{ahead}.parquet")
    shutil.copy(files[-1], future)
    assert published_versions(project) == files
    files[-1].unlink()
    assert publish_due(project, redis_params, store, int(files[-1].stem)) == files[-1:]
    assert future.exists()


@pytest.mark.fault(
    part="Redis",
    wrong="Redis comes back without item statistics",
    noticed="the consumer, within a minute",
    lost="nothing",
    degraded="nothing",
    heals="by itself",
)
def test_an_emptied_store_gets_them_back_at_a_start_and_now_and_then_without_a_click(
    project, redis_params, versions, monkeypatch
):
    files, store = versions
    live = LiveEvents(project, redis_params, store, set_aside=pytest.fail)
    for due in (False, True):
        redis_client(store).flushall()
        monkeypatch.setattr(live_events, "CHECK_EVERY", -1.0 if due else 60.0)
        live.publish_statistics()
        for _ in range(300):
            if stored(store, files[-1])["clicks"].notna().all():
                break
            time.sleep(0.1)
        assert stored(store, files[-1])["clicks"].notna().all(), due
