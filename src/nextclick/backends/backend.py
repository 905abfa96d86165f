"""Where the steps run that grow with the clicks: to group sessions, make features, train, and recommend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xgboost as xgb

from nextclick.errors import InputError
from nextclick.events.prefixes import Prefixes
from nextclick.events.sessions import SessionLog
from nextclick.params import Pipeline, Ranker
from nextclick.ranking.ranker import Examples, train_ranker
from nextclick.ranking.recommender import Recommender, training_examples
from nextclick.ranking.snapshot import Snapshot


class Backend:
    """The steps in this process, over the threads of `run`. A subclass runs them elsewhere, with the same results."""

    def read(self, path: Path, event_types: list[str]) -> SessionLog:
        """The sessions of a Parquet file, or of a folder of such files."""
        return SessionLog.read(path, event_types)

    def examples(self, snapshot: Snapshot, prefixes: Prefixes, negatives: int, seed: int) -> Examples:
        return training_examples(snapshot, prefixes, negatives, seed)

    def train(
        self, examples: Examples, params: Ranker, seed: int, threads: int, *, held_out: Examples, checkpoints: Path
    ) -> tuple[xgb.Booster, dict[str, list[float]]]:
        return train_ranker(examples, params, seed, threads, held_out=held_out, checkpoints=checkpoints)

    def recommend(self, recommender: Recommender, prefixes: Prefixes, k: int) -> np.ndarray:
        return recommender.recommend(prefixes, k)


def backend_of(pipeline: Pipeline) -> Backend:
    """The backend that `pipeline.engine` names. Raises InputError where it is Ray and that is not installed, or no
    cluster answers."""
    if pipeline.engine == "local":
        return Backend()
    try:
        from nextclick.backends.ray_backend import RayBackend  # only here: nothing else needs it
    except ModuleNotFoundError as error:
        raise InputError(f"pipeline.engine is ray, which is not installed ({error}); run `make setup RAY=1`") from error
    return RayBackend(pipeline)
