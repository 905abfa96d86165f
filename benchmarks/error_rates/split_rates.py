"""How often a split calls arms different that are the same, or its shares wrong that are right, if somebody looks all
the time; and how many sessions it takes to find a difference that is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rate import TASTES, Rate, heavy_tailed
from statsmodels.stats.weightstats import ztest

from nextclick.evaluation.statistics.anytime import SessionMean, sample_ratio_p
from nextclick.lifecycle.experiment import MIN_RATIO_P, judge
from nextclick.params import Gate
from nextclick.progress import progress_bar

ALPHA = 0.05
# by the challenger's share, so many sessions that most trials reach the interval of the gain, where hits are rare, too
SESSIONS = {0.01: 300_000, 0.05: 60_000, 0.1: 30_000, 0.5: 20_000}
MOST = Gate().per_session
LOOKS = 100


@dataclass(frozen=True)
class Split:
    """A split while its sessions come in. sums, counts: (n,) of all sessions; challenger: (n,) whether it is theirs."""

    sums: np.ndarray
    counts: np.ndarray
    challenger: np.ndarray
    share: float

    @classmethod
    def drawn(
        cls,
        n: int,
        share: float,
        taste: tuple[float, float],
        better: float,
        random: np.random.Generator,
        fewer_hits: float = 0.0,
    ) -> Split:
        """better: by which share of the metric the challenger truly is. fewer_hits: which share of its sessions with a
        hit it loses, for which the others are worth more."""
        sums, counts = heavy_tailed(n, taste, random, MOST)
        challenger = random.random(n) < share
        kept = random.random(n) >= fewer_hits
        theirs = sums * kept * (1 + better) / (1 - fewer_hits)
        return cls(np.where(challenger, theirs, sums), counts, challenger, share)

    def arms(self, looks: np.ndarray) -> list[tuple[SessionMean, SessionMean]]:
        """Champion and challenger at each look, which is a number of sessions."""
        sides = [means_of(self.sums, self.counts, side)(looks) for side in (~self.challenger, self.challenger)]
        return list(zip(*sides, strict=True))


def means_of(sums: np.ndarray, counts: np.ndarray, chosen: np.ndarray) -> Callable[[np.ndarray], list[SessionMean]]:
    """The `SessionMean.of` the chosen sessions among the first so many, for many numbers at once."""
    s, c = sums * chosen, counts * chosen
    n, total, predictions, hits = chosen.cumsum(), s.cumsum(), c.cumsum(), (s > 0).cumsum()
    squares, products, lengths = (s * s).cumsum(), (s * c).cumsum(), (c * c).cumsum()

    def at(looks: np.ndarray) -> list[SessionMean]:
        i = looks - 1
        with np.errstate(invalid="ignore", divide="ignore"):
            value = total[i] / predictions[i]
            spread = squares[i] - 2 * value * products[i] + value**2 * lengths[i]
            variance = spread / (n[i] - 1) / (predictions[i] / n[i]) ** 2
        rows = zip(value, variance, n[i], hits[i], strict=True)
        return [SessionMean(float(v), float(var), int(m), int(h)) for v, var, m, h in rows]

    return at


def looks_until(n: int) -> np.ndarray:
    """The numbers of sessions at which somebody looks, from the first ones on."""
    return np.unique(np.geomspace(20, n, LOOKS).astype(int))


def first_verdict(split: Split, looks: np.ndarray) -> tuple[str, int] | None:
    """The first verdict that arms differ, and the number of sessions then."""
    for n, (champion, challenger) in zip(looks, split.arms(looks), strict=True):
        verdict = judge(champion, challenger, split.share, ALPHA).verdict
        if verdict.startswith(("better", "worse")):
            return verdict, int(n)
    return None


def ever_void(split: Split, looks: np.ndarray) -> bool:
    theirs = split.challenger.cumsum()[looks - 1]
    return any(
        sample_ratio_p(int(n - m), int(m), split.share) < MIN_RATIO_P for n, m in zip(looks, theirs, strict=True)
    )


def false_rates(share: float, taste: str, trials: int, seed: int, sessions: int) -> list[Rate]:
    random, looks, differ, void = np.random.default_rng(seed), looks_until(sessions), 0, 0
    for _ in progress_bar(range(trials), desc=f"split {share:.0%}, {taste}", unit="trial"):
        split = Split.drawn(sessions, share, TASTES[taste], 0, random)
        differ += first_verdict(split, looks) is not None
        void += ever_void(split, looks)
    case = f"{share:.0%} share, hits {taste}, {len(looks)} looks until {sessions:,} sessions"
    return [
        Rate("split: arms that are the same differ", case, ALPHA, differ, trials),
        Rate("split: right shares are void", case, MIN_RATIO_P, void, trials),
    ]


def called_worse(share: float, taste: str, trials: int, seed: int, sessions: int) -> Rate:
    """How often a challenger that hits in fewer sessions, and is better, is called worse."""
    random, looks, worse = np.random.default_rng(seed), looks_until(sessions), 0
    for _ in progress_bar(range(trials), desc=f"split, fewer hits, {taste}", unit="trial"):
        found = first_verdict(Split.drawn(sessions, share, TASTES[taste], 0.12, random, fewer_hits=0.3), looks)
        worse += found is not None and found[0].startswith("worse")
    case = f"30% fewer sessions with a hit, 12% better, {share:.0%} share, hits {taste}, until {sessions:,} sessions"
    return Rate("split: a better challenger is worse", case, ALPHA, worse, trials)


def power(better: float, share: float, sessions: int, trials: int, seed: int) -> list[Rate]:
    """How often a better or worse challenger is known by so many sessions; and by a test that looks once, after them or
    after a third of them."""
    random, looks, when, once = np.random.default_rng(seed), looks_until(sessions), [], {sessions // 3: 0, sessions: 0}
    for _ in progress_bar(range(trials), desc=f"split {better:+.0%} at {share:.0%}", unit="trial"):
        split = Split.drawn(sessions, share, TASTES["27 %"], better, random)
        found = first_verdict(split, looks)
        if found and found[0].startswith("better") == (better > 0):
            when.append(found[1])
        for n in once:
            sides = [side[:n] for side in (split.challenger, ~split.challenger)]
            ours, theirs = (split.sums[:n][side] / split.counts[:n][side] for side in sides)
            right = (ours.mean() > theirs.mean()) == (better > 0)
            once[n] += right and ztest(ours, theirs)[1] < ALPHA
    half = f", half of these by {np.median(when):,.0f}" if when else ""
    case = f"{better:+.0%} at {share:.0%} share, hits 27 %"
    return [
        Rate("split: the difference is known", f"{case}, within {sessions:,} sessions{half}", None, len(when), trials),
        *(
            Rate("the difference, by a test that looks once", f"{case}, after {n:,} sessions", None, int(hits), trials)
            for n, hits in once.items()
        ),
    ]


def rates(trials: int, seed: int) -> list[Rate]:
    found = [
        rate
        for share, sessions in SESSIONS.items()
        for taste in TASTES
        for rate in false_rates(share, taste, trials, seed, sessions)
    ]
    found += [called_worse(0.1, taste, trials, seed, SESSIONS[0.1]) for taste in TASTES]
    few = max(10, trials // 20)
    for better, sessions in ((0.03, 600_000), (0.1, 100_000), (0.2, 20_000), (-1.0, 20_000)):
        found += power(better, 0.1, sessions, few, seed)
    return [*found, *power(-1.0, 0.01, 20_000, few, seed)]
