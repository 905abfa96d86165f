"""What each candidate source and each feature group earns and costs, on several shops: writes docs/ablation.md.

    python benchmarks/ablation.py ../shared/data

Needs the pipeline's simulated shop (`dvc repro`) and reports/costs.csv (`python benchmarks/costs.py`). The folder holds
diginetica/ and rsc15-100k/. Every ranker is trained with several seeds and judged, inside the training sessions: the
better part of an hour. The last line that it prints is one JSON object: how many parts, and how many have an interval
above zero somewhere (`beyond_chance`).
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import pandas as pd

from nextclick.evaluation.benchmark import read_sessions
from nextclick.evaluation.diagnosis import LOSS_COLUMNS, Laboratory
from nextclick.events.sessions import SessionLog
from nextclick.params import Diagnosis, Params
from nextclick.project import project_root
from nextclick.ranking.recommender import example_snapshot

SIZE = Diagnosis(groups=20_000, judged=12_000, negatives=20, rounds=150)
HEAD = """# What each part earns, and what it costs

Made by `python benchmarks/ablation.py DATA`; nothing here is typed. Each row leaves one candidate source (its
candidates and the features made of its scores) or one group of features out, trains the ranker again and judges it on
sessions of the training log that are later than those it learned from. The numbers are the fall of the metric, a mean
over {seeds} seeds with each of which both rankers are trained, with an interval that holds for other seeds and other
sessions; those above zero are bold. All intervals of the page hold at once in 95 % of such experiments, so they are
wide: a part that is not bold may be worth something that so few seeds cannot show. *cost* is the median time per
prediction on one thread, on the simulated shop. What two parts know both, neither loses alone.
"""
METRICS = ("mrr@20", "hr@20")
SHOPS = 3


def ablation(log: SessionLog, params: Params, **about: object) -> pd.DataFrame:
    snapshot, prefixes = example_snapshot(
        log, params.retrieval, params.ranker, params.features, params.run.seed, **about
    )
    laboratory = Laboratory(snapshot, prefixes, params.ranker, SIZE, METRICS[0], params.run)
    return laboratory.ablation(*METRICS[1:], tables=SHOPS)


def shown(row: pd.Series, metric: str) -> str:
    lost, low, high = (row[column if metric == METRICS[0] else f"{metric} {column}"] for column in LOSS_COLUMNS)
    text = f"{lost:.4f} [{low:.4f}, {high:.4f}]"
    return f"**{text}**" if low > 0 else text


def main() -> None:
    data, root = Path(sys.argv[1]), project_root()
    params = Params.read(root / "params.yaml")
    types = params.ingest.event_types
    shops = {
        "simulated": partial(
            ablation,
            SessionLog.read(root / "data/split/train.parquet", types),
            params,
            event_types=types,
            items=pd.read_parquet(root / "data/interim/items.parquet"),
        )
    }
    for name, timed in (("diginetica", False), ("rsc15-100k", True)):
        log = SessionLog.from_events(read_sessions(data / name / "train.parquet"), ["view"])
        shops[name] = partial(ablation, log, params, event_types=["view"], timed=timed)
    found = {}
    for name, look in shops.items():
        table = look().set_index(["kind", "without"])
        for metric in METRICS:
            found[f"{name}, {metric}"] = table.apply(shown, axis=1, metric=metric)
        print(name, table.round(4), sep="\n")
    board = pd.DataFrame(found).fillna("no such data")
    costs = pd.read_csv(root / "reports/costs.csv").set_index(["kind", "without"])["microseconds"]
    board["cost, µs"] = costs.reindex(board.index)
    rows = board.reset_index().rename(columns={"kind": "part", "without": "left out"})
    lines = [
        "| " + " | ".join(map(str, row)) + " |" for row in [rows.columns, ["---"] * rows.shape[1], *rows.to_numpy()]
    ]
    (root / "docs").mkdir(exist_ok=True)
    (root / "docs/ablation.md").write_text(HEAD.format(seeds=SIZE.seeds) + "\n" + "\n".join(lines) + "\n")
    beyond = int(board.map(lambda cell: str(cell).startswith("**")).any(axis=1).sum())
    print(json.dumps({"shops": len(shops), "parts": len(board), "beyond_chance": beyond}))


if __name__ == "__main__":
    main()
