"""How often the gate is wrong, and how often it sees what is there: `python benchmarks/gate.py`.

Two rankers that differ by their seed alone rank the held-out sessions once. A trial draws whole sessions and, for each,
by a coin which of the two is the challenger: their true difference is nothing, while they differ as two trainings do.
To make the challenger worse by d, a share d of its predictions lose their value, at random; to make it better, the
champion's do. Each trial is judged by the gate's own functions. Takes some minutes; prints JSON.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from nextclick.bundle.bundle import load_bundle
from nextclick.evaluation.metrics import per_prediction, ranks_of
from nextclick.evaluation.statistics.paired import Comparison, compare
from nextclick.events.prefixes import next_clicks
from nextclick.events.sessions import SessionLog
from nextclick.lifecycle import gate
from nextclick.lifecycle.candidate import first_of_each
from nextclick.params import Params
from nextclick.progress import progress_bar
from nextclick.project import project_root
from nextclick.ranking.recommender import train_recommender

TRIALS, WEEKS = 2000, 4


def ranks_of_two(params: Params) -> pd.DataFrame:
    """session, first, second: the ranks on the test window of the pipeline's bundle, and of one trained with another
    seed; cached in build/gate-ranks.parquet."""
    root = project_root()
    cache = root / "build/gate-ranks.parquet"
    if cache.is_file():
        return pd.read_parquet(cache)
    types = params.ingest.event_types
    log = SessionLog.read(root / "data/split/train.parquet", types)
    prefixes = first_of_each(
        next_clicks(SessionLog.read(root / "data/split/test.parquet", types, log.vocabulary)), params
    )
    items = pd.read_parquet(root / "data/interim/items.parquet")
    seeded = params.model_copy(update={"run": params.run.model_copy(update={"seed": params.run.seed + 1})})
    first, _ = load_bundle(root / "models/bundle")
    second, _ = train_recommender(log, seeded, event_types=types, items=items)
    lists = [recommender.recommend(prefixes, params.evaluation.k) for recommender in (first, second)]
    ranks = [ranks_of(shown, prefixes.targets) for shown in lists]
    table = pd.DataFrame({"session": prefixes.sessions, "first": ranks[0], "second": ranks[1]})
    cache.parent.mkdir(exist_ok=True)
    table.to_parquet(cache)
    return table


class Trials:
    """values: (n, 2) the metric of each prediction by both rankers; sessions: (n,)."""

    def __init__(self, values: np.ndarray, sessions: np.ndarray) -> None:
        order = np.argsort(sessions, kind="stable")
        self._values = values[order]
        self._counts = np.unique(sessions, return_counts=True)[1]
        self._starts = np.cumsum(self._counts) - self._counts
        self._seen: dict[tuple, list[Comparison]] = {}

    def draw(self, shift: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Challenger's and champion's values, (n,) each, and the sessions; shift: the true difference, as a share."""
        drawn = random.integers(0, len(self._counts), len(self._counts))
        counts = self._counts[drawn]
        sessions = np.repeat(np.arange(len(drawn)), counts)
        rows = np.repeat(self._starts[drawn] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        side = random.integers(0, 2, len(drawn))[sessions]
        ours, theirs = self._values[rows, side].copy(), self._values[rows, 1 - side].copy()
        lost = -shift if shift < 0 else shift / (1 + shift)
        worse = ours if shift < 0 else theirs
        worse[random.random(len(worse)) < lost] = 0
        return ours, theirs, sessions

    def seen(self, shift: float, params: Params, trials: int, seed: int = 0) -> list[Comparison]:
        """What a gate sees in each trial; made once, however many rules are asked about it."""
        level = params.gate.alpha / params.gate.looks
        key = (shift, level, trials, seed)
        if key not in self._seen:
            random = np.random.default_rng(seed)
            watched = progress_bar(range(trials), desc=f"shift {shift:+.2f}", unit="trial")
            self._seen[key] = [compare(*self.draw(shift, random), level) for _ in watched]
        return self._seen[key]

    def verdicts(self, shift: float, params: Params, trials: int, seed: int = 0) -> list[tuple[str, str]]:
        """The verdicts on a challenger that knows the same data, and on one that knows newer data."""
        return [
            tuple(gate.conclude(seen, params.gate, fresher)[0] for fresher in (False, True))
            for seen in self.seen(shift, params, trials, seed)
        ]

    def weekly(self, shift: float, params: Params, trials: int, seed: int = 0) -> list[tuple[bool, bool]]:
        """Whether one of WEEKS looks promotes, each on all sessions that there are by then."""
        random, found = np.random.default_rng(seed), []
        for _ in progress_bar(range(trials), desc=f"weekly {shift:+.2f}", unit="trial"):
            ours, theirs, sessions = self.draw(shift, random)
            promoted = [False, False]
            for week in range(1, WEEKS + 1):
                n = int(np.searchsorted(sessions, (sessions[-1] + 1) * week // WEEKS))
                level = params.gate.alpha / WEEKS
                seen = compare(ours[:n], theirs[:n], sessions[:n], level)
                for rule, fresher in enumerate((False, True)):
                    promoted[rule] |= gate.conclude(seen, params.gate, fresher)[0] == "promote"
            found.append(tuple(promoted))
        return found


def rate(hits: list[bool]) -> dict:
    """A share with its exact 95 % interval."""
    test = binomtest(sum(hits), len(hits)).proportion_ci(method="exact")
    return {"rate": sum(hits) / len(hits), "interval": [round(test.low, 4), round(test.high, 4)], "trials": len(hits)}


def main() -> None:
    root = project_root()
    params = Params.read(root / "params.yaml")
    table = ranks_of_two(params)
    figure = params.evaluation.metric
    both = [per_prediction(table[name].to_numpy(), params.evaluation.k)[figure] for name in ("first", "second")]
    trials = Trials(np.stack(both, axis=1), table["session"].to_numpy())
    margin, curve = params.gate.margin, {}
    for name, shift in {"-2": -2 * margin, "-1": -margin, "0": 0.0, "+1": margin, "+3 %": 0.03}.items():
        verdicts = trials.verdicts(shift, params, TRIALS)
        weekly = trials.weekly(shift, params, TRIALS) if name in ("-1", "0") else []
        curve[name] = {
            "difference": shift,
            "same data": rate([same == "promote" for same, _ in verdicts]),
            "newer data": rate([newer == "promote" for _, newer in verdicts]),
            "rejected": rate([same == "reject" for same, _ in verdicts]),
            **({f"{WEEKS} looks": {rule: rate([found[place] for found in weekly])
                for place, rule in enumerate(("same data", "newer data"))}} if weekly else {}),
        }  # fmt: skip
    about = {"metric": figure, "margin": margin, "sessions": int(table["session"].nunique()), "predictions": len(table)}
    print(json.dumps({**about, "promotion rate by margins": curve}, indent=1))


if __name__ == "__main__":
    main()
