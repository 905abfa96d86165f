"""Intervals and tests that hold at every look at once, however often one looks while sessions come in.

Predictions of one session depend on each other, so sessions, not predictions, are taken for independent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import betainc, betaln, logsumexp

TUNED_AT = 20_000  # sessions at which a confidence sequence is narrowest
MIN_HITS = 100  # sessions with a hit in each arm, from which on an asymptotic sequence covers as it says
CONCENTRATIONS = (10, 100, 1000)  # of the shares that a mismatch may have: from far away to close to the one asked for
BETS = 0.95 * 0.5 ** np.arange(10)  # shares of the stake, for effects of any size


class SessionMean(NamedTuple):
    """A mean over the predictions of n independent sessions. variance: what one session adds to that of n times the
    mean. hits: how many sessions have a prediction that hit."""

    value: float
    variance: float
    n: int
    hits: int

    @classmethod
    def of(cls, sums: np.ndarray, counts: np.ndarray) -> SessionMean:
        """sums, counts: (n_sessions,) of the metric, and of the predictions. The variance is by the delta method of
        Deng, Knoblich and Lu (2018)."""
        hits = int((sums > 0).sum())
        if len(sums) < 2 or not counts.sum():
            return cls(float("nan"), float("nan"), len(sums), hits)
        value = sums.sum() / counts.sum()
        influence = (sums - value * counts) / counts.mean()
        return cls(float(value), float(influence.var(ddof=1)), len(sums), hits)


def sequence_radius(variance: float, n: int, alpha: float) -> float:
    """Half the width of an asymptotic confidence sequence for a mean of n independent values (Waudby-Smith, Arbour,
    Sinha, Kennedy and Ramdas, 2021, theorem 2.2): it covers the mean at all n from some hundred on, with probability
    1 - alpha."""
    # the rho that makes it narrowest at TUNED_AT, their appendix B.2
    rho2 = (-2 * np.log(alpha) + np.log(-2 * np.log(alpha) + 1)) / TUNED_AT
    spread = n * rho2 + 1
    return float(np.sqrt(variance * 2 * spread / (n**2 * rho2) * np.log(np.sqrt(spread) / alpha)))


def sequence_interval(mean: SessionMean, alpha: float) -> list[float]:
    """The confidence sequence at the mean's number of sessions; NaN if fewer than MIN_HITS of them have a hit, since
    misses alone have no variance."""
    half = sequence_radius(mean.variance, mean.n, alpha) if mean.hits >= MIN_HITS else float("nan")
    return [mean.value - half, mean.value + half]


def gain_interval(champion: SessionMean, challenger: SessionMean, alpha: float) -> list[float]:
    """The confidence sequence of challenger minus champion, of sessions that were assigned to them at random (section
    3 of the paper named at `sequence_radius`); NaN if either has fewer than MIN_HITS sessions with a hit."""
    hits = min(champion.hits, challenger.hits)
    if hits < MIN_HITS:
        return [float("nan"), float("nan")]
    n = champion.n + challenger.n
    variance = n / champion.n * champion.variance + n / challenger.n * challenger.variance
    return sequence_interval(SessionMean(challenger.value - champion.value, variance, n, hits), alpha)


def sample_ratio_p(champion: int, challenger: int, share: float) -> float:
    """The sequential p-value of the sessions seen in both arms if each is the challenger's with probability `share`: it
    falls below p at any look with probability p at most (Lindon and Malek, 2022; the mean of their Bayes factors for
    CONCENTRATIONS). A small one is a sample-ratio mismatch.
    """
    factors = [
        betaln(weight * share + challenger, weight * (1 - share) + champion)
        - betaln(weight * share, weight * (1 - share))
        for weight in CONCENTRATIONS
    ]
    expected = challenger * np.log(share) + champion * np.log1p(-share)
    evidence = logsumexp(factors) - np.log(len(factors)) - expected
    return float(np.exp(-max(evidence, 0.0)))


def rarer_hits_p(hits: int, others: int, share: float, times: float) -> float:
    """The sequential p-value of an arm that hits at least `times` as often as the other: it falls below p at any look
    with probability p at most.

    hits, others: sessions with a hit of the arm and of the other. share: of all sessions, the arm's. The arm of a
    session with a hit is then a coin, and what all smaller chances of it make likely, each alike, is held against what
    the smallest allowed one does: a mixture as in `sample_ratio_p`, of one side.
    """
    least = share * times / (share * times + 1 - share)
    with np.errstate(divide="ignore"):  # so many hits that no smaller chance explains them
        rarer = np.log(betainc(1 + hits, 1 + others, least)) + betaln(1 + hits, 1 + others) - np.log(least)
    allowed = hits * np.log(least) + others * np.log1p(-least)
    return float(np.exp(-max(rarer - allowed, 0.0)))


def betting_evidence(excess: np.ndarray) -> np.ndarray:
    """(n,) the logarithm of the evidence, after each session, against a mean excess of zero or more.

    excess: (n,) of each session, of which none may exceed 1. If the mean is not below zero, the evidence ever exceeds
    log(1 / p) with probability p at most, for sessions of any distribution (betting on the mean of bounded values,
    Waudby-Smith and Ramdas, 2024; equal stakes on BETS).
    """
    wealth = np.cumsum(np.log1p(-BETS[:, None] * excess), axis=1)
    return np.asarray(logsumexp(wealth, axis=0) - np.log(len(BETS)))


def betting_interval(sums: np.ndarray, counts: np.ndarray, most: int, alpha: float) -> list[float]:
    """A confidence sequence for the mean over predictions, valid from the first session on.

    sums, counts: (n_sessions,) of a metric between 0 and 1, and of the predictions, of which no session has more than
    `most`.
    """
    if not len(sums):
        return [0.0, 1.0]
    limit = np.log(2 / alpha)
    too_high = _bisected(lambda mean: betting_evidence((sums - mean * counts) / most)[-1] > limit)
    too_low = _bisected(lambda mean: betting_evidence((mean * counts - sums) / most)[-1] <= limit)
    return [too_low, too_high]


def _bisected(holds: Callable[[float], bool]) -> float:
    """Where `holds` turns true between 0 and 1, which it does once at most; 1 if it never does."""
    low, high = 0.0, 1.0
    if holds(low):
        return low
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
