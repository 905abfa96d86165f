"""The simulated shop behaves as it says, and nobody beats its oracle."""

import numpy as np
import pandas as pd
import pytest

from nextclick.events.simulator import simulate
from nextclick.events.simulator.walk import Seen, next_item, rank_of
from nextclick.events.simulator.world import build_world
from nextclick.params import Simulator

SMALL = Simulator(sessions=1500, items=150, users=200, days=7, launches=0.3, bots=0.01)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    simulate(SMALL, 7, folder)
    return folder, *(pd.read_parquet(folder / f"{name}.parquet") for name in ("events", "items", "oracle"))


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(shop, tmp_path):
    simulate(SMALL, 7, tmp_path / "again")
    simulate(SMALL, 8, tmp_path / "other")
    for name in ("events", "items", "oracle"):
        written = (shop[0] / f"{name}.parquet").read_bytes()
        assert written == (tmp_path / "again" / f"{name}.parquet").read_bytes()
        assert written != (tmp_path / "other" / f"{name}.parquet").read_bytes()


def test_sizes_and_order(shop):
    _, events, items, _ = shop
    assert events["session_id"].nunique() == SMALL.sessions
    assert len(items) == SMALL.items
    assert events["event_id"].is_unique
    assert events["timestamp"].is_monotonic_increasing


def test_a_cart_follows_a_view_and_a_purchase_a_cart(shop):
    events = shop[1].sort_values(["session_id", "timestamp", "event_id"])
    for before, after in (("view", "cart"), ("cart", "purchase")):
        keys = ["session_id", "item_id"]
        first = events[events["event_type"] == before].groupby(keys)["timestamp"].min()
        later = events[events["event_type"] == after].groupby(keys)["timestamp"].min()
        assert len(later) > 20
        assert (first.reindex(later.index) <= later).all()


def test_no_item_is_seen_before_the_day_of_its_launch(shop):
    _, events, items, _ = shop
    first = events.groupby("item_id")["timestamp"].min()
    launched = items.set_index("item_id")["launched"].reindex(first.index)
    assert (first >= launched).all()
    assert (launched > events["timestamp"].min()).sum() > 5


def test_few_items_get_most_views_and_the_evening_is_busy(shop):
    events = shop[1]
    counts = events["item_id"].value_counts()
    assert counts.iloc[: len(counts) // 10].sum() > 0.25 * len(events)
    hours = events["timestamp"].dt.hour.value_counts()
    assert hours[20] > 3 * hours[4]


def test_the_mixture_is_a_distribution_and_its_ranks_are_a_permutation():
    world = build_world(SMALL, np.random.default_rng(0))
    p = np.empty(SMALL.items)
    popularity = world.popularity(3)
    for seen in ([], [4], [4, 9, 4]):
        interest = np.full(len(seen), 0.5)
        next_item(world.shop, popularity, 5, 2, 1, 0.2, Seen(np.array(seen, np.int32), interest), False, p)
        assert p.sum() == pytest.approx(1)
        assert sorted(rank_of(p, i) for i in range(len(p))) == list(range(1, len(p) + 1))
        if not seen:
            assert not p[popularity == 0].any()


def test_the_oracle_is_as_good_as_it_says():
    """Drawn from the mixture, an item stands in the top k as often as the top k has mass."""
    random = np.random.default_rng(1)
    world = build_world(SMALL, random)
    p = np.empty(SMALL.items)
    seen = Seen(np.array([4, 9], np.int32), np.full(2, 0.5))
    next_item(world.shop, world.popularity(3), 5, 2, 1, 0.2, seen, False, p)
    ranks = np.array([rank_of(p, i) for i in range(len(p))])
    drawn = ranks[random.choice(len(p), 20_000, p=p / p.sum())]
    for k in (1, 5, 20):
        assert (drawn <= k).mean() == pytest.approx(p[ranks <= k].sum(), abs=0.015)


def test_neither_popularity_nor_transitions_beat_the_oracle(shop):
    _, events, _, oracle = shop
    views = events[events["event_type"] == "view"].sort_values(["session_id", "timestamp", "event_id"])
    views["last"] = views.groupby("session_id")["item_id"].shift()
    steps = views.dropna(subset=["last"]).merge(oracle, on="event_id")
    held_out = steps["session_id"].str[-1] == "0"
    train, test = steps[~held_out], steps[held_out]
    popular = train["item_id"].value_counts().index[:10]
    following = train.groupby("last")["item_id"].agg(lambda items: set(items.value_counts().index[:10]))
    by_transition = [item in following.get(last, ()) for last, item in zip(test["last"], test["item_id"], strict=True)]
    best = (test["rank"] <= 10).mean()
    assert test["item_id"].isin(popular).mean() < np.mean(by_transition) < best
