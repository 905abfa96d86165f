"""What is lost when the index holds fewer past sessions, or fewer items have a vector: writes docs/pruning.md.

    python benchmarks/pruning.py ../shared/data

The pipeline's simulated shop (`dvc repro`) and rsc15-100k/ of the folder. The ranker stays as it was trained; only what
it is served with gets smaller, as it would in a process that cannot hold all of it. Prints one JSON object: the fall.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from nextclick.bundle.bundle import load_bundle
from nextclick.evaluation.benchmark import read_sessions
from nextclick.evaluation.metrics import per_prediction, ranks_of
from nextclick.evaluation.statistics.bootstrap import resampled_means, resampled_sessions
from nextclick.events.prefixes import Prefixes, next_clicks
from nextclick.events.sessions import SessionLog
from nextclick.params import Params
from nextclick.project import project_root
from nextclick.ranking.recommender import Recommender, train_recommender
from nextclick.retrieval.index import SessionIndex

K, METRICS = 20, ("mrr@20", "hr@20")
SHARES = (1 / 2, 1 / 4, 1 / 8, 1 / 16)
HEAD = """# What a smaller index costs

Made by `python benchmarks/pruning.py DATA`; nothing here is typed. The newest share of the past sessions is kept, or
the vectors of the share of the items that is clicked most; the other items are then found by past sessions alone. The
numbers are the fall of the metric on the test sessions, with its 95 % interval, paired by prediction and resampled by
session; those above zero beyond chance are bold. *size* is that of the index, or of the vectors, in MiB.
"""


def fewer_sessions(recommender: Recommender, log: SessionLog, share: float) -> tuple[Recommender, int]:
    index = SessionIndex.of(log.slice(round(log.n_sessions * (1 - share)), log.n_sessions))
    snapshot = recommender.snapshot
    retriever = replace(snapshot.retriever, index=index)
    size = sum(array.nbytes for array in index)
    return replace(recommender, snapshot=replace(snapshot, retriever=retriever)), size


def fewer_vectors(recommender: Recommender, log: SessionLog, share: float) -> tuple[Recommender, int]:
    snapshot = recommender.snapshot
    clicks = snapshot.retriever.index.counts
    kept = np.argsort(-clicks, kind="stable")[: round(len(clicks) * share)]
    vectors = np.zeros_like(snapshot.knowledge.encoder.vectors)
    vectors[kept] = snapshot.knowledge.encoder.vectors[kept]
    encoder = replace(snapshot.knowledge.encoder, vectors=vectors)
    fewer = replace(
        snapshot,
        retriever=replace(snapshot.retriever, encoder=encoder),
        knowledge=replace(snapshot.knowledge, encoder=encoder),
    )
    return replace(recommender, snapshot=fewer), vectors[kept].nbytes


def values(recommender: Recommender, prefixes: Prefixes) -> dict[str, np.ndarray]:
    return per_prediction(ranks_of(recommender.recommend(prefixes, K), prefixes.targets), K)


def table(
    name: str, recommender: Recommender, log: SessionLog, prefixes: Prefixes, seed: int, found: dict
) -> Iterator[list[str]]:
    """The rows of a shop; its figures go into found, too."""
    whole, draws = values(recommender, prefixes), resampled_sessions(prefixes.sessions, seed)
    for part, prune in (("sessions", fewer_sessions), ("items with a vector", fewer_vectors)):
        full = prune(recommender, log, 1.0)[1]
        yield [name, f"all {part}", *(f"{whole[metric].mean():.4f}" for metric in METRICS), f"{full / 2**20:.1f}"]
        for share in SHARES:
            pruned, size = prune(recommender, log, share)
            its = values(pruned, prefixes)
            row = [name, f"1/{round(1 / share)} of the {part}"]
            for metric in METRICS:
                lost = whole[metric] - its[metric]
                low, high = np.percentile(resampled_means(lost, *draws), [2.5, 97.5])
                kept = found.setdefault(name, {}).setdefault(f"1 in {round(1 / share)} {part}", {})
                kept |= {metric: float(lost.mean()), f"{metric}_interval": [low, high]}
                text = f"{lost.mean():.4f} [{low:.4f}, {high:.4f}]"
                row.append(f"**{text}**" if low > 0 else text)
            yield [*row, f"{size / 2**20:.1f}"]


def main() -> None:
    data, root = Path(sys.argv[1]), project_root()
    params = Params.read(root / "params.yaml")
    seed, types = params.run.seed, params.ingest.event_types
    rows, found = [["shop", "kept", *METRICS, "size"], ["---"] * 5], {}
    recommender, _ = load_bundle(root / "models/bundle")
    vocabulary = recommender.snapshot.vocabulary
    train, test = (
        SessionLog.read(root / f"data/split/{part}.parquet", types, vocabulary) for part in ("train", "test")
    )
    rows += table("simulated", recommender, train, next_clicks(test), seed, found)
    train = SessionLog.from_events(read_sessions(data / "rsc15-100k/train.parquet"), ["view"])
    test = SessionLog.from_events(read_sessions(data / "rsc15-100k/test.parquet"), ["view"], train.vocabulary)
    recommender, _ = train_recommender(train, params, event_types=["view"], timed=True)
    rows += table("rsc15-100k", recommender, train, next_clicks(test), seed, found)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    (root / "docs/pruning.md").write_text(HEAD + "\n" + "\n".join(lines) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
