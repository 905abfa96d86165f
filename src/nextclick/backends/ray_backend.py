"""The steps that grow with the clicks, over the workers of a Ray cluster. Recommendations, index and features are those
of `Backend` to the byte, and with one worker the ranker too.

Where a cluster has several machines, each has nextclick installed and sees the project's folder, as Ray Train asks for
its results too. A chunk whose worker or node is lost runs again; training goes on from its last checkpoint.
"""

from __future__ import annotations

import copy
import io
import logging
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from nextclick.backends.ray_cluster import connect  # before Ray itself: it sets what Ray reads when it is imported

# isort: split
import numba
import numpy as np
import pandas as pd
import ray
import ray.data
import ray.train
import xgboost as xgb
from ray.train.xgboost import XGBoostTrainer

from nextclick.backends.backend import Backend
from nextclick.events.click_order import columns_with_position
from nextclick.events.prefixes import Prefixes
from nextclick.events.schema import REQUIRED_FIELDS
from nextclick.events.sessions import SessionLog, Vocabulary
from nextclick.params import Pipeline, Ranker
from nextclick.progress import is_watched, progress_bar
from nextclick.ranking.ranker import Examples, newest_checkpoint, run_key, train_ranker
from nextclick.ranking.recommender import Recommender, chunks, examples_of, joined
from nextclick.ranking.snapshot import Snapshot

LOG_ARRAYS = ("offsets", "items", "types", "times", "session_ids")
RESTARTS = 3  # of the workers that train
NO_ITEMS = Vocabulary(np.array([], np.str_))
AHEAD = 2  # chunks that wait for each worker: bounds what is under way


class RayBackend(Backend):
    """The steps over the workers of a Ray cluster."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Raises InputError, see `connect`."""
        self._pipeline = pipeline
        connect(pipeline.workers * pipeline.cpus_per_worker)
        for chatty in ("ray.data", "ray.train", "ray.widgets"):  # a notebook would keep their messages, with the times
            logging.getLogger(chatty).setLevel(logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = is_watched()

    def read(self, path: Path, event_types: list[str]) -> SessionLog:
        columns = columns_with_position(path, REQUIRED_FIELDS)
        events = ray.data.read_parquet(str(path.resolve())).select_columns(columns)
        shards = events.repartition(self._pipeline.workers * AHEAD, keys=["session_id"]).map_batches(
            _grouped, batch_size=None, batch_format="pandas", fn_args=[event_types]
        )
        grouped = [_unpacked(row["log"]) for row in shards.iter_rows()]
        return SessionLog.merged(grouped) if grouped else SessionLog.read(path, event_types)  # of no events

    def examples(self, snapshot: Snapshot, prefixes: Prefixes, negatives: int, seed: int) -> Examples:
        parts = self._over(snapshot, prefixes, examples_of, "examples", negatives, seed)
        return joined(list(parts), len(prefixes))

    def recommend(self, recommender: Recommender, prefixes: Prefixes, k: int) -> np.ndarray:
        return np.concatenate(list(self._over(recommender, prefixes, _recommended, "recommend", k)))

    def train(
        self, examples: Examples, params: Ranker, seed: int, threads: int, *, held_out: Examples, checkpoints: Path
    ) -> tuple[xgb.Booster, dict[str, list[float]]]:
        """Data-parallel: each worker has its groups, and all build the same trees. threads: not used; each worker has
        `pipeline.cpus_per_worker`."""
        workers = min(self._pipeline.workers, len(examples.groups), len(held_out.groups))  # each needs a group of both
        cpus = self._pipeline.cpus_per_worker
        key = run_key(examples, params, seed, workers=workers, threads=cpus)
        shared = checkpoints.resolve() / f"ray-{key}"
        for name, part in (("learned", examples), ("held_out", held_out)):
            part.save(shared / name)
        about = {"shared": str(shared), "key": key, "params": params.model_dump(), "seed": seed, "threads": cpus}
        trainer = XGBoostTrainer(
            _train_part,
            train_loop_config=about,
            scaling_config=ray.train.ScalingConfig(
                num_workers=workers, use_gpu=params.device != "cpu", resources_per_worker={"CPU": cpus}
            ),
            run_config=ray.train.RunConfig(
                storage_path=str(shared / "runs"), failure_config=ray.train.FailureConfig(max_failures=RESTARTS)
            ),
        )
        trainer.fit()
        booster, done, curves = newest_checkpoint(checkpoints, key, params.rounds)
        assert booster is not None
        assert done == params.rounds
        shutil.rmtree(shared)
        return booster, curves

    def _over(
        self, model: Any, prefixes: Prefixes, work: Callable[..., Any], what: str, *arguments: Any
    ) -> Iterator[Any]:
        """The results of `work(model, chunk, *arguments)` over the chunks of the prefixes, in their order."""
        if not len(prefixes):
            yield work(model, prefixes, *arguments)
            return
        vocabulary, cpus = prefixes.log.vocabulary, self._pipeline.cpus_per_worker
        reference = ray.put((model, vocabulary))  # once, not with each chunk
        waiting: deque[Any] = deque()
        task = _work.options(num_cpus=cpus)
        for chunk in progress_bar(chunks(prefixes), desc=what, unit="chunk"):
            # in a list, so that Ray hands over the reference and each process reads what it stands for once
            waiting.append(task.remote([reference], cpus, work, _with(chunk.detached(), NO_ITEMS), arguments))
            if len(waiting) > AHEAD * self._pipeline.workers:
                yield ray.get(waiting.popleft())
        while waiting:
            yield ray.get(waiting.popleft())


@ray.remote(max_retries=RESTARTS)
def _work(
    reference: list[Any], cpus: int, work: Callable[..., Any], chunk: Prefixes, arguments: tuple[Any, ...]
) -> Any:
    numba.set_num_threads(min(cpus, numba.get_num_threads()))
    model, vocabulary = _model(reference[0])
    return work(model, _with(chunk, vocabulary), *arguments)


@lru_cache(maxsize=1)
def _model(reference: Any) -> Any:
    """A copy of what the reference stands for: the object store has read-only arrays, for which all kernels would be
    compiled once more."""
    return copy.deepcopy(ray.get(reference))


def _with(chunk: Prefixes, vocabulary: Vocabulary) -> Prefixes:
    return replace(chunk, log=replace(chunk.log, vocabulary=vocabulary))


def _recommended(recommender: Recommender, chunk: Prefixes, k: int) -> np.ndarray:
    return recommender.recommend(chunk, k)


def _train_part(config: dict[str, Any]) -> None:
    context, shared = ray.train.get_context(), Path(config["shared"])
    rank, workers = context.get_world_rank(), context.get_world_size()
    learned, held_out = (Examples.load(shared / name).part(rank, workers) for name in ("learned", "held_out"))
    train_ranker(
        learned,
        Ranker(**config["params"]),
        config["seed"],
        config["threads"],
        held_out=held_out,
        checkpoints=shared.parent,
        key=config["key"],
        writes=rank == 0,
    )


def _grouped(events: pd.DataFrame, event_types: list[str]) -> dict[str, list[bytes]]:
    return {"log": [_packed(SessionLog.from_events(events, event_types))] if len(events) else []}


def _packed(log: SessionLog) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, ids=log.vocabulary.ids, **{name: getattr(log, name) for name in LOG_ARRAYS})
    return buffer.getvalue()


def _unpacked(packed: bytes) -> SessionLog:
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        return SessionLog(Vocabulary(arrays["ids"]), *(arrays[name] for name in LOG_ARRAYS))
