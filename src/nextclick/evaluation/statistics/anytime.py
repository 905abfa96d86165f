"""Intervals and tests that hold at every look at once, however often one looks while sessions come in.

Predictions of one session depend on each other, so sessions, not predictions, are taken for independent.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import chisquare

TUNED_AT = 2_000  # sessions at which a confidence sequence is narrowest
MIN_SESSIONS = 200  # that a confidence sequence needs: it is asymptotic, and ten misses in a row have no variance


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
