"""Is one recommender better than another on the same predictions? By how much, with bounds.

Predictions of one session depend on each other, so sessions, not predictions, are taken for independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

MIN_DIFFERING = 20  # sessions on which the two differ: on fewer these bounds, too, err more often than they say


class Bounds(NamedTuple):
    """One-sided bounds of a ratio minus one; NaN where fewer than MIN_DIFFERING sessions differ. Each (...)."""

    low: np.ndarray
    high: np.ndarray
    differing: np.ndarray


def ratio_bounds(ours: np.ndarray, theirs: np.ndarray, level: float, inflation: float = 1.0) -> Bounds:
    """The bounds of sum(ours) / sum(theirs) - 1, each wrong with probability `level` at most.

    ours, theirs: (n_sessions, ...) not negative, the sums of each session. inflation: of the standard error, where
    another error than that of these sessions comes in.
    The standard error is by the delta method over sessions (Deng, Knoblich and Lu, 2018) of the difference over the
    mean of both, which treats the two alike. The quantile is Student's, with as many degrees of freedom as sessions
    differ, less one; a bound towards which the sessions are skewed is moved out by the skewness (Johnson, 1978).
    Where a dozen sessions differ a percentile, a studentised and a BCa bootstrap err two or three times as often.
    """
    total = ours.sum(axis=0) + theirs.sum(axis=0)
    differing = (~np.isclose(ours, theirs, rtol=1e-9, atol=1e-12)).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = 2 * (ours.sum(axis=0) - theirs.sum(axis=0)) / total
        influence = ours - theirs - gain * (ours + theirs) / 2
        squares = (influence**2).sum(axis=0)
        error = inflation * 2 * np.sqrt(squares) / total
        quantile = student.ppf(1 - level, np.maximum(differing - 1, 1))
        skewness = np.where(squares > 0, (influence**3).sum(axis=0) / squares**1.5, 0)
    skewed = inflation * skewness * (1 + 2 * quantile**2) / 6
    low = gain - error * (quantile + np.maximum(-skewed, 0))
    high = gain + error * (quantile + np.maximum(skewed, 0))
    enough = (differing >= MIN_DIFFERING) & (theirs.sum(axis=0) > 0)
    low, high = (np.where(enough, _ratio(bound) - 1, np.nan) for bound in (low, high))
    return Bounds(low, high, differing)


def _ratio(gain: np.ndarray) -> np.ndarray:
    """From the difference over the mean of both, which lies between -2 and 2, to the ratio."""
    kept = np.clip(gain, -2, 2)
    with np.errstate(divide="ignore"):
        return (2 + kept) / (2 - kept)


@dataclass(frozen=True)
class Comparison:
    """Means of the deciding metric; difference: how much better the challenger is, as a share of the champion's. low,
    high: its one-sided bounds, each wrong with probability `level`. NaN if there is too little to compare. differing:
    the number of sessions on which the two differ."""

    champion: float
    challenger: float
    difference: float
    low: float
    high: float
    level: float
    differing: int = 0


def compare(challenger: np.ndarray, champion: np.ndarray, sessions: np.ndarray, level: float) -> Comparison:
    """See `ratio_bounds`. challenger, champion: (n,) the metric of each prediction; sessions: (n,)."""
    means = (
        float(np.mean(champion)) if len(champion) else np.nan,
        float(np.mean(challenger)) if len(challenger) else np.nan,
    )
    if not np.isfinite(means).all() or means[0] <= 0:
        return Comparison(*means, np.nan, np.nan, np.nan, level)
    indices = np.unique(sessions, return_inverse=True)[1]
    found = ratio_bounds(np.bincount(indices, challenger), np.bincount(indices, champion), level)
    return Comparison(*means, means[1] / means[0] - 1, float(found.low), float(found.high), level, int(found.differing))
