"""Each cause leads to its decision; what is wrong with the data never leads to a retraining."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

from nextclick.events.simulator import Scenario, simulate
from nextclick.monitoring.facts import facts_of
from nextclick.monitoring.policy import decide, weighted_drift
from nextclick.params import Monitoring, Simulator

RULES = Monitoring()
FINE = {"complete": True, "interval": [0.29, 0.31], "promised": 0.3}
BAD = {"complete": True, "interval": [0.19, 0.21], "promised": 0.3}
SHOP = Simulator(sessions=2000, items=300, users=500, days=14, launches=0)


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """Of a scenario: facts before it, facts and events after its onset, and the items known before."""

    @cache
    def made(scenario):
        folder = tmp_path_factory.mktemp(scenario.kind)
        simulate(SHOP, 3, folder, scenario)
        events = pd.read_parquet(folder / "events.parquet")
        late = events["timestamp"] >= pd.Timestamp(SHOP.start, tz="UTC") + pd.Timedelta(days=7)
        known = events[~late]["item_id"].dropna().unique()
        return facts_of(events[~late], known), facts_of(events[late], known), events[late], known

    return made


@pytest.mark.parametrize(
    ("scenario", "performance", "expected"),
    [
        (Scenario(), FINE, ("hold", "performance")),
        (Scenario("taste_shift", 0.8, 7), BAD, ("retrain", "performance")),
        (Scenario("taste_shift", 0.8, 7), {**BAD, "complete": False}, ("hold", "labels")),
        (Scenario("catalogue_change", 0.3, 7), FINE, ("retrain", "new items")),
        (Scenario("bot_attack", 0.1, 7), BAD, ("alert", "data")),
        (Scenario("tracking_bug", 0.1, 7), BAD, ("alert", "data")),
    ],
    ids=lambda value: value.kind if isinstance(value, Scenario) else None,
)
def test_each_scenario_leads_to_its_decision(halves, scenario, performance, expected):
    before, now, _, _ = halves(scenario)
    assert decide(now, before, {}, [], 0.0, performance, 3, RULES)[:2] == expected


def test_a_broken_tracker_never_retrains(halves):
    before, _, events, known = halves(Scenario("tracking_bug", 0.1, 7))
    random = np.random.default_rng(1)
    names = events["session_id"].unique()
    for _ in range(100):
        week = events[events["session_id"].isin(random.choice(names, 500, replace=False))]
        # nothing beside the data speaks against retraining: hits below the promise, all drifted, too old
        found = decide(facts_of(week, known), before, {}, [], 1.0, BAD, 99, RULES)
        assert found.outcome == "alert"
        assert found.words.startswith("Fix the data")


@pytest.mark.parametrize(
    "odd",
    [
        lambda events: events[:0],
        lambda events: events[:1],
        lambda events: events.drop(columns="item_id"),
        lambda events: events.assign(item_id=None),
        lambda events: events.assign(event_id=None, session_id=None),
        lambda events: events.assign(timestamp=pd.NaT),
    ],
    ids=["empty", "one row", "no column", "null items", "null sessions", "null times"],
)
def test_odd_windows_are_alerts_in_words(halves, odd):
    before, _, events, known = halves(Scenario())
    found = decide(facts_of(odd(events), known), before, {}, [], None, FINE, 3, RULES)
    assert found.outcome == "alert"
    assert found.words


def test_a_missing_feature_and_skew_are_alerts(halves):
    before, now, _, _ = halves(Scenario())
    assert decide(now, before, {"missing": ["price"]}, [], 1.0, BAD, 3, RULES).rule == "data"
    assert decide(now, before, {}, ["price"], 1.0, BAD, 3, RULES).rule == "skew"


def test_drift_counts_by_importance():
    table = pd.DataFrame({"column": ["a", "b", "c"], "drifted": [True, False, True]})
    assert weighted_drift(table, {"a": 1.0, "b": 3.0}) == 0.25
    assert weighted_drift(table, {}) == 0
