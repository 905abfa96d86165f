"""What is a change of the training worth, beyond the chance of the seed and of the sessions that judge?

Rankers of one setting differ from seed to seed, so a difference of two of them is measured over several seeds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

LEVEL = 0.05  # the chance that any interval of those read together misses


class Effect(NamedTuple):
    """A mean difference with its interval, which is NaN where there are fewer than two seeds or sessions."""

    mean: float
    low: float
    high: float


def effect_over_seeds(values: np.ndarray, sessions: np.ndarray, together: int = 1) -> Effect:
    """The mean of `values` over seeds and predictions, with an interval that holds for other seeds and sessions.

    values: (n_seeds, n) the difference that each prediction makes to a pair trained with one seed. sessions: (n,).
    together: how many such intervals are read together: all hold at once in 95 % (Bonferroni).
    Seeds and sessions are two sources of chance, each with a half-width by Student's quantile: of the means of the
    seeds, and of the sessions (delta method, as predictions of one session depend on each other) after averaging over
    seeds. The squares of the two add up (MOVER, Zou and Donner, 2008). A variance of both with Satterthwaite's degrees
    of freedom is narrower, and misses more often than it says: `benchmarks/error_rates --only ablation`.
    """
    by_seed, by_prediction = values.mean(axis=1), values.mean(axis=0)
    mean = float(by_seed.mean())
    indices = np.unique(sessions, return_inverse=True)[1]
    n_seeds, n_sessions = len(by_seed), int(indices.max()) + 1
    if n_seeds < 2 or n_sessions < 2:
        return Effect(mean, np.nan, np.nan)
    level = LEVEL / together / 2
    influence = np.bincount(indices, by_prediction - mean)
    of_sessions = np.sqrt((influence**2).sum() * n_sessions / (n_sessions - 1)) / len(sessions)
    of_seeds = by_seed.std(ddof=1) / np.sqrt(n_seeds)
    half = float(
        np.hypot(student.ppf(1 - level, n_sessions - 1) * of_sessions, student.ppf(1 - level, n_seeds - 1) * of_seeds)
    )
    return Effect(mean, mean - half, mean + half)
