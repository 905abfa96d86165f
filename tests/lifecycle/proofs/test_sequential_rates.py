"""Whoever looks at a split or a watch all the time is told what is not so at most as often as alpha says, also where
few sessions hit, few get the challenger, and a few are long; and rules with a bug are found out.

`python benchmarks/error_rates` has 2,000 trials of more sessions, and how long it takes to find what is there.
"""

import sys

import numpy as np
import pytest
from scipy.stats import binom, chisquare

from nextclick.evaluation.statistics import anytime
from nextclick.evaluation.statistics.anytime import SessionMean, betting_interval
from nextclick.lifecycle import experiment

from ..conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks/error_rates"))
import split_rates
import watch_rates
from rate import TASTES, heavy_tailed

TRIALS, SESSIONS = 80, 4000


def most(nominal: float, trials: int = TRIALS) -> int:
    """As many errors of so many trials as a rule that keeps its promise exceeds once in a hundred times."""
    return int(binom.ppf(0.99, trials, nominal))


def false_verdicts(share: float, taste: str) -> tuple[int, int]:
    differ, void = split_rates.false_rates(share, taste, TRIALS, 1, SESSIONS)
    return differ.errors, void.errors


@pytest.mark.parametrize("taste", TASTES)
@pytest.mark.parametrize("share", split_rates.SESSIONS)
def test_a_split_of_two_that_are_the_same_is_seldom_called_anything_else(share, taste):
    differ, void = false_verdicts(share, taste)
    assert differ <= most(split_rates.ALPHA)
    assert void <= most(split_rates.MIN_RATIO_P)


def test_verdicts_on_a_handful_of_hits_are_found_out(monkeypatch):
    monkeypatch.setattr(anytime, "MIN_HITS", 1)  # the planted bug: 20 sessions of a small arm say enough
    assert false_verdicts(0.01, "27 %")[0] > most(split_rates.ALPHA)


def test_the_test_of_a_single_look_at_the_shares_is_found_out(monkeypatch):
    def planted(champion: int, challenger: int, share: float) -> float:
        total = champion + challenger
        return float(chisquare([champion, challenger], [total * (1 - share), total * share]).pvalue)

    monkeypatch.setattr(split_rates, "sample_ratio_p", planted)
    assert false_verdicts(0.5, "27 %")[1] > most(split_rates.MIN_RATIO_P)


def better_is_worse(taste: str) -> int:
    return split_rates.called_worse(0.1, taste, TRIALS, 1, SESSIONS).errors


@pytest.mark.parametrize("taste", TASTES)
def test_a_challenger_that_hits_more_seldom_and_is_better_is_not_called_worse(taste):
    assert better_is_worse(taste) <= most(split_rates.ALPHA)


def test_fewer_hits_that_are_taken_for_a_lower_metric_are_found_out(monkeypatch):
    monkeypatch.setattr(experiment, "FEWER_HITS", 1.0)
    assert better_is_worse("27 %") > most(split_rates.ALPHA)


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_a_challenger_that_never_hits_is_worse_and_one_that_is_much_better_is_better(share):
    never, *_ = split_rates.power(-1.0, share, SESSIONS, 10, 0)
    assert never.errors == 10
    better, *_ = split_rates.power(1.0, share, 8 * SESSIONS, 10, 0)
    assert better.errors == 10


def test_the_means_of_many_looks_are_those_of_each():
    random = np.random.default_rng(0)
    sums, counts = heavy_tailed(500, TASTES["27 %"], random)
    chosen = random.random(500) < 0.3
    looks = np.array([20, 100, 500])
    for n, mean in zip(looks, split_rates.means_of(sums, counts, chosen)(looks), strict=True):
        assert mean == pytest.approx(SessionMean.of(sums[:n][chosen[:n]], counts[:n][chosen[:n]]))


def false_rollbacks(taste: str) -> int:
    return len(watch_rates.rolled_back(taste, 1.0, TRIALS, 1, SESSIONS))


@pytest.mark.parametrize("taste", TASTES)
def test_a_promise_that_is_kept_is_seldom_taken_for_broken(taste):
    assert false_rollbacks(taste) <= most(watch_rates.ALPHA)


@pytest.mark.parametrize("taste", TASTES)
def test_a_model_that_hits_nothing_is_rolled_back_in_any_case(taste):
    assert len(watch_rates.rolled_back(taste, 0.0, 10, 0, SESSIONS)) == 10


def test_the_test_of_a_single_look_at_the_promise_is_found_out(monkeypatch):
    def planted(excess: np.ndarray) -> np.ndarray:
        n = np.arange(1, len(excess) + 1)
        z = -excess.cumsum() / np.sqrt(np.maximum((excess**2).cumsum(), 1e-12))
        return np.where((n >= 200) & (z > 1.96), np.inf, 0)

    monkeypatch.setattr(watch_rates, "betting_evidence", planted)
    assert false_rollbacks("27 %") > most(watch_rates.ALPHA)


def test_the_interval_of_the_watch_ends_where_the_evidence_against_a_value_is_enough():
    sums, counts = heavy_tailed(600, TASTES["27 %"], np.random.default_rng(2), watch_rates.MOST)
    low, high = betting_interval(sums, counts, watch_rates.MOST, 2 * watch_rates.ALPHA)
    assert low < sums.sum() / counts.sum() < high
    for value, told in ((high + 0.001, True), (high - 0.001, False)):
        evidence = anytime.betting_evidence((sums - value * counts) / watch_rates.MOST)[-1]
        assert (evidence > np.log(1 / watch_rates.ALPHA)) == told
    assert betting_interval(np.empty(0), np.empty(0), watch_rates.MOST, 0.05) == [0, 1]
