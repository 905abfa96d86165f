"""A ranker is not called better than itself with another seed."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from nextclick.evaluation.statistics.seeds import LEVEL, effect_over_seeds


def drawn(random: np.random.Generator, effect: float, of_seed: float, seeds: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Differences (seeds, n) that a seed moves as a whole and for each session, and their sessions, of 1 to 6 each."""
    sizes = random.integers(1, 7, 150)
    sessions = np.repeat(np.arange(len(sizes)), sizes)
    by_session = random.normal(effect, 0.1, len(sizes)) + random.normal(0, 0.1, (seeds, len(sizes)))
    noise = random.normal(0, 0.1, (seeds, len(sessions)))
    return by_session[:, sessions] + random.normal(0, of_seed, (seeds, 1)) + noise, sessions


def misses(of_seed: float, together: int = 1, trials: int = 400) -> int:
    random, found = np.random.default_rng(0), 0
    for _ in range(trials):
        low, high = effect_over_seeds(*drawn(random, 0.0, of_seed), together)[1:]
        found += low > 0 or high < 0
    return found


@pytest.mark.parametrize("of_seed", [0.0, 0.01, 0.1])
def test_the_interval_misses_no_more_often_than_it_says(of_seed):
    found = misses(of_seed)
    assert binomtest(found, 400, LEVEL, alternative="greater").pvalue > 0.01


def test_intervals_that_are_read_together_miss_less_often_each():
    assert misses(0.03, together=10) <= misses(0.03) / 2


def test_the_planted_interval_of_one_seed_misses_far_too_often():
    """As the ablation judged before: one seed, and the chance of the sessions alone."""
    random, found = np.random.default_rng(0), 0
    for _ in range(400):
        values, sessions = drawn(random, 0.0, 0.03, seeds=1)
        sums = np.bincount(sessions, values[0])
        found += abs(sums.sum()) > norm.ppf(1 - LEVEL / 2) * np.sqrt((sums**2).sum())
    assert binomtest(found, 400, LEVEL, alternative="greater").pvalue < 1e-6


def test_a_difference_that_is_there_is_found():
    random = np.random.default_rng(0)
    assert all(effect_over_seeds(*drawn(random, 0.1, 0.01), together=10).low > 0 for _ in range(50))


def test_one_seed_bears_no_interval():
    values, sessions = drawn(np.random.default_rng(0), 0.1, 0.01, seeds=1)
    found = effect_over_seeds(values, sessions)
    assert np.isfinite(found.mean)
    assert np.isnan(found.low)
    assert np.isnan(found.high)
