"""What everything that recommends holds to: recommender, baselines and backends inherit the same tests."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nextclick.events.prefixes import Prefixes, next_clicks
from nextclick.events.session_state import EMPTY, Click, prefixes_of
from nextclick.events.sessions import SessionLog
from nextclick.params import Params, Ranker, Retrieval
from nextclick.ranking.recommender import Recommender, train_recommender

TYPES = ["view", "cart", "purchase"]
PARAMS = Params(
    retrieval=Retrieval(dimensions=8, encoder_epochs=1, encoder_min_steps=100, width=30, nearest=10),
    ranker=Ranker(rounds=10, max_depth=3, min_child_weight=1, negatives=10),
)
K = 5
Recommend = Callable[[Prefixes, int], np.ndarray]


def learned_log(shop_events: Callable[[int, int], pd.DataFrame]) -> SessionLog:
    return SessionLog.from_events(shop_events(300, 3), TYPES)


def trained(shop_events: Callable[[int, int], pd.DataFrame]) -> Recommender:
    return train_recommender(learned_log(shop_events), PARAMS, event_types=TYPES)[0]


class RecommenderContract:
    """Subclasses have a fixture `recommend`, (prefixes, k) -> (n, k), of what learned from `learned_log`."""

    @pytest.fixture(scope="class")
    @classmethod
    def log(cls, shop_events) -> SessionLog:
        return learned_log(shop_events)

    @pytest.fixture(scope="class")
    @classmethod
    def prefixes(cls, shop_events, log) -> Prefixes:
        """Some hold items that nobody learned from."""
        events = shop_events(40, 4)
        events.loc[::7, "item_id"] = "unknown"
        return next_clicks(SessionLog.from_events(events, TYPES, log.vocabulary))

    def test_a_row_a_prediction_of_different_items_and_nothing_behind_the_last(self, recommend, prefixes, log):
        items = recommend(prefixes, K)
        assert items.shape == (len(prefixes), K)
        assert items.dtype == np.int32
        for row in items.tolist():
            shown = [item for item in row if item >= 0]
            assert row == shown + [-1] * (K - len(shown))
            assert len(set(shown)) == len(shown)
            assert all(item < len(log.vocabulary) for item in shown)

    def test_the_same_prediction_gets_the_same_items_every_time_alone_or_not(self, recommend, prefixes):
        items = recommend(prefixes, K)
        np.testing.assert_array_equal(recommend(prefixes, K), items)
        order = np.random.default_rng(0).permutation(len(prefixes))
        np.testing.assert_array_equal(recommend(prefixes.take(order), K), items[order])
        for i in range(0, len(prefixes), 25):
            np.testing.assert_array_equal(recommend(prefixes.take(slice(i, i + 1)), K), items[i : i + 1])

    def test_fewer_are_the_first_of_more(self, recommend, prefixes):
        np.testing.assert_array_equal(recommend(prefixes, K)[:, :2], recommend(prefixes, 2))

    def test_more_than_there_are_items_leaves_the_rest_empty(self, recommend, prefixes, log):
        items = recommend(prefixes, len(log.vocabulary) + 3)
        assert items.shape == (len(prefixes), len(log.vocabulary) + 3)
        assert (items[:, -3:] == -1).all()

    def test_what_comes_after_a_prediction_changes_nothing(self, recommend, prefixes):
        first = prefixes.take(np.flatnonzero(prefixes.lengths == 1))
        later = np.ones(prefixes.log.n_events, bool)
        later[first.ends - 1] = False
        changed = replace(first, log=replace(first.log, items=np.where(later, np.int32(0), first.log.items)))
        np.testing.assert_array_equal(recommend(changed, K), recommend(first, K))

    def test_a_session_of_which_nothing_is_known_is_answered(self, recommend, log):
        stranger = (Click(1_767_700_000_000, 0, "e", "unknown", 0),)
        items = recommend(prefixes_of([EMPTY, stranger], log.vocabulary), K)
        assert items.shape == (2, K)
        assert ((items >= -1) & (items < len(log.vocabulary))).all()
        assert recommend(prefixes_of([EMPTY], log.vocabulary), K).shape == (1, K)

    def test_no_prediction_gives_no_row(self, recommend, prefixes):
        assert recommend(prefixes.take(slice(0, 0)), K).shape == (0, K)
