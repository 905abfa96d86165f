"""Is the monitor any good? `python benchmarks/monitoring.py --seeds 20`: many shops, each with nothing or with one
thing happening to it, judged week by week by the monitor's own functions. Prints JSON, draws docs/monitoring.png.

A shop's model learns its first ten days, the next four give the reference and the promise. From day 14 on the scenario
acts; the two weeks behind it are the windows. A year of undisturbed weeks is drawn, in whole sessions, from the two
weeks of the shop to which nothing happens. Right: hold where nothing happens or it does no harm, alert for bots and a
broken tracker, retrain where the lists of both weeks, over all shops, lose more than `promise_loss`. Since hold is
right for what does no harm, `moved` says what was seen of it: the share of the ranker's weight in features that moved.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from nextclick.evaluation.metrics import per_prediction
from nextclick.evaluation.statistics.bootstrap import ratio_interval
from nextclick.events.sessions import SessionLog
from nextclick.events.simulator import Scenario, simulate
from nextclick.monitoring.monitor import DriftFinding, Monitor
from nextclick.monitoring.offline_replay import Replay, replay
from nextclick.monitoring.reference import Reference
from nextclick.params import Evaluation, Monitoring, Params, Ranker, Retrieval, Run, Simulator
from nextclick.project import project_root
from nextclick.ranking.recommender import Recommender, train_recommender

WEEKS, AGAIN, ONSET = 52, 4, 14
ALL = 100_000
STRENGTH = {
    "none": 0.0,
    "catalogue_change": 0.3,
    "taste_shift": 0.8,
    "price_shock": 1.0,
    "seasonal_swing": 0.8,
    "bot_attack": 0.1,
    "tracking_bug": 0.1,
}
STRONGER = {"taste_shift": 1.0}  # what a week of so small a shop does not always show, once more
SHOP = Simulator(sessions=8000, items=300, users=1000, days=28, launches=0, trend=0)
PARAMS = Params(
    simulator=SHOP,
    retrieval=Retrieval(width=60, nearest=40, dimensions=16),
    ranker=Ranker(rounds=60, max_depth=4, negatives=10),
    evaluation=Evaluation(k=5, reference=1500),
)
KNOWN = ["event_id", "session_id", "item_id", "event_type"]


class Play:
    """One shop with one scenario: its windows by week, raw and as the model of the days before would serve them."""

    def __init__(self, kind: str, strength: float, seed: int, same: Play | None = None) -> None:
        """same: a play with the same days before the onset, whose model is taken over."""
        with TemporaryDirectory() as folder:
            simulate(SHOP, seed, Path(folder), Scenario(kind, strength, ONSET))  # type: ignore[arg-type]
            self.events = pd.read_parquet(Path(folder) / "events.parquet")
            self.items = pd.read_parquet(Path(folder) / "items.parquet")
        self.params = PARAMS.model_copy(update={"run": Run(seed=seed, threads=1)})
        if same:
            self.before, self.promised, self.monitor = same.before, same.promised, same.monitor
        else:
            self.before, held_out = self.model(0, 10), self.days(10, 14)
            seen = self.replayed(self.before, held_out)
            self.promised = float(self.metric(seen.predictions).mean())
            manifest = {"version": kind, "trained_until": held_out["timestamp"].min().isoformat()}
            reference = Reference.of(self.before, manifest, held_out, self.days(0, 10), self.promised, self.params)
            self.monitor = Monitor(reference, self.before.snapshot.vocabulary.ids, self.params)
        self.weeks = [self.days(ONSET, ONSET + 7), self.days(ONSET + 7, ONSET + 14)]
        self.replays = [self.replayed(self.before, clean(week)) for week in self.weeks]
        self.limits = self.monitor.limits(self.replays[0].served["session"].nunique())

    def days(self, first: int, last: int) -> pd.DataFrame:
        since = pd.Timestamp(SHOP.start, tz="UTC")
        day = (self.events["timestamp"] - since) / pd.Timedelta(days=1)
        return self.events[(day >= first) & (day < last)]

    def model(self, first: int, last: int) -> Recommender:
        types = self.params.ingest.event_types
        log = SessionLog.from_events(clean(self.days(first, last)), types)
        return train_recommender(log, self.params, event_types=types, items=self.items)[0]

    def replayed(self, model: Recommender, events: pd.DataFrame) -> Replay:
        types, features = self.params.ingest.event_types, self.params.features
        before = clean(self.events[self.events["timestamp"] < events["timestamp"].min()])
        k, seed = self.params.evaluation.k, self.params.run.seed
        return replay(model, events, before, types, features=features, k=k, max_served=ALL, seed=seed)

    def metric(self, judged: pd.DataFrame) -> np.ndarray:
        k = self.params.evaluation.k
        return per_prediction(judged["rank"].to_numpy(np.int64), k)[f"{self.params.evaluation.decide_on}@{k}"]

    def decision(self, week: int, random: np.random.Generator | None = None) -> str:
        return self.found(week, random).decision.outcome

    def found(self, week: int, random: np.random.Generator | None = None) -> DriftFinding:
        """A week, or whole sessions drawn from it."""
        events, seen = self.weeks[week], self.replays[week]
        served, judged = seen.served, seen.predictions
        if random is not None:
            events = drawn(events, "session_id", random)
            names = random.choice(judged["session"].unique(), judged["session"].nunique())
            served, judged = (chosen(table, "session", names) for table in (served, judged))
        return self.monitor.evaluate(events, served, self.monitor.performance(judged), limits=self.limits)


def clean(events: pd.DataFrame) -> pd.DataFrame:
    return events.dropna(subset=KNOWN).drop_duplicates("event_id")


def drawn(events: pd.DataFrame, column: str, random: np.random.Generator) -> pd.DataFrame:
    names = events[column].dropna().unique()
    table = chosen(events, column, random.choice(names, len(names)))
    return table.assign(event_id=table["event_id"] + "-" + table[column])


def chosen(table: pd.DataFrame, column: str, names: np.ndarray) -> pd.DataFrame:
    """The rows of these sessions, of those named twice twice, under names of their own."""
    rows = table.groupby(column).indices
    places = [rows[name] for name in names]
    copies = np.repeat(np.arange(len(names)), [len(part) for part in places])
    picked = table.iloc[np.concatenate(places)]
    return picked.assign(**{column: picked[column] + "-" + copies.astype(str)})


def trials(seed: int, years: int = WEEKS) -> dict[str, Any]:
    """By scenario, the decision of each week and of drawn ones, and the value of the lists."""
    random, found = np.random.default_rng([seed, 2]), {}
    same = None
    for kind, strength in STRENGTH.items():
        play = Play(kind, strength, seed, same if kind != "catalogue_change" else None)
        same = same or play
        found[kind] = decided(play, random)
        if kind == "none":
            found[kind]["year"] = [play.decision(week % 2, random) for week in range(years)]
        if kind in ("none", "taste_shift"):  # the same number of days, newer
            new, last = play.model(ONSET - 3, ONSET + 7), clean(play.weeks[1])
            pair = [play.replayed(model, last).predictions for model in (new, play.before)]
            found[kind]["again"] = [play.metric(judged).tolist() for judged in pair]
            found[kind]["sessions"] = [f"{seed}-{name}" for name in pair[0]["session"]]
    for kind, strength in STRONGER.items():
        found[f"{kind}, stronger"] = decided(Play(kind, strength, seed, same), np.random.default_rng([seed, 3]))
    return found


def decided(play: Play, random: np.random.Generator) -> dict[str, Any]:
    return {
        "weeks": [play.decision(week) for week in (0, 1)],
        "drawn": [play.decision(0, random) for _ in range(AGAIN)],
        "moved": [play.found(week).drift for week in (0, 1)],
        "promised": play.promised,
        "value": [float(play.metric(seen.predictions).mean()) for seen in play.replays],
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    table = {}
    stronger = {f"{kind}, stronger": strength for kind, strength in STRONGER.items()}
    for kind, strength in (STRENGTH | stronger).items():
        parts = [run[kind] for run in runs]
        loss = 1 - np.mean([part["value"] for part in parts]) / np.mean([part["promised"] for part in parts])
        right = expected(kind, loss)
        first = [outcome for part in parts for outcome in (part["weeks"][0], *part["drawn"])]
        hits = first.count(right)
        delays = [part["weeks"].index(right) + 1 for part in parts if right in part["weeks"]]
        table[kind] = {
            "strength": strength,
            "moved": round(float(np.mean([part["moved"] for part in parts])), 3),
            "loss": round(float(loss), 3),
            "right": right,
            "windows": len(first),
            "right_share": hits / len(first),
            "right_interval": list(binomtest(hits, len(first)).proportion_ci(method="wilson")),
            "outcomes": {outcome: first.count(outcome) for outcome in ("retrain", "hold", "alert")},
            "weeks_until_right": float(np.mean(delays)) if delays else None,
            "shops_right_in_two_weeks": len(delays) / len(parts),
        }
    year = [outcome for run in runs for outcome in run["none"]["year"]]
    again = {}
    for kind in ("none", "taste_shift"):
        new, old = (np.concatenate([run[kind]["again"][side] for run in runs]) for side in (0, 1))
        sessions = np.concatenate([run[kind]["sessions"] for run in runs])
        again[kind] = ratio_interval(new, old, sessions, 7)
    false = {outcome: year.count(outcome) for outcome in ("retrain", "alert")}
    return {"shops": len(runs), "scenarios": table, "undisturbed_weeks": len(year), "false": false, "retrained": again}


def expected(kind: str, loss: float) -> str:
    if kind in ("bot_attack", "tracking_bug"):
        return "alert"
    return "retrain" if loss > Monitoring().promise_loss else "hold"


def draw(found: dict[str, Any], path: Path) -> None:
    import matplotlib.pyplot as plt

    from nextclick.plots import use_style

    use_style()
    table = pd.DataFrame({kind: part["outcomes"] for kind, part in found["scenarios"].items()}).T
    table = table.div(table.sum(axis=1), axis=0).iloc[::-1]
    parts = found["scenarios"]
    labels = [f"{kind.partition(',')[0]} {parts[kind]['strength']:g}: {parts[kind]['right']}" for kind in table.index]
    fig, ax = plt.subplots(figsize=(8, 3.5))
    left = np.zeros(len(table))
    for outcome in table:
        ax.barh(labels, table[outcome], left=left, label=outcome)
        left += table[outcome].to_numpy()
    ax.set(
        xlabel="share of first windows",
        title=f"Decisions by scenario, strength and what is right ({found['shops']} shops)",
    )
    ax.legend(loc="lower center", ncols=3, bbox_to_anchor=(0.5, -0.45))
    fig.savefig(path, dpi=110, bbox_inches="tight")


def results(seeds: int, workers: int) -> Iterator[dict[str, Any]]:
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(trials, range(1, seeds + 1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    runs = []
    for run in results(asked.seeds, asked.workers):
        runs.append(run)
        partial = project_root() / "build/monitoring.json"
        partial.parent.mkdir(exist_ok=True)
        partial.write_text(json.dumps(runs))
    made = summary(runs)
    draw(made, project_root() / "docs/monitoring.png")
    print(json.dumps(made, indent=1))
