"""What the service computes is what training computed, to the last bit, and the comparison would say if it were not."""

import sqlite3
from contextlib import closing

import numpy as np
import pandas as pd
import pytest

from nextclick.evaluation.parity import parity
from nextclick.events.arrival_order import arrivals
from nextclick.events.prefixes import IDLE_HOURS
from nextclick.events.session_state import SessionState
from nextclick.events.sessions import SessionLog
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.online import OnlineStates
from nextclick.params import Retrieval
from nextclick.ranking.snapshot import Snapshot

TYPES = ["view", "cart", "purchase"]


@pytest.fixture(scope="module")
def snapshot(shop_events) -> Snapshot:
    log = SessionLog.from_events(shop_events(300, 0), TYPES)
    return Snapshot.of(
        log,
        Retrieval(dimensions=8, encoder_epochs=1, encoder_min_steps=100, width=25, nearest=10),
        1,
        event_types=TYPES,
    )


@pytest.fixture
def online(project, params) -> OnlineStates:
    apply_definitions(project, params)
    return OnlineStates(connect(project, params, timeout=5))


@pytest.mark.ml_test("monitor-3")
def test_nothing_differs_even_with_late_repeated_and_forgotten_events(snapshot, online, shop_events):
    arriving = arrivals(shop_events(60, 1), 1, shuffle=0.3, duplicate=0.2)
    assert arriving["event_id"].duplicated().any()
    assert not arriving["timestamp"].is_monotonic_increasing
    found = parity(snapshot, arriving, online, TYPES, expire=0.1)
    assert found.moments == len(arriving)
    assert found.cells > found.moments * len(snapshot.feature_names)
    assert found.rebuilt > 0
    assert found.first == []
    assert found.differing == 0
    assert stored_rows(online) == 0


def test_nothing_differs_where_clicks_share_a_moment_and_ids_say_nothing(snapshot, online, shop_events):
    events = shop_events(40, 4)
    random = np.random.default_rng(0)
    events["event_id"] = [f"{number:016x}" for number in random.permutation(len(events))]
    events["timestamp"] = events["timestamp"].dt.floor("2min")
    assert events.duplicated(["session_id", "timestamp"]).mean() > 0.3
    found = parity(snapshot, arrivals(events, 1, shuffle=0.3, duplicate=0.2), online, TYPES, expire=0.1)
    assert found.differing == 0, found.first


def test_nothing_differs_in_sessions_that_were_idle_for_long(snapshot, online, shop_events):
    events = shop_events(40, 3)
    place = events.sort_values(["timestamp", "position", "event_id"]).groupby("session_id").cumcount()
    events["timestamp"] += place.reindex(events.index) // 3 * pd.Timedelta(hours=IDLE_HOURS + 1)
    found = parity(snapshot, arrivals(events, 1), online, TYPES)
    assert found.moments == len(events)
    assert found.differing == 0, found.first


def stored_rows(online: OnlineStates) -> int:
    if online._redis:
        return online._redis._client.dbsize()
    with closing(sqlite3.connect(online._store.config.online_store.path)) as database:
        return database.execute(f'SELECT count(*) FROM "{online._store.config.project}_session_state"').fetchone()[0]


class Forgetful(OnlineStates):
    """Loses the oldest click of longer states."""

    def write(self, states: dict[str, SessionState]) -> None:
        super().write({name: state[1:] if len(state) > 3 else state for name, state in states.items()})


@pytest.mark.parametrize("params", ["sqlite"], indirect=True)
def test_a_store_that_loses_a_click_is_found_out_and_named(snapshot, project, params, shop_events):
    apply_definitions(project, params)
    arriving = arrivals(shop_events(20, 2), 1)
    found = parity(snapshot, arriving, Forgetful(connect(project, params, timeout=5)), TYPES)
    assert 0 < found.differing < found.cells
    first = found.first[0]
    assert set(first) == {"session", "time", "feature", "live", "offline"}
    place = arriving.groupby("session_id").cumcount()[arriving["session_id"] == first["session"]]
    times = arriving.loc[place.index, "timestamp"].map(lambda moment: moment.isoformat())
    assert place[times == first["time"]].min() == 3  # the fourth click of its session


def test_arrivals_hold_every_event_and_keep_to_the_shares(shop_events):
    events = shop_events(200, 4)
    arriving = arrivals(events, 1, shuffle=0.1, duplicate=0.1)
    assert set(arriving["event_id"]) == set(events["event_id"])
    assert 0.07 < len(arriving) / len(events) - 1 < 0.13
    in_order = arrivals(events, 1)
    assert np.all(np.diff(in_order["timestamp"].astype("int64")) >= 0)
