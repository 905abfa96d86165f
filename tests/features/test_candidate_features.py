"""Features are what their names say, see nothing of the future, and are the same from a live state as from the log."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nextclick.events.prefixes import Prefixes, next_clicks
from nextclick.events.session_state import Click, prefixes_of
from nextclick.events.sessions import SessionLog
from nextclick.params import Retrieval
from nextclick.ranking.snapshot import Snapshot

TYPES = ["view", "cart", "purchase"]
PARAMS = Retrieval(dimensions=8, encoder_epochs=1, encoder_min_steps=100, width=25, nearest=10)


@pytest.fixture(scope="module")
def items() -> pd.DataFrame:
    random = np.random.default_rng(5)
    ids = [f"i{n:02d}" for n in range(38)]  # two are not described
    return pd.DataFrame(
        {
            "item_id": ids,
            "category": [f"Home/Room{n % 5}" if n % 9 else None for n in range(38)],
            "price": np.where(random.random(38) < 0.1, np.nan, random.integers(1, 100, 38)),
            "title": [
                f"{random.choice(['red', 'blue'])} {random.choice(['pan', 'pot', 'lid'])} {n}" for n in range(38)
            ],
        }
    )


@pytest.fixture(scope="module")
def snapshot(items, shop_events) -> Snapshot:
    log = SessionLog.from_events(shop_events(300, 0), TYPES)
    return Snapshot.of(log, PARAMS, 1, event_types=TYPES, items=items)


@pytest.fixture(scope="module")
def asked(snapshot, shop_events) -> Prefixes:
    return next_clicks(SessionLog.from_events(shop_events(60, 1), TYPES, snapshot.vocabulary))


def frame(snapshot: Snapshot, prefixes: Prefixes, i: int) -> pd.DataFrame:
    """The features of prediction `i`, one row a candidate."""
    candidates, features = snapshot.features(prefixes.take(slice(i, i + 1)))
    present = candidates.present[0]
    return pd.DataFrame(
        features[0, present].astype(float),
        columns=list(snapshot.feature_names),
        index=snapshot.vocabulary.ids[candidates.items[0, present]],
    )


def test_every_group_is_there_and_no_name_twice(snapshot):
    assert list(snapshot.features_by_group) == [*("retrieval", "item", "session", "time", "event types", "catalogue")]
    assert len(set(snapshot.feature_names)) == len(snapshot.feature_names)


def test_absent_columns_give_fewer_features(shop_events):
    events = shop_events(100, 0).assign(event_type="view")
    log = SessionLog.from_events(events, TYPES)
    plain = Snapshot.of(log, PARAMS, 1, event_types=TYPES, timed=False)
    assert list(plain.features_by_group) == ["retrieval", "item", "session"]
    assert not [name for name in plain.feature_names if "price" in name or "hour" in name or "cart" in name]


def test_a_type_that_was_added_after_the_bundle_changes_no_cell_but_those_of_the_types(snapshot, asked):
    """Else it would be written beside the row: the kernel looks at no bounds."""
    bought = asked.log.types == 2
    assert bought.any()
    later = replace(asked, log=replace(asked.log, types=np.where(bought, 3, asked.log.types).astype(np.int8)))
    (candidates, before), (again, after) = snapshot.features(asked), snapshot.features(later)
    np.testing.assert_array_equal(candidates.items, again.items)
    of_types = np.isin(snapshot.feature_names, snapshot.features_by_group["event types"])
    np.testing.assert_array_equal(before[..., ~of_types], after[..., ~of_types])
    for name in ("purchase_of_it", "purchase_in_session"):
        assert not after[..., snapshot.feature_names.index(name)].any()
    last = snapshot.feature_names.index("last_event_type")
    np.testing.assert_array_equal(after[..., last], np.where(before[..., last] == 2, 0, before[..., last]))


@pytest.mark.ml_test("data-7")
def test_features_of_time_types_and_catalogue_against_plain_python(snapshot, asked, items):
    described = items.set_index("item_id")
    for i in range(0, len(asked), 17):
        start, end = max(asked.starts[i], asked.ends[i] - 30), asked.ends[i]
        log = asked.log
        seen = [
            (str(snapshot.vocabulary.ids[log.items[e]]), TYPES[log.types[e]], int(log.times[e]))
            for e in range(start, end)
        ]
        now = pd.Timestamp(seen[-1][2], unit="ms", tz="UTC")
        category = [described["category"].get(item) for item, _, _ in seen]
        prices = [math.log1p(p) for item, _, _ in seen if not math.isnan(p := described["price"].get(item, math.nan))]
        for item, row in frame(snapshot, asked, i).iterrows():
            own = [place for place, (seen_item, _, _) in enumerate(seen) if seen_item == item]
            dwell = sum(seen[place + 1][2] - seen[place][2] for place in own if place + 1 < len(seen))
            its_category = described["category"].get(item)
            expected = {
                "times_in_session": len(own),
                "clicks_since_in_session": len(seen) - 1 - own[-1] if own else -1,
                "session_clicks": len(seen),
                "session_items": len({seen_item for seen_item, _, _ in seen}),
                "hour": now.hour + now.minute / 60 + (now.second + now.microsecond / 1e6) / 3600,
                "weekday": now.weekday(),
                "session_seconds": math.log1p((seen[-1][2] - seen[0][2]) / 1000),
                "last_gap": math.log1p((seen[-1][2] - seen[-2][2]) / 1000) if len(seen) > 1 else -1,
                "since_in_session": math.log1p((seen[-1][2] - seen[own[-1]][2]) / 1000) if own else -1,
                "dwell": math.log1p(dwell / 1000) if own else -1,
                "last_event_type": TYPES.index(seen[-1][1]),
                "cart_of_it": sum(seen[place][1] == "cart" for place in own),
                "purchase_in_session": sum(kind == "purchase" for _, kind, _ in seen),
                "same_category_last": float(bool(its_category) and category[-1] == its_category),
                "same_category_share": sum(c == its_category for c in category) / len(seen) if its_category else 0,
                "price_to_session": math.log1p(described["price"].get(item, math.nan)) - float(np.mean(prices))
                if prices
                else math.nan,
            }
            for name, value in expected.items():
                assert row[name] == pytest.approx(value, rel=1e-4, abs=1e-4, nan_ok=True), (i, item, name)


@pytest.mark.ml_test("data-4")
def test_what_comes_after_a_prediction_changes_none_of_its_cells(snapshot, asked):
    log = asked.log
    _, before = snapshot.features(asked)
    for i in range(0, len(asked), 29):
        end = asked.ends[i]
        items, types, times = log.items.copy(), log.types.copy(), log.times.copy()
        items[end:], types[end:] = 3, 2
        times[end:] += 10**9
        changed = SessionLog(log.vocabulary, log.offsets, items, types, times, log.session_ids)
        one = Prefixes(changed, asked.sessions, asked.starts, asked.ends).take(slice(i, i + 1))
        np.testing.assert_array_equal(snapshot.features(one)[1][0], before[i])


def test_a_live_state_gives_the_cells_of_the_log(snapshot, asked):
    log = asked.log
    names = log.vocabulary.ids
    states = [
        tuple(
            Click(int(log.times[e]), e, f"{e:06d}", str(names[log.items[e]]), int(log.types[e]))
            for e in range(max(start, end - 30), end)
        )
        for start, end in zip(asked.starts, asked.ends, strict=True)
    ]
    offline_candidates, offline = snapshot.features(asked)
    live_candidates, live = snapshot.features(prefixes_of(states, log.vocabulary))
    np.testing.assert_array_equal(live_candidates.items, offline_candidates.items)
    np.testing.assert_array_equal(live, offline)


def test_a_snapshot_comes_back_from_disk_as_it_went(snapshot, asked, tmp_path):
    snapshot.save(tmp_path)
    loaded = Snapshot.load(tmp_path, PARAMS)
    assert loaded.feature_names == snapshot.feature_names
    np.testing.assert_array_equal(loaded.features(asked)[1], snapshot.features(asked)[1])


def test_rates_of_conversion_are_drawn_to_the_mean_where_views_are_few(snapshot):
    rates = snapshot.knowledge.item_columns["item_cart_rate"]
    views, carts = snapshot.knowledge.statistics.by_type[:2]
    raw = carts / np.maximum(views, 1)
    overall = carts.sum() / views.sum()
    assert (np.abs(rates - overall) <= np.abs(raw - overall) + 1e-6).all()
    assert rates.std() > 0
