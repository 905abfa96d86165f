"""Each scenario changes what it says, from its onset on, and nothing before it or else."""

import numpy as np
import pandas as pd
import pytest

from nextclick.errors import InputError
from nextclick.events.simulator import Scenario, simulate
from nextclick.params import Simulator

SMALL = Simulator(sessions=1500, items=150, users=200, days=8, launches=0, bots=0.01, trend=0)
ONSET = 4
STRENGTH = {
    "none": 0.0,
    "catalogue_change": 0.3,
    "taste_shift": 0.8,
    "price_shock": 1.0,
    "seasonal_swing": 0.8,
    "bot_attack": 0.3,
    "tracking_bug": 0.3,
}


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """kind -> (events before the onset, events after it, items)."""
    made = {}
    for kind, strength in STRENGTH.items():
        folder = tmp_path_factory.mktemp(kind)
        simulate(SMALL, 7, folder, Scenario(kind, strength, ONSET))
        events = pd.read_parquet(folder / "events.parquet")
        late = events["timestamp"] >= pd.Timestamp(SMALL.start, tz="UTC") + pd.Timedelta(days=ONSET)
        made[kind] = events[~late], events[late], pd.read_parquet(folder / "items.parquet")
    return made


@pytest.mark.parametrize("kind", ["taste_shift", "price_shock", "seasonal_swing", "bot_attack", "tracking_bug"])
def test_before_the_onset_nothing_differs(halves, kind):
    # sessions of the night before go on, and what was drawn for later days is drawn behind them
    first = halves["none"][0]
    days = first["timestamp"] < first["timestamp"].min().normalize() + pd.Timedelta(days=ONSET - 1)
    columns = ["session_id", "item_id", "event_type", "timestamp"]
    ours = halves[kind][0][: days.sum()][columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(ours, first[days][columns].reset_index(drop=True))


def test_a_catalogue_change_brings_items_and_takes_others(halves):
    before, after, items = halves["catalogue_change"]
    launched = items[items["launched"] == after["timestamp"].min().normalize()]["item_id"]
    assert len(launched) == 45
    assert not before["item_id"].isin(launched).any()
    assert after["item_id"].isin(launched).mean() > 0.15
    gone = set(before["item_id"]) - set(after["item_id"])
    assert len(gone) >= 40


def test_a_season_draws_people_to_its_leaves(halves):
    def shares(events, items):
        category = items.set_index("item_id")["category"]
        return events["item_id"].map(category).value_counts(normalize=True)

    def moved(kind):
        before, after, items = halves[kind]
        return shares(before, items).sub(shares(after, items), fill_value=0).abs().sum()

    assert moved("seasonal_swing") > 2 * moved("none")


def test_a_taste_shift_leads_from_an_item_to_others(halves):
    def pairs(events):
        views = events[events["event_type"] == "view"].sort_values(["session_id", "timestamp"], kind="stable")
        after = views["item_id"].shift(-1)
        return (views["item_id"] + after)[views["session_id"] == views["session_id"].shift(-1)].value_counts()

    def alike(kind):
        before, after, _ = halves[kind]
        return pd.concat([pairs(before), pairs(after)], axis=1).fillna(0).corr().iloc[0, 1]

    assert alike("taste_shift") < alike("none") - 0.05


def test_a_price_shock_changes_half_of_the_prices(halves):
    ratio = halves["price_shock"][2]["price"] / halves["none"][2]["price"]
    assert 0.35 < (ratio > 2).mean() < 0.65
    assert np.isclose(ratio[ratio < 2], 1).all()


def test_bots_are_the_share_that_was_asked_for(halves):
    before, after, _ = halves["bot_attack"]
    bots = [events.groupby("session_id").size().ge(40).mean() for events in (before, after)]
    assert bots[0] < 0.05
    assert 0.2 < bots[1] < 0.4


def test_a_tracking_bug_loses_items_types_and_sends_twice(halves):
    before, after, _ = halves["tracking_bug"]
    assert before["item_id"].notna().all()
    assert before["event_id"].is_unique
    assert 0.25 < after["item_id"].isna().mean() < 0.35
    assert 0.15 < after["event_id"].duplicated().mean() < 0.3
    assert (after["event_type"] != "view").mean() < 0.85 * (before["event_type"] != "view").mean()


@pytest.mark.parametrize("wrong", [{"kind": "flood"}, {"kind": "bot_attack", "strength": 1.5}, {"strength": -1.0}])
def test_what_is_no_scenario_is_refused(wrong):
    with pytest.raises(InputError, match="scenario"):
        Scenario(**wrong)
