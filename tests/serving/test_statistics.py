"""Item statistics that are published while the service runs: taken in the background, and the same as offline."""

import json
import time

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from nextclick.bundle.pointer import Pointer, served_name
from nextclick.evaluation.parity import parity
from nextclick.events.prefixes import next_clicks
from nextclick.events.session_state import Click, prefixes_of
from nextclick.events.sessions import SessionLog
from nextclick.features.statistics_versions import lateness_ms
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.online import OnlineStates
from nextclick.logs.published_statistics import STATISTICS, published_at, published_versions
from nextclick.params import Params
from nextclick.serving import deployment
from nextclick.serving.deployment import Deployment
from nextclick.stream.publish_statistics import publish_due
from nextclick.units import MS_PER_DAY

from .conftest import PARAMS

TYPES = ["view", "cart", "purchase"]
LATE = lateness_ms(PARAMS.features)


@pytest.fixture
def known(shop_events) -> pd.DataFrame:
    """What the bundle was trained on."""
    return shop_events(300, 3).assign(user_id=None)


@pytest.fixture
def coming(shop_events, known) -> pd.DataFrame:
    """Sessions of the next days."""
    later = shop_events(600, 5)
    start = known["timestamp"].max() + pd.Timedelta(hours=1)
    return later.assign(
        event_id="live-" + later["event_id"],
        session_id="live-" + later["session_id"],
        user_id=None,
        timestamp=start + (later["timestamp"] - later["timestamp"].min()),
    )


@pytest.fixture
def params(shop) -> Params:
    read = Params.read(shop / "params.yaml")
    apply_definitions(shop, read)
    return read


@pytest.fixture
def publish(shop, params, known, coming):
    """publish(until): the versions that are due then, ms, from what the bundle knows and what came."""
    (shop / "data/interim").mkdir(parents=True)
    pd.concat([known, coming]).to_parquet(shop / "data/interim/events.parquet")
    return lambda until: publish_due(shop, params, connect(shop, params, timeout=5), until)


def milliseconds(moment: pd.Timestamp) -> int:
    return int(moment.timestamp() * 1000)


@pytest.mark.ml_test("monitor-3")
def test_what_is_served_is_what_is_computed_offline(shop, params, publish, deployed, known, coming):
    bundled = deployed.champion.recommender.snapshot
    first = milliseconds(coming["timestamp"].min()) // MS_PER_DAY * MS_PER_DAY + MS_PER_DAY + LATE
    for moment in (first, first + MS_PER_DAY):
        publish(moment)
        deployed.poll()
    served = deployed.champion.recommender.snapshot
    assert deployed.champion.statistics_at == first + MS_PER_DAY
    log = SessionLog.from_events(pd.concat([known, coming]), TYPES, bundled.vocabulary)
    times = np.array([first, milliseconds(coming["timestamp"].max())])
    offline = bundled.as_published_during(log, TYPES, params.features, times)
    prefixes = next_clicks(SessionLog.from_events(coming, TYPES, bundled.vocabulary))
    prefixes = prefixes.take((prefixes.predicted_at >= first) & (prefixes.predicted_at < first + 2 * MS_PER_DAY))
    assert len(set(((prefixes.predicted_at - LATE) // MS_PER_DAY).tolist())) == 2, "both versions are asked for"
    candidates, features = served.features(prefixes)
    expected_candidates, expected = offline.features(prefixes)
    np.testing.assert_array_equal(candidates.items, expected_candidates.items)
    np.testing.assert_array_equal(features, expected)
    # the test could fail: the bundle's own statistics give others
    assert (bundled.features(prefixes)[1] != expected).any()
    online = OnlineStates(connect(shop, params, timeout=5))
    assert parity(served, coming.tail(50).reset_index(drop=True), online, TYPES).differing == 0


def test_a_version_takes_over_while_the_service_answers(shop, params, publish, coming, monkeypatch):
    monkeypatch.setattr(deployment, "POLL_SECONDS", 0.05)
    made = Deployment(shop, PARAMS.features)
    try:
        before = made.champion
        until = milliseconds(coming["timestamp"].max())
        publish(until)
        deadline = time.monotonic() + 20
        while made.champion is before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert made.champion.statistics_at == (until - LATE) // MS_PER_DAY * MS_PER_DAY + LATE
        # ready when it takes over: nothing is left for the first request to make
        assert {"item_columns", "item_tables"} <= vars(made.champion.recommender.snapshot.knowledge).keys()
        assert made.champion.recommender.trees is before.recommender.trees
        assert made.champion.version == before.version
    finally:
        made.close()


def test_the_bundle_that_is_swapped_in_has_them_too(shop, bundles, publish, deployed, coming):
    publish(milliseconds(coming["timestamp"].max()))
    deployed.poll()
    newest = deployed.champion.statistics_at
    Pointer(bundle=str(bundles[1])).write(shop, served_name())
    deployed.poll()
    assert deployed.champion.version == json.loads((bundles[1] / "manifest.json").read_text())["version"]
    assert deployed.champion.statistics_at == newest


def test_older_ones_than_the_bundles_are_not_taken(publish, deployed, known):
    publish(milliseconds(known["timestamp"].max()))
    before = deployed.champion
    deployed.poll()
    assert deployed.champion is before


@pytest.mark.parametrize("harm", ["no parquet", "a column less", "without the history"])
def test_what_cannot_be_used_is_refused_with_its_reason(shop, publish, deployed, coming, caplog, harm):
    (file,) = publish(milliseconds(coming["timestamp"].max()))
    rows = pd.read_parquet(file)
    if harm == "no parquet":
        file.write_bytes(b"PAR1")
    elif harm == "a column less":
        rows.drop(columns="clicks_7d").to_parquet(file)
    else:
        rows.head(3).to_parquet(file)
    before = deployed.champion
    deployed.poll()
    assert deployed.champion is before
    assert str(file) in caplog.records[-1].reason
    assert caplog.records[-1].message == "item statistics refused"
    deployed.poll()
    assert len(caplog.records) == 1  # said once
    publish(milliseconds(coming["timestamp"].max()) + MS_PER_DAY)
    deployed.poll()


def test_items_that_the_bundle_does_not_know_are_left_out(shop, publish, deployed, coming):
    (file,) = publish(milliseconds(coming["timestamp"].max()))
    rows = pq.read_table(file).to_pandas()
    strange = rows.assign(item_id="strange-" + rows["item_id"])
    pd.concat([strange, rows]).to_parquet(file)
    deployed.poll()
    snapshot = deployed.champion.recommender.snapshot
    newest = snapshot.knowledge.history.versions[-1]
    expected = rows.set_index("item_id").reindex(snapshot.vocabulary.ids).fillna(0)
    for found, name in (
        (newest.clicks, "clicks"),
        (newest.decayed[1], "clicks_1d"),
        (newest.by_type[2], "purchase_events"),
        (newest.decayed_by_type[1, 2], "cart_events_7d"),
        (newest.last_click, "last_click"),
    ):
        assert found.tolist() == expected[name].tolist()
    assert (shop / STATISTICS).is_dir()
    assert published_at(published_versions(shop)[-1]) == deployed.champion.statistics_at
    state = (Click(deployed.champion.statistics_at + 1, 0, "e", "strange-i01", 0),)
    assert np.isfinite(deployed.champion.recommender.scores(prefixes_of([state], snapshot.vocabulary))[1]).any()
