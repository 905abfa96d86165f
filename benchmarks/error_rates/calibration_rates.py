"""How often the gate's guards of the click probability reject a ranker that is calibrated, and one that is not."""

from __future__ import annotations

import numpy as np
from rate import TASTES, Rate

from nextclick.lifecycle.guards import calibration_error, missed_by_the_top
from nextclick.params import Gate
from nextclick.progress import progress_bar
from nextclick.ranking.calibration import HeldOut, calibrated, top_clicks

WIDTH, LONGEST = 40, Gate().per_session
SPOILT = {"all zero": 0.0, "half as high": 0.5, "twice too high": 2.0}


def held_out(n: int, taste: tuple[float, float], kind: str, random: np.random.Generator) -> HeldOut:
    """n sessions, of which `calibrated` takes half. Each prediction has a click in its WIDTH candidates, or none: at the
    place whose weight the scores tell, by the taste of its session. kind: of the scores."""
    counts = np.minimum(1 + np.floor(random.pareto(1.2, n) * 2), LONGEST).astype(int)
    sessions = np.repeat(np.arange(n), counts)
    strengths = random.gumbel(size=(len(sessions), WIDTH)) * 1.5
    clicked = np.zeros(strengths.shape, bool)
    chosen = (strengths + random.gumbel(size=strengths.shape)).argmax(axis=1)
    # the hit rate is that of a list of 20 candidates, which the best of so many mostly make
    clicked[np.arange(len(sessions)), chosen] = random.random(len(sessions)) < random.beta(*taste, n)[sessions]
    scores = {"honest": strengths, "reversed": -strengths, "random": random.random(strengths.shape)}.get(
        kind, np.zeros_like(strengths)
    )
    return calibrated(scores.ravel(), clicked.ravel(), np.repeat(sessions, WIDTH), random)


def rejections(n: int, taste: tuple[float, float], kind: str, trials: int, seed: int, limits: Gate) -> dict[str, int]:
    """How often each guard fails; by the names of SPOILT, how often that of the calibration fails on what is so."""
    random, found = np.random.default_rng(seed), {"calibration": 0, "discrimination": 0, **dict.fromkeys(SPOILT, 0)}
    for _ in progress_bar(range(trials), desc=f"{kind} scores", unit="trial"):
        made = held_out(n, taste, kind, random)
        seen = top_clicks(made, seed)
        found["calibration"] += calibration_error(seen, limits.alpha)[0] > limits.calibration_error
        found["discrimination"] += missed_by_the_top(seen, limits.alpha)[0] > 0
        for name, times in SPOILT.items():
            spoilt = seen._replace(expected=times * seen.expected)
            found[name] += calibration_error(spoilt, limits.alpha)[0] > limits.calibration_error
    return found


def rates(trials: int, seed: int) -> list[Rate]:
    limits, found = Gate(), []
    for hits, taste in TASTES.items():
        for n in (limits.sessions, 1000):
            about = f"hits {hits}, {n:,} sessions"
            honest = rejections(n, taste, "honest", trials, seed, limits)
            found.append(
                Rate(
                    "calibration guard rejects", f"calibrated, {about}", 2 * limits.alpha, honest["calibration"], trials
                )
            )
            found.append(
                Rate(
                    "discrimination guard rejects",
                    f"calibrated, {about}",
                    limits.alpha,
                    honest["discrimination"],
                    trials,
                )
            )
            found += [
                Rate("calibration guard rejects", f"{name}, {about}", None, honest[name], trials) for name in SPOILT
            ]
            few = max(1, trials // 4)
            for kind in ("reversed", "random", "constant"):
                failed = rejections(n, taste, kind, few, seed + 1, limits)["discrimination"]
                found.append(Rate("discrimination guard rejects", f"{kind} scores, {about}", None, failed, few))
    return found
