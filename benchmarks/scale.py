"""Time and memory of the offline path as the data grows: writes docs/scale.png and prints one JSON object a size.

    python benchmarks/scale.py --times 1 --times 4 --times 16

1 is the default simulated shop of 30,000 sessions. Every step runs in a process of its own, so that its peak memory is
its own; `features` makes a snapshot too, and examples with it. Time is that of all its threads on the processor, which
other work on the machine changes little. The ranker's examples grow with the data too, so that no step has an excuse
not to.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import process_time
from typing import Annotated

import matplotlib.pyplot as plt
import pandas as pd
import typer

from nextclick.events.ingest import ingest
from nextclick.events.prefixes import next_clicks
from nextclick.events.sessions import SessionLog
from nextclick.events.simulator import simulate
from nextclick.events.split import split
from nextclick.params import Ingest, Params, Split
from nextclick.plots import use_style
from nextclick.project import project_root
from nextclick.ranking.ranker import Examples, train_ranker
from nextclick.ranking.recommender import example_snapshot, training_examples
from nextclick.ranking.snapshot import Snapshot

TYPES = ["view", "cart", "purchase"]


def make_snapshot(params: Params, folder: Path) -> None:
    """What the driver holds on Ray too: the log, and all that is made of it."""
    log = SessionLog.read(folder / "split/train.parquet", TYPES)
    items = pd.read_parquet(folder / "interim/items.parquet")
    example_snapshot(
        log, params.retrieval, params.ranker, params.features, params.run.seed, event_types=TYPES, items=items
    )


def make_examples(params: Params, folder: Path, examples: int) -> None:
    log = SessionLog.read(folder / "split/train.parquet", TYPES)
    ranker = params.ranker.model_copy(update={"max_examples": examples})
    items = pd.read_parquet(folder / "interim/items.parquet")
    snapshot, prefixes = example_snapshot(
        log, params.retrieval, ranker, params.features, params.run.seed, event_types=TYPES, items=items
    )
    training_examples(snapshot, prefixes, ranker.negatives, params.run.seed).save(folder / "examples")
    snapshot.save(folder / "snapshot")


def train(params: Params, folder: Path) -> None:
    train_ranker(Examples.load(folder / "examples"), params.ranker, params.run.seed, params.run.threads)


def retrieve(params: Params, folder: Path, predictions: int) -> None:
    snapshot = Snapshot.load(folder / "snapshot", params.retrieval)
    prefixes = next_clicks(SessionLog.read(folder / "split/test.parquet", TYPES, snapshot.vocabulary))
    for first in range(0, min(predictions, len(prefixes)), 4000):
        snapshot.features(prefixes.take(slice(first, first + 4000)))


def in_own_process(work: Callable, *arguments: object) -> tuple[float, int]:
    """Processor seconds, and peak memory in MiB, of a process that does nothing else."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, work, *arguments).result()


def _measured(work: Callable, *arguments: object) -> tuple[float, int]:
    start = process_time()
    work(*arguments)
    return process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measured(times: int, params: Params, folder: Path) -> dict:
    shop = params.simulator.model_copy(update={"sessions": params.simulator.sessions * times})
    steps = {
        "simulate": (simulate, shop, params.run.seed, folder / "raw"),
        "ingest": (ingest, Ingest(path=str(folder / "raw")), folder, folder / "interim"),
        "split": (split, folder / "interim/events.parquet", Split(), folder / "split"),
        "snapshot": (make_snapshot, params, folder),
        "features": (make_examples, params, folder, 20_000 * times),
        "train": (train, params, folder),
        "recommend": (retrieve, params, folder, 20_000 * times),
    }
    found = {name: in_own_process(*step) for name, step in steps.items()}
    return {
        "times": times,
        "sessions": shop.sessions,
        "processor_seconds": {name: round(seconds, 1) for name, (seconds, _) in found.items()},
        "peak_mib": {name: mib for name, (_, mib) in found.items()},
    }


def growth(less: dict, more: dict) -> dict:
    """The time of each step at the larger size over its share of that at the smaller, and the largest of all."""
    times = more["times"] / less["times"]
    share = {name: seconds / times / max(0.1, less["processor_seconds"][name])
             for name, seconds in more["processor_seconds"].items()}  # fmt: skip
    return {"from": less["times"], "to": more["times"], "share": share, "largest": max(share.values())}


def draw(sizes: list[dict], path: Path) -> None:
    use_style()
    fig, panels = plt.subplots(1, 2, figsize=(10, 4))
    for panel, what, title, unit in (
        (panels[0], "processor_seconds", "Time of the processor, by step", "s"),
        (panels[1], "peak_mib", "Peak memory, by step", "MiB"),
    ):
        table = pd.DataFrame({size["times"]: size[what] for size in sizes}).T
        table.plot(ax=panel, loglog=True, marker="o", xlabel="times the default shop", ylabel=unit, title=title)
    fig.savefig(path)


def main(times: Annotated[list[int], typer.Option(min=1, help="Sizes, in multiples of the default shop.")]) -> None:
    root = project_root()
    params = Params.read(root / "params.yaml")
    sizes = []
    for size in times:
        with tempfile.TemporaryDirectory() as folder:
            sizes.append(measured(size, params, Path(folder)))
            print(json.dumps(sizes[-1]), flush=True)
    if len(sizes) > 1:
        print(json.dumps(growth(*sizes[-2:])))
    draw(sizes, root / "docs/scale.png")


if __name__ == "__main__":
    typer.run(main)
