"""Intervals by the bootstrap over whole sessions.

Predictions of one session depend on each other, so sessions, not predictions, are drawn.
"""

from __future__ import annotations

import numpy as np

RESAMPLES = 1000
RESAMPLES_AT_ONCE = 50  # that are held as floats at a time


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
