"""The recommender learns, sees nothing of the future, and gives the same answer for a batch and for one."""

from dataclasses import replace

import numpy as np
import pytest

from nextclick.events.prefixes import next_clicks
from nextclick.events.sessions import SessionLog, Vocabulary
from nextclick.params import Features, Params, Ranker, Retrieval
from nextclick.ranking.recommender import Recommender, example_snapshot, train_recommender, training_examples

PARAMS = Params(
    retrieval=Retrieval(dimensions=8, encoder_epochs=2, encoder_min_steps=100, width=30, nearest=10),
    ranker=Ranker(rounds=20, max_depth=3, negatives=10, min_child_weight=1),
)


def chain_log(n_sessions: int, seed: int) -> SessionLog:
    """Sessions that walk along a ring of 50 items, one step ahead nine times in ten."""
    random = np.random.default_rng(seed)
    steps = np.where(random.random((n_sessions, 5)) < 0.9, 1, random.integers(0, 50, (n_sessions, 5)))
    items = (np.cumsum(steps, axis=1) + random.integers(0, 50, (n_sessions, 1))) % 50
    return SessionLog(
        Vocabulary(np.array([f"{i:02d}" for i in range(50)])),
        np.arange(0, 5 * n_sessions + 1, 5),
        items.ravel().astype(np.int32),
        np.zeros(5 * n_sessions, np.int8),
        np.arange(5 * n_sessions),
        np.arange(n_sessions).astype(np.str_),
    )


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    return train_recommender(chain_log(800, 0), PARAMS, event_types=["view"])[0]


@pytest.mark.ml_test("infra-2")
def test_the_step_ahead_is_recommended_first(recommender):
    prefixes = next_clicks(chain_log(100, 1))
    first = recommender.recommend(prefixes, 3)[:, 0]
    ahead = (prefixes.log.items[prefixes.ends - 1] + 1) % 50
    assert np.mean(first == ahead) > 0.95


def test_training_again_gives_the_same_model(recommender):
    again = train_recommender(chain_log(800, 0), PARAMS, event_types=["view"])[0]
    assert again.ranker.save_raw("ubj") == recommender.ranker.save_raw("ubj")


def test_lists_do_not_depend_on_the_order_of_the_predictions(recommender):
    """Longer prefixes of the same session must not reveal what comes next in shorter ones."""
    prefixes = next_clicks(chain_log(60, 2))
    order = np.random.default_rng(0).permutation(len(prefixes))
    np.testing.assert_array_equal(
        recommender.recommend(prefixes, 20)[order], recommender.recommend(prefixes.take(order), 20)
    )


def test_what_comes_after_a_prediction_changes_nothing(recommender):
    log = chain_log(60, 3)
    prefixes = next_clicks(log)
    asked = prefixes.take(np.flatnonzero(prefixes.lengths == 2))
    _, before = recommender.snapshot.features(asked)
    future = log.items.copy()
    future.reshape(-1, 5)[:, 2:] = 7
    changed = SessionLog(log.vocabulary, log.offsets, future, log.types, log.times, log.session_ids)
    _, after = recommender.snapshot.features(type(asked)(changed, asked.sessions, asked.starts, asked.ends))
    np.testing.assert_array_equal(before, after)


def test_examples_hold_one_positive_a_group_and_no_empty_candidate(recommender):
    prefixes = next_clicks(chain_log(60, 4))
    examples = training_examples(recommender.snapshot, prefixes, negatives=5, seed=0)
    ends = np.cumsum(examples.groups)
    assert examples.features.shape == (ends[-1], len(recommender.snapshot.feature_names))
    assert (np.add.reduceat(examples.labels, ends - examples.groups) == 1).all()
    assert examples.groups.max() <= 6
    assert 0.9 < examples.recall <= 1
    # every candidate is known by its fused rank or by the encoder; an empty place would be zero throughout
    assert np.any(examples.features != 0, axis=1).all()


def test_a_session_of_unknown_items_and_an_unknown_target_are_answered(recommender):
    log = chain_log(2, 5)
    items = log.items.copy()
    items[:] = -1
    unknown = SessionLog(log.vocabulary, log.offsets, items, log.types, log.times, log.session_ids)
    lists = recommender.recommend(next_clicks(unknown), 5)
    assert lists.shape == (8, 5)
    assert all(len(set(row)) == 5 for row in lists.tolist())


def test_statistics_are_published_only_while_examples_are_made():
    """A version costs memory and time: none may be made for times long before the first prediction."""
    log = chain_log(800, 0)
    log = replace(log, times=1_767_225_600_000 + 60_000 * log.times)  # an event a minute from 2026-01-01 on
    features = Features(item_stats_every=6)
    snapshot, prefixes = example_snapshot(log, PARAMS.retrieval, PARAMS.ranker, features, 0, event_types=["view"])
    published = snapshot.knowledge.history.published_at
    assert published[0] <= prefixes.predicted_at.min() < published[1]
    assert published[-1] <= prefixes.predicted_at.max() < published[-1] + 6 * 3_600_000
