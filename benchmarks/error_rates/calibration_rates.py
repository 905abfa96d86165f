"""How often the gate's guards of the click probability reject a ranker that is calibrated, and one that is not."""

from __future__ import annotations

from collections import Counter

import numpy as np
from rate import TASTES, Rate

from nextclick.lifecycle.guards import calibration_error, missed_by_the_top
from nextclick.params import Gate
from nextclick.progress import progress_bar
from nextclick.ranking.calibration import HeldOut, calibrated, top_clicks

WIDTH, LONGEST = 40, Gate().per_session
SPOILT = {"all zero": 0.0, "half as high": 0.5, "twice too high": 2.0}


def held_out(n: int, taste: tuple[float, float], kind: str, random: np.random.Generator) -> HeldOut:
    """n sessions, of which `calibrated` takes half. A prediction has a click among its WIDTH candidates as often as the
    taste of its session says, on one that its strength makes likely. kind: what the scores tell of the strengths."""
    counts = np.minimum(1 + np.floor(random.pareto(1.2, n) * 2), LONGEST).astype(int)
    sessions = np.repeat(np.arange(n), counts)
    strengths = random.gumbel(size=(len(sessions), WIDTH)) * 1.5
    clicked = np.zeros(strengths.shape, bool)
    chosen = (strengths + random.gumbel(size=strengths.shape)).argmax(axis=1)
    clicked[np.arange(len(sessions)), chosen] = random.random(len(sessions)) < random.beta(*taste, n)[sessions]
    scores = {"honest": strengths, "reversed": -strengths, "random": random.random(strengths.shape)}.get(
        kind, np.zeros_like(strengths)
    )
    return calibrated(scores.ravel(), clicked.ravel(), np.repeat(sessions, WIDTH), random)


def verdicts(n: int, taste: tuple[float, float], kind: str, trials: int, seed: int, limits: Gate) -> dict[str, int]:
    """How often each guard fails, how often it does not pass (it fails, or lacks clicks to say), and by the names of
    SPOILT how often that of the calibration does not pass what is so."""
    random, found = np.random.default_rng(seed), Counter[str]()
    for _ in progress_bar(range(trials), desc=f"{kind} scores", unit="trial"):
        seen = top_clicks(held_out(n, taste, kind, random), seed)
        for name, (value, _), limit in (
            ("calibration", calibration_error(seen, limits.alpha), limits.calibration_error),
            ("discrimination", missed_by_the_top(seen, limits.alpha), 0),
        ):
            found[f"{name} fails"] += value > limit
            found[f"{name} does not pass"] += not value <= limit
        for name, times in SPOILT.items():
            value, _ = calibration_error(seen._replace(expected=times * seen.expected), limits.alpha)
            found[name] += not value <= limits.calibration_error
    return found


def rates(trials: int, seed: int) -> list[Rate]:
    limits, found = Gate(), []
    for hits, taste in TASTES.items():
        for n in (limits.sessions, 1000):
            about = f"hits {hits}, {n:,} sessions"
            honest = verdicts(n, taste, "honest", trials, seed, limits)
            for guard, nominal in (("calibration", 2 * limits.alpha), ("discrimination", limits.alpha)):
                failed = honest[f"{guard} fails"]
                found.append(Rate(f"{guard} guard fails", f"calibrated, {about}", nominal, failed, trials))
                unsure = honest[f"{guard} does not pass"] - failed
                found.append(Rate(f"{guard} guard lacks clicks to say", f"calibrated, {about}", None, unsure, trials))
            for name in SPOILT:
                found.append(Rate("calibration guard does not pass", f"{name}, {about}", None, honest[name], trials))
            few = max(1, trials // 10)
            for kind in ("reversed", "random", "constant"):
                caught = verdicts(n, taste, kind, few, seed + 1, limits)["discrimination does not pass"]
                found.append(Rate("discrimination guard does not pass", f"{kind} scores, {about}", None, caught, few))
    return found
