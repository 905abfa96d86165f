"""How often a watch rolls back a champion that keeps its promise, if it looks after every session; and how many
sessions it takes to roll back one that does not."""

from __future__ import annotations

import numpy as np
from rate import TASTES, Rate, heavy_tailed

from nextclick.evaluation.statistics.anytime import betting_evidence
from nextclick.params import Gate, Lifecycle
from nextclick.progress import progress_bar

SESSIONS = 20_000
MOST = Gate().per_session
ALPHA = Lifecycle().alpha / 2  # the watch reads one end of its interval


def first_rollback(sums: np.ndarray, counts: np.ndarray, least: float) -> int | None:
    """After how many sessions the interval of the watch lies below the smallest value that keeps the promise: the
    evidence against that value is the one that bounds `betting_interval` from above."""
    beyond = betting_evidence((sums - least * counts) / MOST) > np.log(1 / ALPHA)
    return int(beyond.argmax()) + 1 if beyond.any() else None


def rolled_back(taste: str, kept: float, trials: int, seed: int, sessions: int = SESSIONS) -> list[int]:
    """The sessions until each rollback. kept: the share of the smallest allowed value that the lists truly reach."""
    (hits, misses), random, found = TASTES[taste], np.random.default_rng(seed), []
    least = 0.65 * hits / (hits + misses)  # the mean of `heavy_tailed`: a hit is worth 0.3 to 1
    for _ in progress_bar(range(trials), desc=f"watch {taste}, {kept:.0%}", unit="trial"):
        sums, counts = heavy_tailed(sessions, TASTES[taste], random, MOST)
        if (n := first_rollback(sums * kept, counts, least)) is not None:
            found.append(n)
    return found


def rates(trials: int, seed: int) -> list[Rate]:
    rows = []
    for taste in TASTES:
        false = rolled_back(taste, 1.0, trials, seed)
        case = f"hits {taste}, a look after each of {SESSIONS:,} sessions"
        rows.append(Rate("watch: a kept promise is rolled back", case, ALPHA, len(false), trials))
        for kept, what in ((0.8, "a fifth less than allowed"), (0.5, "half of what is allowed"), (0.0, "no hit")):
            few = max(10, trials // 10)
            found = rolled_back(taste, kept, few, seed)
            half = f", half of these by {np.median(found):,.0f}" if found else ""
            case = f"{what}, hits {taste}, within {SESSIONS:,} sessions{half}"
            rows.append(Rate("watch: a broken promise is rolled back", case, None, len(found), few))
    return rows
