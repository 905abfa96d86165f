"""Baselines equal a plain reading of their papers on small logs, and leave no item out."""

from math import exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextclick.evaluation.baselines import BASELINES, STAN, VSKNN, ItemKNN, OwnItems, SequentialRules
from nextclick.events.prefixes import next_clicks
from nextclick.events.sessions import SessionLog, Vocabulary
from nextclick.units import MS_PER_DAY

N_ITEMS = 7
session_lists = st.lists(st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=6), min_size=1, max_size=10)


def log_of(sessions: list[list[int]]) -> SessionLog:
    n = sum(map(len, sessions))
    return SessionLog(
        Vocabulary(np.array([str(i) for i in range(N_ITEMS)])),
        np.cumsum([0, *map(len, sessions)]),
        np.concatenate(sessions).astype(np.int32),
        np.zeros(n, np.int8),
        np.arange(n) * MS_PER_DAY,
        np.arange(len(sessions)).astype(np.str_),
    )


def plain_votes(train: SessionLog, clicks: list[int], now: int, method: VSKNN | STAN) -> dict[int, float]:
    _, _, position, age, near = method.settings
    past = [train.items[train.offsets[s] : train.offsets[s + 1]].tolist() for s in range(train.n_sessions)]
    newest = {item: len(clicks) - 1 - clicks[::-1].index(item) for item in set(clicks)}
    votes: dict[int, float] = {}
    for s, held in enumerate(past):
        common = set(held) & set(newest)
        if not common:
            continue
        n = len(clicks)
        weight = {i: exp((newest[i] - n + 1) / position) if position else (newest[i] + 1) / n for i in common}
        value = sum(weight.values()) / sqrt(len(held))
        if position:
            value *= exp(-max(0, now - int(train.ends[s])) / age)
        match = max(common, key=lambda i: newest[i])
        place = len(held) - 1 - held[::-1].index(match)
        for p, item in enumerate(held):
            if near:
                vote = value * exp(-abs(p - place) / near)
            else:
                count = sum(other.count(item) for other in past)
                vote = value / (n - newest[match]) * log(len(past) / count)
            votes[item] = votes.get(item, 0.0) + vote
    return votes


@pytest.mark.parametrize("method", [VSKNN, STAN])
@settings(max_examples=60, deadline=None)
@given(train=session_lists, clicks=st.lists(st.integers(0, N_ITEMS - 1), min_size=2, max_size=6))
def test_neighbours_vote_as_in_the_paper(method, train, clicks):
    known = log_of(train)
    baseline = method().fit(known)
    asked = next_clicks(log_of([clicks]))
    lists = baseline.recommend(asked, N_ITEMS)
    for i, end in enumerate(asked.ends):
        votes = plain_votes(known, clicks[: asked.lengths[i]], int(asked.log.times[end - 1]), baseline)
        row = [item for item in lists[i].tolist() if item >= 0]
        assert set(row) == set(votes)
        assert [votes[item] for item in row] == pytest.approx(sorted(votes.values(), reverse=True), abs=1e-9)


def test_sequential_rules_weigh_by_distance():
    rules = SequentialRules(steps=2).fit(log_of([[0, 1, 2, 3], [0, 2]]))
    assert rules.matrix_.toarray()[0].tolist() == [0, 1, 1.5, 0, 0, 0, 0]


def test_item_knn_is_a_damped_cosine_of_sessions():
    matrix = ItemKNN(damping=1).fit(log_of([[0, 1], [0, 1, 1], [0, 2]])).matrix_.toarray()
    assert matrix[0, 1] == pytest.approx(2 / sqrt((3 + 1) * (2 + 1)))
    assert matrix[0, 0] == 0


def test_own_items_come_by_count_then_newest_first_then_popular():
    own = OwnItems().fit(log_of([[5, 5, 6]]))
    asked = next_clicks(log_of([[1, 2, 1, 3, 0]])).take(np.array([3]))
    assert own.recommend(asked, 5)[0].tolist() == [1, 3, 2, 5, 6]


@pytest.mark.parametrize("name", BASELINES)
def test_batch_equals_one_by_one_and_no_item_twice(name):
    random = np.random.default_rng(0)
    baseline = BASELINES[name]().fit(log_of([random.integers(0, N_ITEMS, 5).tolist() for _ in range(40)]))
    asked = next_clicks(log_of([random.integers(0, N_ITEMS, 5).tolist() for _ in range(10)]))
    lists = baseline.recommend(asked, 5)
    for i in range(len(asked)):
        np.testing.assert_array_equal(baseline.recommend(asked.take(slice(i, i + 1)), 5)[0], lists[i])
        known = lists[i][lists[i] >= 0]
        assert len(set(known)) == len(known)
