"""The road to the defaults: one DVC experiment for each change of a param, compared by the deciding metric.

    python benchmarks/road.py

Runs `dvc exp run evaluate` for each variant in this working tree, which must be clean and is clean again afterwards,
and writes docs/road.md from `dvc exp show`. The experiments stay: `.venv/bin/dvc exp show --sort-by mrr@20`. Some two
minutes each. The defaults themselves were chosen on training sessions of real logs, see docs/benchmarks.md; this shows
what the same changes do in the simulated shop.
"""

from __future__ import annotations

import io
import subprocess

import pandas as pd

from nextclick.errors import InputError
from nextclick.project import project_root

VARIANTS = {
    "shallow-trees": ["ranker.max_depth=3"],
    "deep-trees": ["ranker.max_depth=8"],
    "few-rounds": ["ranker.rounds=100"],
    "slow-learning": ["ranker.eta=0.05", "ranker.rounds=600"],
    "few-negatives": ["ranker.negatives=5"],
    "many-negatives": ["ranker.negatives=60"],
    "few-examples": ["ranker.examples_share=0.1"],
    "short-vectors": ["retrieval.dimensions=16"],
    "few-candidates": ["retrieval.width=60", "retrieval.nearest=40"],
    "long-postings": ["retrieval.sample=1000"],
    "hourly-statistics": ["features.item_stats_every=6"],
}
METRICS = ["mrr@20", "hr@20", "ndcg@20"]
HEAD = """# The road to the defaults

Made by `python benchmarks/road.py`; nothing here is typed. Each row is one DVC experiment on the simulated shop that
changes the params named and nothing else, sorted by the deciding metric.
"""


def run(*command: str) -> str:
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def main() -> None:
    root = project_root()
    if run("git", "-C", str(root), "status", "--porcelain"):
        raise InputError(f"{root}: commit or stash your changes first; each experiment starts from what is committed")
    dvc = str(root / ".venv/bin/dvc")
    for name, changes in VARIANTS.items():
        print(f"{name}: {', '.join(changes)}", flush=True)
        try:
            settings = [part for change in changes for part in ("-S", change)]
            run(dvc, "exp", "run", "evaluate", "--name", name, *settings)
        finally:
            run("git", "-C", str(root), "checkout", "--", ".")
            run(dvc, "checkout", "--quiet")
    shown = pd.read_csv(io.StringIO(run(dvc, "exp", "show", "--csv")))
    shown = shown[shown["rev"].eq("workspace") | shown["Experiment"].isin(VARIANTS)]
    changed = shown["Experiment"].map(lambda name: ", ".join(VARIANTS.get(name, ["**the defaults**"])))
    table = shown[METRICS].round(4).assign(changed=changed).sort_values(METRICS[0], ascending=False)
    columns = ["changed", *METRICS]
    rows = [columns, ["---"] * len(columns), *table[columns].to_numpy()]
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    (root / "docs/road.md").write_text(HEAD + "\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
