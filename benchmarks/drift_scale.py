"""How long the monitor takes over a large window: `python benchmarks/drift_scale.py`.

Needs the pipeline's reference. The window is 1,000,000 of its rows, drawn in whole sessions under names of their own
and laid over a week, with 60 of its columns; what is timed is all that the notebook asks of the monitor but the reading
and the drawing of pictures. Prints one JSON object: seconds of each part, and the peak memory of the process.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from nextclick.monitoring.drift import Column, by_day, column_drift, thresholds
from nextclick.monitoring.reference import NO_FEATURES, REFERENCE, Reference
from nextclick.params import Params
from nextclick.project import project_root

ROWS, COLUMNS, DAYS = 1_000_000, 60, 7


def window_of(served: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = list(served.groupby("session").indices.values())
    drawn = random.integers(0, len(rows), 2 * ROWS * len(rows) // len(served))
    places = np.concatenate([rows[one] for one in drawn])[:ROWS]
    sessions = np.repeat(np.arange(len(drawn)), [len(rows[one]) for one in drawn])[:ROWS]
    start = int(served["moment"].min())
    moments = start + random.integers(0, DAYS * 86_400_000, len(places))
    return served[names].iloc[places].assign(session=sessions, moment=moments).reset_index(drop=True)


def main() -> None:
    root = project_root()
    params = Params.read(root / "params.yaml")
    served = Reference.load(root / REFERENCE).served
    names = [name for name in served if name not in NO_FEATURES][:COLUMNS]
    window = window_of(served, names)
    columns, seconds = [Column.of(served[name]) for name in names], {}

    def timed(part: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        found = work()
        seconds[part] = round(time.perf_counter() - began, 2)
        return found

    sessions, rules = served["session"].to_numpy(), params.monitoring
    many = window["session"].nunique()
    limits = timed(
        "limits",
        lambda: thresholds(served, columns, sessions, many, rules.windows_to_false_alarm, params.run.seed),
    )
    timed("columns", lambda: column_drift(columns, limits, window[names], rules.effect))
    timed("map by day", lambda: by_day(columns, window))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"rows": len(window), "columns": len(names), "seconds": seconds, "peak_gib": round(peak, 2)}))


if __name__ == "__main__":
    main()
