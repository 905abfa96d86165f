"""A year of a shop that changes, week by week: `python benchmarks/year.py [--weeks 52] [--picture docs/year.png]`.

Three policies live through the same weeks: never retrain, always deploy the newest, and the gate with its watch. In one
week the log is broken upstream: its clicks name other items than were clicked. From another week on, the next version
that is promoted breaks in the service alone, which no offline window shows: its lists come out shuffled. The week in
which that is rolled back counts as broken to its end. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from nextclick.bundle.bundle import save_bundle
from nextclick.evaluation.metrics import per_prediction
from nextclick.evaluation.statistics.anytime import betting_interval
from nextclick.events.ingest import ingest
from nextclick.events.sessions import SessionLog
from nextclick.events.simulator import simulate
from nextclick.lifecycle.candidate import Candidate, Window
from nextclick.lifecycle.gate import evaluate
from nextclick.params import Params
from nextclick.plots import use_style
from nextclick.progress import progress_bar
from nextclick.ranking.recommender import train_recommender

MEMORY = 4  # weeks that a training reads; the newest of them is the held-out window
FIRST = MEMORY + 1
SIZES = {
    # a year that is over, since ingest takes no events from the future
    "simulator": {"start": "2025-01-06", "items": 300, "users": 400, "trend": 2.5, "launches": 0.4},
    "retrieval": {"dimensions": 8, "encoder_epochs": 1, "width": 40, "nearest": 20},
    "ranker": {"rounds": 40, "max_depth": 3},
    "gate": {"parity_moments": 20, "slice_loss": 0.3, "coverage_loss": 0.3, "margin": 0.05},
}
POLICIES = ("never retrain", "always deploy", "gate and watch")


@dataclass
class Year:
    """quality: week, policy and the deciding metric of what was shown in it. decisions: week and what was decided."""

    quality: list[dict] = field(default_factory=list)
    decisions: list[dict] = field(default_factory=list)
    deployed_bad: bool = False


class Shop:
    """A simulated log cut into weeks, and bundles trained on some of them."""

    def __init__(self, weeks: int, sessions_a_week: int, folder: Path) -> None:
        simulator = {**SIZES["simulator"], "days": 7 * weeks, "sessions": weeks * sessions_a_week}
        self.params = Params.model_validate({**SIZES, "simulator": simulator})
        self.folder = folder
        simulate(self.params.simulator, self.params.run.seed, folder / "raw")
        ingest(self.params.ingest.model_copy(update={"path": str(folder / "raw")}), folder, folder / "interim")
        events, self.items = (pd.read_parquet(folder / f"interim/{name}.parquet") for name in ("events", "items"))
        ends = events.groupby("session_id")["timestamp"].transform("max")
        week = ((ends - events["timestamp"].min()) / pd.Timedelta(weeks=1)).astype(int)
        self.true = [events[week == number] for number in range(weeks)]
        self.logged = list(self.true)

    def spoil(self, week: int) -> None:
        """What is logged of a week names other items than those that were clicked."""
        items = self.true[week]["item_id"].sample(frac=1, random_state=0).to_numpy()
        self.logged[week] = self.true[week].assign(item_id=items)

    def train(self, week: int, held_out: int) -> Path:
        """The bundle of the end of a week, that leaves the newest `held_out` weeks for the gate."""
        events = pd.concat(self.logged[week + 1 - MEMORY : week + 1 - held_out])
        folder = self.folder / f"bundles/{week}-{held_out}"
        types = self.params.ingest.event_types
        log = SessionLog.from_events(events, types)
        recommender, _ = train_recommender(log, self.params, event_types=types, items=self.items)
        until = events["timestamp"].max().isoformat()
        save_bundle(recommender, folder, params=self.params, trained_until=until, metrics={}, items=self.items)
        return folder

    def window(self, week: int) -> Window:
        """The newest week that was logged, behind those before it."""
        return Window(pd.concat(self.logged[week + 1 - MEMORY : week]), self.logged[week])

    def shown(self, bundle: Path, week: int, broken: bool) -> tuple[np.ndarray, np.ndarray]:
        """What visitors of a week clicked in the bundle's lists: the metric of each prediction, and its session."""
        window = Window(pd.concat(self.true[week - MEMORY : week]), self.true[week])
        candidate = Candidate.load(bundle, window, self.params)
        ranks = candidate.ranks
        if broken:
            random = np.random.default_rng(week)
            ranks = np.where(ranks > 0, random.integers(1, self.params.evaluation.k + 1, len(ranks)), 0)
        return per_prediction(ranks, self.params.evaluation.k)["mrr@20"], candidate.prefixes.sessions


