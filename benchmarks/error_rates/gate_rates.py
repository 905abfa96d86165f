"""How often the gate errs: on two that are the same, on one that is worse by the margin, and in its slices."""

from __future__ import annotations

import numpy as np
import pandas as pd
from rate import TASTES, Rate

from nextclick.evaluation.metrics import per_prediction
from nextclick.evaluation.statistics import paired
from nextclick.evaluation.statistics.paired import Comparison
from nextclick.lifecycle import gate, guards
from nextclick.params import Gate
from nextclick.progress import progress_bar

K, LONGEST = 20, Gate().per_session
AT_ONCE = 500_000  # sessions that are drawn at a time
LOOKS = 10
SLICINGS = (5, 3, 3, 2, 3, 4)  # so many slices of each kind, as `slices.labels` has


def metric_of_two(
    n: int, taste: tuple[float, float], changed: float, gain: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """MRR@20 of each prediction by challenger and champion, (n_predictions,) each, and the sessions.

    Lengths are Pareto's, and a session has a taste of its own; the two rank the same in a share 1 - changed of the
    sessions and by themselves in the others, and a coin says which is the challenger: the two are the same. Then, if
    gain < 0, a share -gain of the challenger's predictions lose their value, else as much of the champion's as makes
    the challenger better by gain.
    """
    counts = np.minimum(1 + np.floor(random.pareto(1.2, n) * 2), LONGEST).astype(int)
    sessions = np.repeat(np.arange(n), counts)
    hits = random.beta(*taste, n)[sessions]

    def values() -> np.ndarray:
        ranks = np.where(random.random(len(sessions)) < hits, np.floor(random.pareto(0.9, len(sessions))) + 1, 0)
        return per_prediction(ranks, K)[f"mrr@{K}"]

    first = values()
    second = np.where((random.random(n) < changed)[sessions], values(), first)
    swapped = (random.random(n) < 0.5)[sessions]
    ours, theirs = np.where(swapped, second, first), np.where(swapped, first, second)
    lost = random.random(len(sessions)) < (-gain if gain < 0 else gain / (1 + gain))
    return (np.where(lost, 0, ours), theirs, sessions) if gain < 0 else (ours, np.where(lost, 0, theirs), sessions)


def seen(
    n: int, taste: tuple[float, float], changed: float, gain: float, trials: int, seed: int, level: float
) -> list[Comparison]:
    """What `compare` says in each trial; the trials stand side by side, as it would take them one by one."""
    random, found = np.random.default_rng(seed), []
    while len(found) < trials:
        k = min(trials - len(found), max(1, AT_ONCE // n))
        ours, theirs, sessions = metric_of_two(n * k, taste, changed, gain, random)
        a, b = (np.bincount(sessions, values, n * k).reshape(k, n).T for values in (ours, theirs))
        predictions = np.bincount(sessions, minlength=n * k).reshape(k, n).sum(axis=1)
        low, high, differing = paired.ratio_bounds(a, b, level)
        means = a.sum(axis=0) / predictions, b.sum(axis=0) / predictions
        found += [
            Comparison(*row, level, int(count))
            for *row, count in zip(means[1], means[0], means[0] / means[1] - 1, low, high, differing, strict=True)
        ]
    return found


def verdicts(comparisons: list[Comparison], limits: Gate, fresher: bool, verdict: str) -> int:
    return sum(gate.conclude(one, limits, fresher)[0] == verdict for one in comparisons)


def promoted_at_some_look(
    n: int, taste: tuple[float, float], looks: int, gain: float, fresher: bool, trials: int, seed: int, limits: Gate
) -> int:
    """Each look is on n more sessions, and on all before."""
    random, promoted = np.random.default_rng(seed), 0
    level = limits.alpha / looks
    for _ in range(trials):
        ours, theirs, sessions = metric_of_two(n * looks, taste, 0.3, gain, random)
        a, b = (np.bincount(sessions, values, n * looks) for values in (ours, theirs))
        for look in range(1, looks + 1):
            low, high, differing = paired.ratio_bounds(a[: n * look], b[: n * look], level)
            gained = a[: n * look].sum() / max(1e-12, b[: n * look].sum()) - 1
            seen_now = Comparison(1, 1 + gained, gained, float(low), float(high), level, int(differing))
            if gate.conclude(seen_now, limits, fresher)[0] == "promote":
                promoted += 1
                break
    return promoted


def slice_rejections(n: int, taste: tuple[float, float], loss: float, trials: int, seed: int, limits: Gate) -> int:
    """How often some slice is found worse by more than gate.slice_loss, where all are worse by `loss`."""
    random, rejected = np.random.default_rng(seed), 0
    for _ in progress_bar(range(trials), desc="slices", unit="trial"):
        ours, theirs, sessions = metric_of_two(n, taste, 1.0, -loss, random)
        labelled = pd.DataFrame(
            {f"kind {i}": random.integers(0, kinds, len(sessions)).astype(str) for i, kinds in enumerate(SLICINGS)}
        )
        lost, _ = guards.worst_slice(ours, theirs, sessions, labelled, limits)
        rejected += lost > limits.slice_loss
    return rejected


def rates(trials: int, seed: int) -> list[Rate]:
    limits, found = Gate(), []
    alpha, margin = limits.alpha, limits.margin
    for hits, taste in TASTES.items():
        for n in (limits.sessions, 500, 1000, 3000):
            about = f"hits {hits}, {n:,} sessions"
            for changed in (0.3, 1.0):
                same = seen(n, taste, changed, 0.0, trials, seed, alpha)
                case = f"the same, {about}, {changed:.0%} of them ranked anew"
                found.append(Rate("gate promotes", case, alpha, verdicts(same, limits, False, "promote"), trials))
                found.append(Rate("gate rejects", case, alpha, verdicts(same, limits, False, "reject"), trials))
            for changed in (0.0, 0.02, 0.3, 1.0):
                worse = seen(n, taste, changed, -margin, trials, seed + 1, alpha)
                case = f"newer data, worse by the margin, {about}, {changed:.0%} of them ranked anew"
                found.append(Rate("gate promotes", case, alpha, verdicts(worse, limits, True, "promote"), trials))
            for gain in (0.03, 0.05):
                better = seen(n, taste, 0.3, gain, trials, seed + 2, alpha)
                case = f"better by {gain:.0%}, {about}"
                found.append(Rate("gate promotes", case, None, verdicts(better, limits, False, "promote"), trials))
        for gain, fresher, case in ((0.0, False, "the same"), (-margin, True, "newer data, worse by the margin")):
            errors = promoted_at_some_look(300, taste, LOOKS, gain, fresher, trials, seed + 3, limits)
            said = f"{case}, hits {hits}, at one of {LOOKS} looks, 300 sessions more at each"
            found.append(Rate("gate promotes", said, alpha, errors, trials))
        for loss in (0.0, limits.slice_loss):
            errors = slice_rejections(1000, taste, loss, trials, seed + 4, limits)
            said = f"{sum(SLICINGS)} slices, each worse by {loss:.0%}, hits {hits}, 1,000 sessions"
            found.append(Rate("gate's slices reject", said, alpha, errors, trials))
    return found
