"""Each cause leads to its decision; what is wrong with the data never leads to a retraining."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

from nextclick.events.simulator import Scenario, simulate
from nextclick.logs.prediction_log import ServiceReport
from nextclick.monitoring.data_profile import profile_of
from nextclick.monitoring.policy import Evidence, Performance, decide, weighted_drift
from nextclick.params import Monitoring, Simulator

RULES = Monitoring()
FINE = Performance(complete=True, interval=[0.29, 0.31], promised=0.3)
BAD = Performance(complete=True, interval=[0.19, 0.21], promised=0.3)
SHOP = Simulator(sessions=2000, items=300, users=500, days=14, launches=0)


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """Of a scenario: the profile before it, profile and events after its onset, and the items known before."""

    @cache
    def made(scenario):
        folder = tmp_path_factory.mktemp(scenario.kind)
        simulate(SHOP, 3, folder, scenario)
        events = pd.read_parquet(folder / "events.parquet")
        late = events["timestamp"] >= pd.Timestamp(SHOP.start, tz="UTC") + pd.Timedelta(days=7)
        known = events[~late]["item_id"].dropna().unique()
        return profile_of(events[~late], known), profile_of(events[late], known), events[late], known

    return made


@pytest.mark.parametrize(
    ("scenario", "performance", "expected"),
    [
        (Scenario(), FINE, ("hold", "performance")),
        (Scenario("taste_shift", 0.8, 7), BAD, ("retrain", "performance")),
        (Scenario("taste_shift", 0.8, 7), BAD.model_copy(update={"complete": False}), ("hold", "labels")),
        (Scenario("catalogue_change", 0.3, 7), FINE, ("retrain", "new items")),
        (Scenario("bot_attack", 0.1, 7), BAD, ("alert", "data")),
        (Scenario("tracking_bug", 0.1, 7), BAD, ("alert", "data")),
    ],
    ids=lambda value: value.kind if isinstance(value, Scenario) else None,
)
def test_each_scenario_leads_to_its_decision(halves, scenario, performance, expected):
    before, now, _, _ = halves(scenario)
    found = decide(Evidence(now, before, {}, [], 0.0, performance, 3, RULES))
    assert (found.outcome, found.rule) == expected


def test_a_broken_tracker_never_retrains(halves):
    before, _, events, known = halves(Scenario("tracking_bug", 0.1, 7))
    random = np.random.default_rng(1)
    names = events["session_id"].unique()
    for _ in range(100):
        week = events[events["session_id"].isin(random.choice(names, 500, replace=False))]
        # nothing beside the data speaks against retraining: hits below the promise, all drifted, too old
        found = decide(Evidence(profile_of(week, known), before, {}, [], 1.0, BAD, 99, RULES))
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
    found = decide(Evidence(profile_of(odd(events), known), before, {}, [], None, FINE, 3, RULES))
    assert found.outcome == "alert"
    assert found.words


def some(events, share: float) -> np.ndarray:
    return np.random.default_rng(5).random(len(events)) < share


def later(events) -> pd.DataFrame:
    return events.assign(
        event_id=events["event_id"] + "-2", timestamp=events["timestamp"] + pd.Timedelta(milliseconds=300)
    )


def day_of(events) -> pd.Series:
    return events["timestamp"].dt.dayofyear


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda e: e.assign(item_id=e["item_id"].mask(some(e, 0.3), "undefined")), "'undefined' alone"),
        (lambda e: e.assign(item_id=e["item_id"].mask(some(e, 0.06), "undefined")), "is that an item?"),
        (lambda e: e.assign(item_id="i1"), "100.0% of the events are of 'i1' alone"),
        (lambda e: e.assign(session_id=e["session_id"].mask(some(e, 0.5), e["event_id"])), "each visitor's id"),
        (lambda e: e.assign(session_id=e["event_id"]), "sessions have 1.0 events"),
        (lambda e: e.assign(session_id="s"), "each visitor's id"),
        (lambda e: pd.concat([e, e.assign(event_id=e["event_id"] + "-again")]), "50.0% of the events came twice"),
        (lambda e: e.assign(event_type=e["event_type"].mask(some(e, 0.3), "hover")), "hover, a type"),
        (lambda e: e[day_of(e) != day_of(e).min() + 3], "0 events came on the poorest whole day"),
        (lambda e: e[~some(e, 0.6)], "events a day came"),
        (lambda e: pd.concat([e, later(e)]), "50.0% of the events came twice"),
    ],
    ids=[
        "placeholder",
        "rare placeholder",
        "one item",
        "half the cookies",
        "no cookies",
        "one cookie",
        "sent twice",
        "new type",
        "silence",
        "less of all",
        "sent twice, later",
    ],
)
def test_what_a_broken_tracker_sends_is_named(halves, broken, words):
    before, _, events, known = halves(Scenario())
    found = decide(Evidence(profile_of(broken(events), known), before, {}, [], 1.0, BAD, 99, RULES))
    assert (found.outcome, found.rule) == ("alert", "data")
    assert words in found.words


@pytest.mark.parametrize(("hours", "days"), [(6, None), (26, 0), (60, 1)])
def test_only_whole_days_are_asked_for_their_events(halves, hours, days):
    _, _, events, known = halves(Scenario())
    first = events["timestamp"].min().floor("D") + pd.Timedelta(hours=9)
    until = first + pd.Timedelta(hours=hours)
    facts = profile_of(events[(events["timestamp"] >= first) & (events["timestamp"] < until)], known, first, until)
    assert (facts.least_a_day is None) == (not days)
    assert facts.days == pytest.approx(hours / 24, abs=0.001)


SERVICE = ServiceReport(lists=1000, versions={}, degraded={}, stale={}, milliseconds=None, unknown_clicks=0.0)


@pytest.mark.parametrize(
    ("service", "rule"),
    [
        (SERVICE, "performance"),
        (SERVICE.model_copy(update={"degraded": {"store": 0.04}, "unknown_clicks": 0.04}), "performance"),
        (SERVICE.model_copy(update={"degraded": {"store": 0.06}}), "service"),
        (SERVICE.model_copy(update={"unknown_clicks": 0.06}), "service"),
        (SERVICE.model_copy(update={"lists": 0}), "service"),
    ],
)
def test_a_service_that_is_ill_never_retrains(halves, service, rule):
    _, now, _, _ = halves(Scenario())
    found = decide(Evidence(now, now, {}, [], 1.0, BAD, 3, RULES, service))
    assert found.rule == rule
    assert (found.outcome == "alert") == (rule == "service")


def test_what_was_not_compared_is_not_said_to_be_the_same(halves):
    _, now, _, _ = halves(Scenario())
    unknown = Performance(complete=True, interval=None, promised=0.3)
    assert decide(Evidence(now, now, {}, [], None, unknown, 3, RULES)).rule == "no lists"
    assert "5% of the ranker's weight" in decide(Evidence(now, now, {}, [], 0.05, unknown, 3, RULES)).words
    found = decide(Evidence(now, now, {}, [], 0.5, unknown, 3, RULES))
    assert (found.outcome, found.rule) == ("retrain", "drift")


def test_a_missing_feature_and_skew_are_alerts(halves):
    before, now, _, _ = halves(Scenario())
    assert decide(Evidence(now, before, {"missing": ["price"]}, [], 1.0, BAD, 3, RULES)).rule == "data"
    assert decide(Evidence(now, before, {}, ["price"], 1.0, BAD, 3, RULES)).rule == "skew"


def test_drift_counts_by_importance():
    table = pd.DataFrame({"column": ["a", "b", "c"], "drifted": [True, False, True]})
    assert weighted_drift(table, {"a": 1.0, "b": 3.0}) == 0.25
    assert weighted_drift(table, {}) == 0
