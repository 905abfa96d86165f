"""A bundle measured on a held-out window, for the gate to compare and its notebook to draw."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numba
import numpy as np
import pandas as pd

from nextclick.bundle.bundle import load_bundle
from nextclick.evaluation import slices
from nextclick.evaluation.baselines import BASELINES
from nextclick.evaluation.metrics import ranks_of
from nextclick.evaluation.parity import parity
from nextclick.events.arrival_order import arrivals
from nextclick.events.prefixes import Prefixes, next_clicks
from nextclick.events.sessions import SessionLog
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.online import OnlineStates
from nextclick.params import Params
from nextclick.ranking.calibration import TopClicks, held_out_clicks, top_clicks
from nextclick.ranking.recommender import Recommender

SAMPLE = 500  # predictions whose features are compared
TIMED = 200  # predictions that are timed, one by one
ROUNDS = 3  # of timing; the best counts, since other processes only make it slower


@dataclass(frozen=True)
class Window:
    """train, test: canonical events; those of the test come after everything that either bundle may know."""

    train: pd.DataFrame
    test: pd.DataFrame

    @classmethod
    def read(cls, root: Path) -> Window:
        return cls(*(pd.read_parquet(root / f"data/split/{part}.parquet") for part in ("train", "test")))

    @cached_property
    def opens(self) -> pd.Timestamp:
        return self.test["timestamp"].min()


@dataclass(frozen=True)
class Candidate:
    """A bundle on a window. live: its recommender with item statistics as they are published during the window. k: the
    length of its lists. seed: of what is drawn to measure it."""

    folder: Path
    manifest: dict[str, Any]
    recommender: Recommender
    live: Recommender
    prefixes: Prefixes
    k: int
    seed: int

    @classmethod
    def load(cls, folder: Path, window: Window, params: Params) -> Candidate:
        """Raises InputError if the bundle is incomplete, or was made by code with other features."""
        recommender, manifest = load_bundle(folder)
        types, vocabulary = manifest["event_types"], recommender.snapshot.vocabulary
        now = params.ingest.event_types
        named = now if now[: len(types)] == types else types  # some may have been added since
        prefixes = first_of_each(next_clicks(SessionLog.from_events(window.test, named, vocabulary)), params)
        live = recommender.as_published_during(prefixes, pd.concat([window.train, window.test]), named, params.features)
        return cls(folder, manifest, recommender, live, prefixes, params.evaluation.k, params.run.seed)

    @property
    def knows_until(self) -> pd.Timestamp:
        """The newest event in its statistics, whatever its manifest says."""
        newest = self.recommender.snapshot.knowledge.statistics.last_click.max(initial=0)
        return pd.Timestamp(int(newest), unit="ms", tz="UTC")

    @cached_property
    def lists(self) -> np.ndarray:
        return self.live.recommend(self.prefixes, self.k)

    @cached_property
    def ranks(self) -> np.ndarray:
        """(n,) int64: the rank of the item that came next, 0 if it was not shown."""
        return ranks_of(self.lists, self.prefixes.targets)

    @cached_property
    def shown(self) -> int:
        """The number of different items in its lists."""
        return len(np.unique(self.lists[self.lists >= 0]))

    @cached_property
    def size(self) -> int:
        return sum(path.stat().st_size for path in self.folder.iterdir())

    @cached_property
    def features(self) -> pd.DataFrame:
        """A row a feature, measured on a sample: `missing`, the share of NaN, and `varies`, if it has two values."""
        chosen = np.unique(np.linspace(0, len(self.prefixes) - 1, SAMPLE).astype(int))
        candidates, values = self.live.snapshot.features(self.prefixes.take(chosen))
        rows = pd.DataFrame(values[candidates.present], columns=list(self.live.snapshot.feature_names))
        return pd.DataFrame({"missing": rows.isna().mean(), "varies": rows.nunique() > 1})

    @property
    def consistent(self) -> bool:
        """Whether index and statistics were made of the same events, and of at least one."""
        snapshot = self.recommender.snapshot
        counts, clicks = snapshot.retriever.index.counts, snapshot.knowledge.statistics.clicks
        return bool(len(counts) and counts.sum() > 0 and np.array_equal(counts, clicks.astype(np.int64)))

    @cached_property
    def top_clicks(self) -> TopClicks:
        return top_clicks(held_out_clicks(self.live, self.prefixes, self.seed), self.seed)


def first_of_each(prefixes: Prefixes, params: Params) -> Prefixes:
    """The first `gate.per_session` predictions of each session: a robot that crawls the shop must not decide."""
    _, first, counts = np.unique(prefixes.sessions, return_index=True, return_counts=True)
    position = np.arange(len(prefixes)) - np.repeat(first, counts)
    return prefixes.take(np.flatnonzero(position < params.gate.per_session))


def labels_of(candidate: Candidate) -> pd.DataFrame:
    """The slices of the window's predictions, by the candidate's clicks on the items; see `slices.labels`."""
    clicks = candidate.recommender.snapshot.knowledge.statistics.clicks
    return slices.labels(candidate.prefixes, clicks, candidate.manifest["event_types"])


def baseline_ranks(window: Window, candidate: Candidate) -> dict[str, np.ndarray]:
    """(n,) ranks of each baseline, fitted on the window's training events, in the candidate's vocabulary."""
    types, vocabulary = candidate.manifest["event_types"], candidate.recommender.snapshot.vocabulary
    log = SessionLog.from_events(window.train, types, vocabulary)
    lists = {name: made().fit(log).recommend(candidate.prefixes, candidate.k) for name, made in BASELINES.items()}
    return {name: ranks_of(shown, candidate.prefixes.targets) for name, shown in lists.items()}


def milliseconds(candidates: list[Candidate]) -> list[float]:
    """The median time of a list of each candidate, in ms: one by one as a service makes them, and alternating between
    the candidates, so that the load of the machine is the same for all."""
    best = np.full((len(candidates), min(TIMED, len(candidates[0].prefixes))), np.inf)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        for _ in range(ROUNDS):
            for i in range(best.shape[1]):
                for row, candidate in enumerate(candidates):
                    one = candidate.prefixes.take(slice(i, i + 1))
                    began = time.perf_counter()
                    candidate.recommender.scores(one)
                    best[row, i] = min(best[row, i], time.perf_counter() - began)
    finally:
        numba.set_num_threads(threads)
    return [float(value) for value in np.median(best, axis=1) * 1e3]


def differing_cells(candidate: Candidate, window: Window, params: Params) -> int:
    """The number of feature values that the service would compute otherwise, by way of an online store of its own."""
    with TemporaryDirectory() as scratch:
        features = params.features.model_copy(update={"online_store": "sqlite"})
        local = params.model_copy(update={"features": features})
        apply_definitions(Path(scratch), local)
        online = OnlineStates(connect(Path(scratch), local))
        events = window.test.astype({"event_id": str, "session_id": str})
        arriving = arrivals(events, params.run.seed, shuffle=0.1, duplicate=0.1)[: params.gate.parity_moments]
        types = candidate.manifest["event_types"]
        return parity(candidate.recommender.snapshot, arriving, online, types, seed=params.run.seed).differing
