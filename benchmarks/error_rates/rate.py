"""How often a rule errs: the row of docs/error-rates.md, and the sessions on which the rules are tried."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

# Beta priors of a session's taste, by the share of its predictions that hit
TASTES = {"27 %": (0.6, 1.6), "3 %": (0.15, 4.85)}
LONGEST = 50  # predictions of a session


@dataclass(frozen=True)
class Rate:
    """rule: what decides. case: on which data. nominal: the share of errors that the rule promises at most, None for a
    power: how often the truth was found. errors: of the trials."""

    rule: str
    case: str
    nominal: float | None
    errors: int
    trials: int

    @property
    def share(self) -> float:
        return self.errors / self.trials

    @property
    def interval(self) -> tuple[float, float]:
        """Exact, 95 % (Clopper and Pearson)."""
        found = binomtest(self.errors, self.trials).proportion_ci(method="exact")
        return float(found.low), float(found.high)

    @property
    def excess_p(self) -> float:
        """The p-value of so many errors under the promise; 1 without one."""
        if self.nominal is None:
            return 1.0
        return float(binomtest(self.errors, self.trials, self.nominal, alternative="greater").pvalue)


def heavy_tailed(
    n: int, taste: tuple[float, float], random: np.random.Generator, longest: int = LONGEST
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of a metric and numbers of predictions of n sessions, (n,) each: lengths as Pareto's, and within a session
    all predictions share its taste, so that they are clustered. taste: see TASTES."""
    counts = np.minimum(1 + np.floor(random.pareto(1.2, n) * 2), longest)
    hits = random.binomial(counts.astype(int), random.beta(*taste, n))
    return hits * random.uniform(0.3, 1, n), counts
