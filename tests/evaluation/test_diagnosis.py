"""The diagnosis finds what it should: a part that carries the answer is missed, one that carries nothing is not."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from nextclick.evaluation.diagnosis import SOURCES, Laboratory, misses
from nextclick.evaluation.group_ndcg import expected_gain, ndcg_of_groups
from nextclick.events.prefixes import next_clicks
from nextclick.events.sessions import SessionLog, Vocabulary
from nextclick.features import candidate_features
from nextclick.features.feature_group import FeatureGroup
from nextclick.params import Diagnosis, Ranker, Retrieval, Run
from nextclick.ranking.ranker import Examples
from nextclick.ranking.snapshot import Snapshot
from nextclick.retrieval.candidates import COLUMNS

SIZE = Diagnosis(groups=400, judged=300, negatives=10, rounds=15, seeds=3)


def random_log(n: int, seed: int) -> SessionLog:
    random = np.random.default_rng(seed)
    return SessionLog(
        Vocabulary(np.array([f"{i:02d}" for i in range(40)])),
        np.arange(0, 4 * n + 1, 4),
        random.integers(0, 40, 4 * n).astype(np.int32),
        np.zeros(4 * n, np.int8),
        np.arange(4 * n),
        np.arange(n).astype(np.str_),
    )


@pytest.fixture
def laboratory(monkeypatch) -> Laboratory:
    """On sessions without any order, but with a group of features that knows the answer and one that is noise."""

    def told(context, out):
        out[:, :, 0] = context.candidates.items == context.prefixes.targets[:, None]

    def noise(context, out):
        out[:, :, 0] = np.random.default_rng(0).random(out.shape[:2])

    planted = (
        FeatureGroup("told", lambda _: ("answer",), told),
        FeatureGroup("noise", lambda _: ("noise",), noise),
    )
    monkeypatch.setattr(candidate_features, "GROUPS", candidate_features.GROUPS + planted)
    snapshot = Snapshot.of(
        random_log(300, 0),
        Retrieval(dimensions=8, encoder_epochs=1, encoder_min_steps=100, width=40, nearest=10),
        1,
        event_types=["view"],
        timed=False,
    )
    ranker = Ranker(max_depth=3, min_child_weight=1)
    return Laboratory(snapshot, next_clicks(random_log(500, 1)), ranker, SIZE, "mrr@20", Run())


def test_only_the_part_that_knows_the_answer_is_missed(laboratory):
    table = laboratory.ablation("hr@1").set_index("without")
    assert set(table.index) == {*SOURCES, *laboratory.snapshot.features_by_group}
    assert table.loc["told", "low"] > 0.5
    assert table.drop("told")["low"].max() < 0.05
    assert (table["low"] <= table["lost"]).all()
    assert (table["lost"] <= table["high"]).all()
    assert table.loc["told", "hr@1 low"] > 0.5
    assert table.drop("told")["hr@1 low"].max() < 0.05


def test_shap_names_the_feature_that_knows_the_answer(laboratory):
    assert laboratory.contributions(laboratory.fit(laboratory.examples[0])).index[0] == "answer"


def test_curves_and_transfer_have_a_row_for_each_case(laboratory):
    for curve, axis in (
        (laboratory.learning_curve((0.5, 1.0)), "examples"),
        (laboratory.capacity_curve((1, 3)), "max_depth"),
    ):
        assert curve[axis].is_monotonic_increasing
        assert curve["step"][1] == pytest.approx(curve["held out"][1] - curve["held out"][0])
        assert curve["low"][1] <= curve["step"][1] <= curve["high"][1]
        assert curve[["step", "low", "high"]].iloc[0].isna().all()
    negatives = laboratory.imbalance((2, 10))
    assert negatives["step"][1] == pytest.approx(negatives["mrr@20"].diff()[1])
    labels = [np.where(part.lengths > 1, "long", "short") for part in (laboratory.training, laboratory.evaluation)]
    table, better = laboratory.transfer(*labels)
    assert better.low <= better.mean <= better.high
    assert table.index.tolist() == table.columns.tolist() == ["long", "short"]
    assert table.notna().all(axis=None)


def test_judged_ranks_are_those_of_a_plain_sort(laboratory):
    predictions = laboratory.predictions
    scores = np.random.default_rng(3).random(predictions.present.sum()).astype(np.float32)
    ranks = predictions.ranks(lambda rows: scores)
    padded = np.full(predictions.present.shape, -1.0)
    padded[predictions.present] = scores
    for i in range(len(ranks)):
        hit = np.flatnonzero(predictions.hits[i])
        expected = 1 + (padded[i] > padded[i, hit[0]]).sum() if len(hit) else 0
        assert ranks[i] == expected


def test_every_source_column_belongs_to_one_source():
    assert sorted(name for names in SOURCES.values() for name in names) == sorted(COLUMNS)


def test_misses_are_told_apart():
    hits = np.array([[True, False], [True, False], [False, False], [False, False]])
    found = misses(np.array([1, 30, 0, 0]), hits, np.array([True, True, True, False]), 20)
    expected = ["in the first 20", "ranked too low", "no candidate", "never seen in training"]
    pd.testing.assert_series_equal(found.sort_index(), pd.Series(0.25, sorted(expected)), check_names=False)


def test_who_scores_all_alike_is_worth_a_random_order():
    random = np.random.default_rng(0)
    orders = random.permuted(np.tile(np.arange(30), (20_000, 1)), axis=1)[:, 0]  # the positive's place
    by_order = np.where(orders < 20, 1 / np.log2(orders + 2), 0).mean()
    assert expected_gain(np.array([0]), np.array([30]))[0] == pytest.approx(by_order, abs=0.01)
    assert by_order < 0.4  # the planted bug, ties that the positive wins, makes it 1
    alone = expected_gain(np.array([0, 3, 19, 20]), np.ones(4, int))
    assert alone == pytest.approx([1, 1 / np.log2(5), 1 / np.log2(21), 0])


def test_a_group_is_worth_as_much_in_any_order_of_its_rows():
    """Groups hold their positive first, which a sort by score must not turn into a gain."""
    random = np.random.default_rng(1)
    groups = random.integers(1, 30, 500)
    scores = random.integers(0, 3, groups.sum()).astype(np.float32)  # as few values as a tree of depth 1 has
    first = np.cumsum(groups) - groups
    examples = Examples(scores[:, None], np.isin(np.arange(len(scores)), first), groups, 1.0, ("score",))
    ranker = SimpleNamespace(inplace_predict=lambda rows: rows[:, 0])
    shuffled = []
    for _ in range(300):
        drawn = random.random(len(scores))
        ahead = (scores > np.repeat(scores[first], groups)) | (
            (scores == np.repeat(scores[first], groups)) & (drawn < np.repeat(drawn[first], groups))
        )
        places = np.add.reduceat(ahead, first)
        shuffled.append(np.where(places < 20, 1 / np.log2(places + 2), 0).mean())
    error = np.std(shuffled) / np.sqrt(len(shuffled))
    assert ndcg_of_groups(ranker, examples).mean() == pytest.approx(np.mean(shuffled), abs=5 * error)
    better = np.add.reduceat(scores > np.repeat(scores[first], groups), first)
    planted = np.where(better < 20, 1 / np.log2(better + 2), 0).mean()  # ties that the positive wins
    assert planted > np.mean(shuffled) + 50 * error