def live(shop: Shop, weeks: int, bad: int, regression: int) -> Year:
    year = Year()
    shop.spoil(bad)
    first = shop.train(FIRST - 1, held_out=1)
    deployed = dict.fromkeys(POLICIES, first)
    promises = {first: float(shop.shown(first, FIRST - 1, broken=False)[0].mean())}
    previous, broken = first, None
    for week in progress_bar(range(FIRST, weeks), desc="year", unit="week"):
        for policy, bundle in deployed.items():
            values, sessions = shop.shown(bundle, week, bundle == broken)
            year.quality.append({"week": week, "policy": policy, "mrr@20": float(values.mean())})
            watched = policy == POLICIES[2] and bundle != previous  # there is something to go back to
            if watched and (day := _alarm(values, sessions, promises[bundle], shop.params)):
                year.decisions.append({"week": week, "decision": "rolled back", "bundle": bundle.name, "sessions": day})
                deployed[policy], broken = previous, None
        challenger = shop.train(week, held_out=1)
        deployed[POLICIES[1]] = challenger
        champion = deployed[POLICIES[2]]
        record, _ = evaluate(challenger, champion, shop.window(week), shop.params, promised=promises[champion])
        year.decisions.append(
            {"week": week, "decision": record.verdict, "bundle": challenger.name, "reason": record.reason}
        )
        if record.verdict == "promote" and record.metric:
            previous, deployed[POLICIES[2]] = champion, challenger
            promises[challenger] = record.metric.challenger
            if (
                broken is None
                and week >= regression - 1
                and not any(d["decision"] == "rolled back" for d in year.decisions)
            ):
                broken = challenger
            year.deployed_bad |= week == bad
    return year


def _alarm(values: np.ndarray, sessions: np.ndarray, promised: float, params: Params) -> int | None:
    """After how many sessions the watch rolls back, if it does: it looks after every hundredth."""
    table = pd.DataFrame({"session": sessions, "value": values}).groupby("session")["value"].agg(["sum", "count"])
    for n in range(100, len(table) + 1, 100):
        seen = [table[column].to_numpy()[:n] for column in ("sum", "count")]
        if betting_interval(*seen, params.gate.per_session, params.lifecycle.alpha)[1] < promised * (
            1 - params.lifecycle.promise_loss
        ):
            return n
    return None


def draw(year: Year, bad: int, path: Path) -> None:
    use_style()
    table = pd.DataFrame(year.quality).pivot(index="week", columns="policy", values="mrr@20")[list(POLICIES)]
    fig, ax = plt.subplots(figsize=(11, 4))
    table.plot(ax=ax)
    colours = {"promote": "tab:green", "hold": "tab:orange", "reject": "tab:red", "rolled back": "black"}
    low = table.min().min() * 0.95
    for name, colour in colours.items():
        weeks = [decision["week"] for decision in year.decisions if decision["decision"] == name]
        ax.scatter(weeks, [low] * len(weeks), c=colour, s=25, label=name, marker="X" if name == "rolled back" else "o")
    ax.axvline(bad, linestyle=":", label="bad data")
    ax.set(title="MRR@20 of what visitors were shown, week by week", xlabel="week", ylabel="MRR@20")
    ax.legend(ncols=8, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.12))
    fig.savefig(path, dpi=110, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument("--sessions", type=int, default=1500, help="a week")
    parser.add_argument("--bad", type=int, default=20)
    parser.add_argument("--regression", type=int, default=35)
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        year = live(Shop(asked.weeks, asked.sessions, Path(folder)), asked.weeks, asked.bad, asked.regression)
    if asked.picture:
        draw(year, asked.bad, asked.picture)
    table = pd.DataFrame(year.quality)
    counts = pd.Series([decision["decision"] for decision in year.decisions]).value_counts().to_dict()
    print(
        json.dumps(
            {
                "mrr@20": table.groupby("policy")["mrr@20"].mean().to_dict(),
                "worst week": table.groupby("policy")["mrr@20"].min().to_dict(),
                "decisions": counts,
                "bad week's model deployed": year.deployed_bad,
                "rolled back": [d for d in year.decisions if d["decision"] == "rolled back"],
                "bad week": [d for d in year.decisions if d["week"] == asked.bad],
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
