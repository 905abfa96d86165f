"""How often the same ranker with other seeds is called better or worse than itself, as an ablation would."""

from __future__ import annotations

import numpy as np
from rate import TASTES, Rate

from nextclick.evaluation.statistics.seeds import LEVEL, effect_over_seeds
from nextclick.params import Diagnosis
from nextclick.progress import progress_bar

SESSIONS = 800  # of some 2,500 predictions, as in 05
PARTS = 10
HIT_WORTH = 0.65  # on average, as a hit is worth 0.3 to 1


def differences(
    n: int, taste: tuple[float, float], of_seed: float, effect: float, seeds: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Differences (seeds, predictions) of two rankers, and the session of each.

    A tenth of the predictions change between two seeds; the whole ranker moves with a seed by `of_seed` of the metric,
    as does its taste for one session.
    effect: the true difference, as a share of the metric.
    """
    counts = np.minimum(1 + np.floor(random.pareto(1.2, n) * 2), 50).astype(int)
    sessions = np.repeat(np.arange(n), counts)
    hits = random.random((2, seeds, len(sessions))) < random.beta(*taste, n)[sessions]
    changed = random.random((seeds, len(sessions))) < 0.1
    base = HIT_WORTH * taste[0] / sum(taste)
    values = np.where(changed, (hits[0].astype(float) - hits[1]) * random.uniform(0.3, 1, changed.shape), 0.0)
    by_session = random.normal(0, of_seed * base, (seeds, n))[:, sessions]
    return values + by_session + base * random.normal(effect, of_seed, (seeds, 1)), sessions


def called(effect: float, taste: str, of_seed: float, together: int, trials: int, seed: int) -> int:
    """In how many trials a part, or one of PARTS where all are read together, has an interval beside zero."""
    random, found = np.random.default_rng(seed), 0
    for _ in progress_bar(range(trials), desc=f"ablation, {taste}, {of_seed:.0%}", unit="trial"):
        for _ in range(together):
            drawn = differences(SESSIONS, TASTES[taste], of_seed, effect, Diagnosis().seeds, random)
            _, low, high = effect_over_seeds(*drawn, together)
            if low > 0 or high < 0:
                found += 1
                break
    return found


def rates(trials: int, seed: int) -> list[Rate]:
    found, seeds = [], Diagnosis().seeds
    for taste in TASTES:
        for of_seed in (0.0, 0.01, 0.03):
            case = f"hits {taste}, {SESSIONS} sessions, {seeds} seeds that move the metric by {of_seed:.0%}"
            alone = called(0.0, taste, of_seed, 1, trials, seed)
            found.append(Rate("ablation: the same ranker differs", case, LEVEL, alone, trials))
            several = called(0.0, taste, of_seed, PARTS, trials, seed + 1)
            found.append(Rate(f"ablation: one of {PARTS} parts that are worth nothing", case, LEVEL, several, trials))
        for effect in (0.05, 0.1):
            few = max(10, trials // 5)
            case = f"a part worth {effect:.0%}, hits {taste}, {seeds} seeds that move the metric by 1%"
            known = called(effect, taste, 0.01, 1, few, seed + 2)
            found.append(Rate("ablation: the difference is known", case, None, known, few))
    return found
