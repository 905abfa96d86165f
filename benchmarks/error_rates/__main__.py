"""How often each rule that decides is wrong: `python benchmarks/error_rates` writes docs/error-rates.md.

    python benchmarks/error_rates --trials 2000 --only split

Each module here tries one rule on sessions drawn again and again, and `rates(trials, seed)` of it returns the rows.
The last line that it prints is one JSON object: the rules tried, and how many err more often than they promise.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from rate import Rate

from nextclick.project import project_root

RULES = ("split_rates", "watch_rates", "gate_rates", "calibration_rates", "drift_rates", "ablation_rates")
ALPHA = 0.05  # the chance that any row is called broken that is not
HEAD = """# How often the rules that decide are wrong

Made by `python benchmarks/error_rates`; nothing here is typed. Brackets are exact 95 % intervals of the share. A share
that is above its promise beyond chance, where so many rows are tried, is bold. Rows without a promise say how often a
rule finds what is there.

| rule | case | promised at most | measured | trials |
|---|---|---|---|---|
"""


def row(rate: Rate, kept: bool) -> str:
    low, high = rate.interval
    promised = "" if rate.nominal is None else f"{rate.nominal:.1%}"
    measured = f"{rate.share:.1%} [{low:.1%}, {high:.1%}]"
    return f"| {rate.rule} | {rate.case} | {promised} | {measured if kept else f'**{measured}**'} | {rate.trials:,} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--only", choices=[name.removesuffix("_rates") for name in RULES])
    asked = parser.parse_args()
    found: list[Rate] = []
    for name in RULES:
        if asked.only in (None, name.removesuffix("_rates")):
            found += importlib.import_module(name).rates(asked.trials, 0)
    # of so many rows some exceed their promise by chance
    level = ALPHA / max(1, sum(rate.nominal is not None for rate in found))
    rows = [row(rate, rate.excess_p >= level) for rate in found]
    print("\n".join(rows))
    if asked.only is None:
        (project_root() / "docs/error-rates.md").write_text(HEAD + "\n".join(rows) + "\n")
    broken = [f"{rate.rule}, {rate.case}" for rate in found if rate.excess_p < level]
    print(json.dumps({"rates": len(found), "trials": asked.trials, "broken": len(broken), "which": broken}))


if __name__ == "__main__":
    main()
