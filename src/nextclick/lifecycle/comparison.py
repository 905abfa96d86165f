"""Challenger against champion on the same predictions, and what may be concluded from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from nextclick.evaluation.metrics import resampled_means, resampled_sessions
from nextclick.params import Gate

Verdict = Literal["promote", "hold", "reject"]


@dataclass(frozen=True)
class Comparison:
    """Means of the deciding metric; difference: how much better the challenger is, as a share of the champion's. low,
    high: its one-sided bounds, each wrong with probability `level`. NaN where there is nothing to compare."""

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
    places, drawn = resampled_sessions(sessions, seed)
    theirs = resampled_means(champion, places, drawn)
    ratios = resampled_means(challenger, places, drawn) / np.maximum(theirs, 1e-12) - 1
    low, high = np.quantile(ratios, [level, 1 - level])
    return Comparison(*means, means[1] / means[0] - 1, float(low), float(high), level)


def conclude(comparison: Comparison, gate: Gate, fresher: bool) -> tuple[Verdict, str]:
    """The verdict of the deciding metric, and why. fresher: whether the challenger knows much newer data, so that being
    no worse is worth a change; two that know the same are told apart by being better alone."""
    low, high = comparison.low, comparison.high
    if not np.isfinite([low, high]).all():
        return "hold", "the deciding metric is missing"
    if high < 0:
        return "reject", f"worse beyond chance: at most {high:+.2%}"
    if low > 0:
        return "promote", f"better beyond chance: at least {low:+.2%}"
    if fresher and low > -gate.margin:
        return "promote", f"knows newer data and is no worse: at least {low:+.2%}, the margin is {-gate.margin:.2%}"
    return "hold", f"not shown to be better, nor worse: {low:+.2%} to {high:+.2%}"
