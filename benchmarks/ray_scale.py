"""The steps of the pipeline here and on Ray, as the data grows: one JSON object a run, all in docs/ray-scale.json.

    python benchmarks/ray_scale.py --times 1 --times 16

1 is the default simulated shop of 30,000 sessions, trained on 20,000 predictions; both grow together. Times are of the
clock, so the machine should do nothing else. `start` is what Ray needs before it has done anything. Memory of a process
is what it shares with no other, at its highest, looked at twice a second; what all share, the object store, is told
apart. Rows of other factors stay in the file.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import pandas as pd
import psutil
import typer

from nextclick.backends.backend import backend_of
from nextclick.events.ingest import ingest
from nextclick.events.prefixes import next_clicks
from nextclick.events.sessions import SessionLog
from nextclick.events.simulator import simulate
from nextclick.events.split import split
from nextclick.params import Ingest, Params, Pipeline, Split
from nextclick.project import project_root
from nextclick.ranking.ranker import hold_out
from nextclick.ranking.recommender import Recommender, example_snapshot

RUNS = {
    1: [("local", 1), ("ray", 1), ("ray", 2)],
    4: [("local", 1), ("ray", 2)],
    16: [("ray", 2)],
}
SHARED = "/dev/shm"  # where Ray keeps its object store
MIB = 2**20


class Peaks:
    """The highest memory of this process, of each that Ray started, and of its object store, MiB."""

    def __init__(self) -> None:
        self.driver, self.worker, self.store = 0, 0, 0
        self._before = psutil.disk_usage(SHARED).used
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        here = psutil.Process()
        while not self._stopped.wait(0.5):
            self.driver = max(self.driver, _alone(here))
            workers = (child for child in here.children(recursive=True) if child.name().startswith("ray::"))
            self.worker = max(self.worker, *map(_alone, workers), 0, 0)
            self.store = max(self.store, (psutil.disk_usage(SHARED).used - self._before) // MIB)


def _alone(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().uss // MIB
    except psutil.Error:  # it has just ended
        return 0


def make_events(params: Params, sessions: int, folder: Path) -> None:
    simulate(params.simulator.model_copy(update={"sessions": sessions}), params.run.seed, folder / "raw")
    ingest(Ingest(path=str(folder / "raw")), folder, folder / "interim")
    split(folder / "interim/events.parquet", Split(), folder / "split")


def run(params: Params, folder: Path, scratch: Path, examples: int) -> dict[str, Any]:
    peaks, seconds, begun = Peaks(), {}, perf_counter()

    def done(step: str, result: Any) -> Any:
        nonlocal begun
        seconds[step] = round(perf_counter() - begun, 1)
        begun = perf_counter()
        return result

    types, seed = params.ingest.event_types, params.run.seed
    backend = done("start", backend_of(params.pipeline))
    log = done("read", backend.read(folder / "split/train.parquet", types))
    ranker = params.ranker.model_copy(update={"max_examples": examples})
    items = pd.read_parquet(folder / "interim/items.parquet")
    snapshot, prefixes = done(
        "snapshot",
        example_snapshot(log, params.retrieval, ranker, params.features, seed, event_types=types, items=items),
    )
    made = done("examples", backend.examples(snapshot, prefixes, ranker.negatives, seed))
    learned, held_out = hold_out(made, ranker.held_out_share)
    booster, _ = done(
        "train", backend.train(learned, ranker, seed, params.run.threads, held_out=held_out, checkpoints=scratch)
    )
    test = SessionLog.read(folder / "split/test.parquet", types, snapshot.vocabulary)
    asked = next_clicks(test).take(slice(0, examples))
    done("recommend", backend.recommend(Recommender.of(snapshot, booster), asked, 20))
    peaks.stop()
    return {"seconds": seconds, "driver_mib": peaks.driver, "worker_mib": peaks.worker, "store_mib": peaks.store}


def in_own_process(work: Callable, *arguments: object) -> Any:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def main(times: Annotated[list[int], typer.Option(help="How often the default shop.")] = [1]) -> None:  # noqa: B006
    root, found = project_root(), []
    params = Params.read(root / "params.yaml")
    for factor in times:
        with tempfile.TemporaryDirectory() as place:
            folder, sessions = Path(place), params.simulator.sessions * factor
            in_own_process(make_events, params, sessions, folder)
            for engine, workers in RUNS[factor]:
                pipeline = Pipeline.model_validate({"engine": engine, "workers": workers})
                given = params.model_copy(update={"pipeline": pipeline})
                scratch = folder / f"checkpoints-{engine}-{workers}"
                about = {"times": factor, "sessions": sessions, "engine": engine, "workers": workers}
                found.append(about | in_own_process(run, given, folder, scratch, 20_000 * factor))
                print(json.dumps(found[-1]), flush=True)
    kept = root / "docs/ray-scale.json"
    others = [row for row in json.loads(kept.read_text()) if row["times"] not in times]
    rows = sorted(others + found, key=lambda row: row["times"])
    kept.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
