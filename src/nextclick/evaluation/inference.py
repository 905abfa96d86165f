"""What may be concluded from a metric: bootstrap intervals over whole sessions, paired comparisons, and confidence
sequences, which hold at every interim look at once.

Predictions of one session depend on each other, so every method here treats sessions, not predictions, as independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import chisquare

RESAMPLES = 1000
RESAMPLES_AT_ONCE = 50  # that are held as floats at a time
TUNED_AT = 2_000  # sessions at which a confidence sequence is narrowest
MIN_SESSIONS = 200  # that a confidence sequence needs: it is asymptotic, and ten misses in a row have no variance


def resampled_sessions(sessions: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What a bootstrap over sessions needs: (n,) the index of each prediction's session, and (RESAMPLES, n_sessions)
    how often each session is drawn. sessions: (n,)."""
    indices = np.unique(sessions, return_inverse=True)[1]
    n = int(indices.max()) + 1
    random = np.random.default_rng(seed)
    drawn = np.empty((RESAMPLES, n), np.uint8)  # a session drawn more than ten times is a rarity
    for i in range(RESAMPLES):
        drawn[i] = np.bincount(random.integers(0, n, n), minlength=n)
    return indices, drawn


def resampled_means(values: np.ndarray, indices: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(RESAMPLES,) the mean of `values` in each resample of `resampled_sessions`."""
    sums, counts = np.bincount(indices, weights=values), np.bincount(indices).astype(float)
    several = (drawn[i : i + RESAMPLES_AT_ONCE].astype(float) for i in range(0, len(drawn), RESAMPLES_AT_ONCE))
    return np.concatenate([(some @ sums) / (some @ counts) for some in several])


def resampled_ratios(ours: np.ndarray, theirs: np.ndarray, sessions: np.ndarray, seed: int) -> np.ndarray:
    """(RESAMPLES,) mean(ours) / mean(theirs), both on the same predictions and the same resamples."""
    resample = resampled_sessions(sessions, seed)
    return resampled_means(ours, *resample) / np.maximum(resampled_means(theirs, *resample), 1e-12)


def bootstrap_interval(values: np.ndarray, sessions: np.ndarray, seed: int) -> list[float]:
    """The 95 % percentile bootstrap interval of the mean over sessions. values, sessions: (n,)."""
    means = resampled_means(values, *resampled_sessions(sessions, seed))
    return [float(x) for x in np.percentile(means, [2.5, 97.5])]


def ratio_interval(ours: np.ndarray, theirs: np.ndarray, sessions: np.ndarray, seed: int) -> list[float]:
    """The 95 % interval of mean(ours) / mean(theirs), paired by prediction. ours, theirs, sessions: (n,)."""
    return [float(x) for x in np.percentile(resampled_ratios(ours, theirs, sessions, seed), [2.5, 97.5])]


@dataclass(frozen=True)
class Comparison:
    """Means of the deciding metric; difference: how much better the challenger is, as a share of the champion's. low,
    high: its one-sided bounds, each wrong with probability `level`. NaN if there is nothing to compare."""

    champion: float
    challenger: float
    difference: float
    low: float
    high: float
    level: float


def compare(challenger: np.ndarray, champion: np.ndarray, sessions: np.ndarray, seed: int, level: float) -> Comparison:
    """Paired bootstrap over sessions. challenger, champion: (n,) the metric of each prediction; sessions: (n,)."""
    means = (
        float(np.mean(champion)) if len(champion) else np.nan,
        float(np.mean(challenger)) if len(challenger) else np.nan,
    )
    if not np.isfinite(means).all() or means[0] <= 0:
        return Comparison(*means, np.nan, np.nan, np.nan, level)
    differences = resampled_ratios(challenger, champion, sessions, seed) - 1
    low, high = np.quantile(differences, [level, 1 - level])
    return Comparison(*means, means[1] / means[0] - 1, float(low), float(high), level)


class SessionMean(NamedTuple):
    """A mean over the predictions of n independent sessions. variance: what one session adds to that of n times the
    mean."""

    value: float
    variance: float
    n: int

    @classmethod
    def of(cls, sums: np.ndarray, counts: np.ndarray) -> SessionMean:
        """sums, counts: (n_sessions,) of the metric, and of the predictions. The variance is by the delta method of
        Deng, Knoblich and Lu (2018)."""
        if len(sums) < 2 or not counts.sum():
            return cls(float("nan"), float("nan"), len(sums))
        value = sums.sum() / counts.sum()
        influence = (sums - value * counts) / counts.mean()
        return cls(float(value), float(influence.var(ddof=1)), len(sums))


def sequence_radius(variance: float, n: int, alpha: float) -> float:
    """Half the width of an asymptotic confidence sequence for a mean of n independent values (Waudby-Smith, Arbour,
    Sinha, Kennedy and Ramdas, 2021, theorem 2.2): it covers the mean at all n from some hundred on, with probability
    1 - alpha."""
    # the rho that makes it narrowest at TUNED_AT, their appendix B.2
    rho2 = (-2 * np.log(alpha) + np.log(-2 * np.log(alpha) + 1)) / TUNED_AT
    spread = n * rho2 + 1
    return float(np.sqrt(variance * 2 * spread / (n**2 * rho2) * np.log(np.sqrt(spread) / alpha)))


def sequence_interval(mean: SessionMean, alpha: float) -> list[float]:
    """The confidence sequence at the mean's number of sessions; NaN if there are fewer than MIN_SESSIONS."""
    half = sequence_radius(mean.variance, mean.n, alpha) if mean.n >= MIN_SESSIONS else float("nan")
    return [mean.value - half, mean.value + half]


def gain_interval(champion: SessionMean, challenger: SessionMean, alpha: float) -> list[float]:
    """The confidence sequence of challenger minus champion, of sessions that were assigned to them at random (section
    3 of the paper named at `sequence_radius`)."""
    n = champion.n + challenger.n
    if not champion.n or not challenger.n:
        return [float("nan"), float("nan")]
    variance = n / champion.n * champion.variance + n / challenger.n * challenger.variance
    return sequence_interval(SessionMean(challenger.value - champion.value, variance, n), alpha)


def sample_ratio_p(champion: int, challenger: int, share: float) -> float:
    """The p-value of the sessions seen in both arms if the challenger's share is `share`: a small one is a sample-ratio
    mismatch."""
    total = champion + challenger
    return float(chisquare([champion, challenger], [total * (1 - share), total * share]).pvalue) if total else 1.0
