"""Metrics against independent computations, and intervals that know that clicks of a session go together."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import ndcg_score

from nextclick.evaluation.metrics import (
    catalogue_coverage,
    click_probability,
    per_prediction,
    popularity_bias,
    ranks_of,
)
from nextclick.evaluation.statistics.bootstrap import bootstrap_interval, ratio_interval


def test_metrics_equal_an_independent_computation():
    random = np.random.default_rng(0)
    lists = np.array([random.permutation(30)[:10] for _ in range(200)])
    targets = random.integers(0, 30, 200)
    values = per_prediction(ranks_of(lists, targets), 10)
    places = [list(row).index(t) + 1 if t in row else None for row, t in zip(lists, targets, strict=True)]
    assert values["hr@10"].tolist() == [float(p is not None) for p in places]
    assert values["mrr@10"].tolist() == [0.0 if p is None else 1 / p for p in places]
    np.testing.assert_allclose(values["precision@10"], values["hr@10"] / 10)
    relevant = np.eye(30)[targets]
    scores = np.zeros((200, 30))
    np.put_along_axis(scores, lists, np.arange(10, 0, -1)[None, :].repeat(200, axis=0), axis=1)
    # scikit-learn shares the gain of ties, so items outside the list are cut off by its k
    inside = values["hr@10"] > 0
    assert values["ndcg@10"][inside].mean() == pytest.approx(ndcg_score(relevant[inside], scores[inside], k=10))
    assert not values["ndcg@10"][~inside].any()


def test_rank_is_the_place_in_the_list_and_an_unknown_item_is_never_found():
    lists = np.array([[3, 1, 2], [3, -1, -1], [5, 4, -1]])
    assert ranks_of(lists, np.array([2, -1, 9])).tolist() == [3, 0, 0]


def test_interval_agrees_with_scipy_where_each_session_has_one_prediction():
    values = np.random.default_rng(0).exponential(size=400)
    ours = bootstrap_interval(values, np.arange(400), seed=1)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", rng=2).confidence_interval
    np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_interval_is_wider_where_the_predictions_of_a_session_go_together():
    values = np.repeat(np.random.default_rng(0).exponential(size=100), 10)
    together = bootstrap_interval(values, np.repeat(np.arange(100), 10), seed=1)
    apart = bootstrap_interval(values, np.arange(1000), seed=1)
    assert together[1] - together[0] > 2 * (apart[1] - apart[0])


def test_a_ratio_of_a_system_to_itself_is_one_and_to_a_worse_one_is_above():
    random = np.random.default_rng(0)
    good, sessions = random.random(500), np.repeat(np.arange(100), 5)
    assert ratio_interval(good, good, sessions, 0) == [1.0, 1.0]
    assert ratio_interval(good, good * random.uniform(0.7, 0.9, 500), sessions, 0)[0] > 1.1


def test_coverage_and_popularity_bias():
    lists = np.array([[0, 1], [1, -1]])
    assert catalogue_coverage(lists, 10) == 0.2
    clicks = np.array([1, 9, 1, 1, 1, 1, 1, 1, 1, 1])
    assert popularity_bias(lists, clicks) == pytest.approx(2 / 3)


def test_a_calibrated_probability_has_a_small_calibration_error():
    random = np.random.default_rng(0)
    probabilities = random.random(20_000)
    labels = (random.random(20_000) < probabilities).astype(float)
    good, bad = click_probability(labels, probabilities), click_probability(labels, probabilities**3)
    assert good["calibration_error"] < 0.02 < 0.1 < bad["calibration_error"]
    assert good["roc_auc"] == pytest.approx(bad["roc_auc"])
    assert good["brier"] < bad["brier"]
