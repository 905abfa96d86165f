"""Intervals that hold at every moment at once, so that looking each hour costs nothing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import chisquare

TUNED_AT = 2_000  # sessions at which the interval is narrowest
FEWEST = 200  # sessions that an interval needs: it is an asymptotic one, and ten misses in a row have no variance


class Mean(NamedTuple):
    """A mean over predictions of n independent sessions. variance: that a session brings, of n times the mean."""

    value: float
    variance: float
    n: int

    @classmethod
    def of(cls, sums: np.ndarray, counts: np.ndarray) -> Mean:
        """sums, counts: (n_sessions,) of the metric, and of the predictions. Sessions are independent, their
        predictions are not: the delta method of Deng, Knoblich and Lu (2018)."""
        if len(sums) < 2 or not counts.sum():
            return cls(float("nan"), float("nan"), len(sums))
        value = sums.sum() / counts.sum()
        influence = (sums - value * counts) / counts.mean()
        return cls(float(value), float(influence.var(ddof=1)), len(sums))


def radius(variance: float, n: int, alpha: float) -> float:
    """Half the width of an asymptotic confidence sequence for a mean of n independent values (Waudby-Smith, Arbour,
    Sinha, Kennedy and Ramdas, 2021, theorem 2.2): it covers the mean at all n from some hundred on, with probability
    1 - alpha."""
    # the rho that makes it narrowest at TUNED_AT, their appendix B.2
    rho2 = (-2 * np.log(alpha) + np.log(-2 * np.log(alpha) + 1)) / TUNED_AT
    spread = n * rho2 + 1
    return float(np.sqrt(variance * 2 * spread / (n**2 * rho2) * np.log(np.sqrt(spread) / alpha)))


def interval(mean: Mean, alpha: float) -> list[float]:
    """NaN where there are fewer than FEWEST sessions."""
    half = radius(mean.variance, mean.n, alpha) if mean.n >= FEWEST else float("nan")
    return [mean.value - half, mean.value + half]


def gain(champion: Mean, challenger: Mean, alpha: float) -> list[float]:
    """Of the challenger over the champion, whose sessions were parted at random: their section 3."""
    n = champion.n + challenger.n
    if not champion.n or not challenger.n:
        return [float("nan"), float("nan")]
    variance = n / champion.n * champion.variance + n / challenger.n * challenger.variance
    return interval(Mean(challenger.value - champion.value, variance, n), alpha)


def mismatch(champion: int, challenger: int, share: float) -> float:
    """The p-value of the sessions seen in both arms, if the challenger's share is `share`: a sample-ratio mismatch."""
    total = champion + challenger
    return float(chisquare([champion, challenger], [total * (1 - share), total * share]).pvalue) if total else 1.0
