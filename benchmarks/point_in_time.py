"""A million rows joined point-in-time with item statistics: by Feast, and as the ranker's features do.

    python benchmarks/point_in_time.py

Needs the pipeline's offline store (`nextclick publish`). Prints one JSON object: seconds of each, rows, and how many of
the rows differ (none may).
"""

from __future__ import annotations

import json
from time import perf_counter

import numpy as np
import pandas as pd

from nextclick.events.sessions import SessionLog
from nextclick.features.statistics_versions import ItemHistory
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.params import Params
from nextclick.project import project_root

ROWS = 1_000_000


def main() -> None:
    root = project_root()
    params = Params.read(root / "params.yaml")
    apply_definitions(root, params)
    store = connect(root, params)
    log = SessionLog.read(root / "data/split/train.parquet", params.ingest.event_types)
    first, last = int(log.times.min()), int(log.times.max())
    random = np.random.default_rng(0)
    items, times = random.integers(0, len(log.vocabulary), ROWS), random.integers(first, last, ROWS)
    requested = pd.DataFrame(
        {
            "item_id": log.vocabulary.ids[items],
            "event_timestamp": pd.to_datetime(times, unit="ms", utc=True),
            "row": np.arange(ROWS),
        }
    )
    start = perf_counter()
    joined = store.get_historical_features(requested, ["item_statistics:clicks", "item_statistics:clicks_1d"]).to_df()
    by_feast = perf_counter() - start

    start = perf_counter()
    history = ItemHistory.of(log, params.ingest.event_types, params.features, first, last)
    by_version = np.stack([version.clicks for version in history.versions])
    looked_up = by_version[history.at(times), items]
    by_lookup = perf_counter() - start
    # Feast leaves out the rows for which nothing had been published yet
    clicks = joined.set_index("row")["clicks"].reindex(np.arange(ROWS)).fillna(0)
    differing = int((clicks.to_numpy(np.float32) != looked_up).sum())
    print(
        json.dumps(
            {
                "rows": ROWS,
                "left_out_by_feast": ROWS - len(joined),
                "differing": differing,
                "feast_seconds": round(by_feast, 1),
                "lookup_seconds": round(by_lookup, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
