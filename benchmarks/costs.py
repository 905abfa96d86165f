"""What each candidate source and each feature group costs a prediction: writes reports/costs.csv.

    python benchmarks/costs.py

The bundle of the last `dvc repro` answers predictions of the test split, one at a time on one thread; the median of
several rounds.
"""

from __future__ import annotations

from time import perf_counter

import numba
import numpy as np
import pandas as pd

from nextclick.bundle.bundle import load_bundle
from nextclick.events.prefixes import known_clicks, next_clicks
from nextclick.events.sessions import SessionLog
from nextclick.features.candidate_features import GROUPS
from nextclick.features.feature_group import FeatureContext
from nextclick.project import project_root
from nextclick.retrieval.candidates import all_cosines, best_positions
from nextclick.retrieval.scores import Neighbours, Scores, score_neighbours, score_own, score_transitions

PREDICTIONS, ROUNDS = 1000, 7


def median_microseconds(work) -> float:
    """Per prediction, after one round to compile."""
    seconds = []
    for _ in range(ROUNDS + 1):
        start = perf_counter()
        work()
        seconds.append(perf_counter() - start)
    return float(np.median(seconds[1:])) / PREDICTIONS * 1e6


def main() -> None:
    numba.set_num_threads(1)
    root = project_root()
    recommender, manifest = load_bundle(root / "models/bundle")
    snapshot = recommender.snapshot
    log = SessionLog.read(root / "data/split/test.parquet", manifest["event_types"], snapshot.vocabulary)
    prefixes = next_clicks(log).take(slice(0, PREDICTIONS))
    retriever, index, encoder = snapshot.retriever, snapshot.retriever.index, snapshot.knowledge.encoder
    neighbours, scores = Neighbours.over(len(index.offsets) - 1, np.float32), Scores.over(len(index.counts))
    sessions = [known_clicks(prefixes.arrays, i) for i in range(len(prefixes))]
    sources = {
        "neighbour sessions": lambda c: score_neighbours(
            c, index, retriever.sample, retriever.neighbours, neighbours, scores, 0
        ),
        "transitions": lambda c: score_transitions(c, index, retriever.sample, scores, 0),
        "own items": lambda c: score_own(c, scores, 0),
    }

    def each(source) -> None:
        for clicks in sessions:
            scores.values[scores.touched[: source(clicks)]] = 0

    def nearest() -> None:
        cosines = np.zeros((1, len(index.counts)), np.float32)
        for vector in encoder.encode(prefixes)[:, None]:
            all_cosines(vector, encoder.columns, cosines)
            best_positions(cosines[0], retriever.nearest)

    rows = [("source", name, median_microseconds(lambda s=source: each(s))) for name, source in sources.items()]
    rows.append(("source", "encoder", median_microseconds(nearest)))
    rows.append(("source", "all, and the choice", median_microseconds(lambda: retriever.retrieve(prefixes))))
    context = FeatureContext(prefixes, retriever.retrieve(prefixes), snapshot.knowledge)
    for group in GROUPS:
        if names := group.names(snapshot.knowledge):
            out = np.zeros((*context.candidates.items.shape, len(names)), np.float32)
            rows.append(("features", group.name, median_microseconds(lambda g=group, o=out: g.fill(context, o))))
    rows.append(("ranker", "all", median_microseconds(lambda: recommender.scores(prefixes))))
    table = pd.DataFrame(rows, columns=["kind", "without", "microseconds"]).round(1)
    table.to_csv(root / "reports/costs.csv", index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
