"""Retrieval, features and ranker as one: from sessions to ordered lists."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xgboost as xgb
from tqdm import tqdm

from nextclick.events.prefixes import Prefixes, next_clicks
from nextclick.events.sessions import SessionLog
from nextclick.features.candidate_features import NAMES, ItemStatistics, candidate_features
from nextclick.params import Ranker, Retrieval
from nextclick.retrieval.candidates import Candidates, Retriever
from nextclick.retrieval.encoder import train_encoder
from nextclick.retrieval.index import SessionIndex

CHUNK = 4000  # sessions at a time: bounds memory to some 200 MB


@dataclass(frozen=True)
class Snapshot:
    """All that is known of the catalogue at the moment at which a log ends."""

    retriever: Retriever
    statistics: ItemStatistics

    @classmethod
    def of(cls, log: SessionLog, params: Retrieval, seed: int) -> Snapshot:
        encoder = train_encoder(next_clicks(log), dimensions=params.dimensions, epochs=params.encoder_epochs, seed=seed)
        retriever = Retriever(
            SessionIndex.of(log), encoder, params.width, params.nearest, params.sample, params.neighbours
        )
        return cls(retriever, ItemStatistics.of(log))

    def features(self, prefixes: Prefixes) -> tuple[Candidates, np.ndarray]:
        """Candidates, and their features (n, width, len(NAMES))."""
        candidates = self.retriever.retrieve(prefixes)
        return candidates, candidate_features(prefixes, candidates, self.statistics, self.retriever.encoder)


@dataclass(frozen=True)
class Examples:
    """One group a prediction: its positive first, then sampled negatives.

    features: (n, len(NAMES)) float32; labels: (n,) float32; groups: (n_groups,) int64, their sizes.
    recall: share of the predictions whose item was among the candidates; only those make a group.
    """

    features: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    recall: float


def training_examples(snapshot: Snapshot, prefixes: Prefixes, negatives: int, seed: int) -> Examples:
    random = np.random.default_rng(seed)
    features, groups = [], []
    for first in tqdm(range(0, len(prefixes), CHUNK), desc="examples", unit="chunk", disable=None):
        chunk = prefixes.take(slice(first, first + CHUNK))
        candidates, values = snapshot.features(chunk)
        hits = candidates.present & (candidates.items == chunk.targets[:, None])
        # positives sort before all negatives, negatives at random, empty places last
        keys = np.where(hits, -1.0, random.random(hits.shape))
        keys[~candidates.present] = 2.0
        order = np.argsort(keys, axis=1, kind="stable")[:, : negatives + 1]
        kept = np.take_along_axis(candidates.present, order, axis=1) & hits.any(axis=1)[:, None]
        rows, columns = np.nonzero(kept)
        features.append(values[rows, order[rows, columns]])
        groups.append(kept.sum(axis=1)[hits.any(axis=1)])
    sizes = np.concatenate(groups)
    labels = np.zeros(sizes.sum(), np.float32)
    labels[np.cumsum(sizes) - sizes] = 1
    return Examples(np.concatenate(features), labels, sizes, len(sizes) / max(1, len(prefixes)))


def train_ranker(examples: Examples, params: Ranker, seed: int, threads: int) -> xgb.Booster:
    """LambdaMART (Burges, 2010) with XGBoost."""
    data = xgb.QuantileDMatrix(
        examples.features, examples.labels, group=examples.groups, feature_names=list(NAMES), nthread=threads
    )
    settings = {
        "objective": "rank:ndcg",
        "lambdarank_pair_method": "topk",
        "lambdarank_num_pair_per_sample": 20,
        "max_depth": params.max_depth,
        "eta": params.eta,
        "min_child_weight": params.min_child_weight,
        "subsample": params.subsample,
        "colsample_bytree": params.colsample_bytree,
        "tree_method": "hist",
        "device": params.device,
        "nthread": threads,
        "seed": seed,
        "seed_per_iteration": True,  # so that a resumed run draws what an uninterrupted one would
    }
    with tqdm(total=params.rounds, desc="ranker", unit="tree", disable=None) as progress:

        class Progress(xgb.callback.TrainingCallback):
            def after_iteration(self, model: xgb.Booster, epoch: int, evals_log: dict) -> bool:
                progress.update()
                return False

        return xgb.train(settings, data, params.rounds, callbacks=[Progress()])


@dataclass(frozen=True)
class Recommender:
    snapshot: Snapshot
    ranker: xgb.Booster

    def recommend(self, prefixes: Prefixes, k: int) -> np.ndarray:
        """(n, k) int32: item numbers, best first, -1 behind the last; ties by the fused rank of retrieval."""
        lists = np.full((len(prefixes), k), -1, np.int32)
        for first in tqdm(range(0, len(prefixes), CHUNK), desc="recommend", unit="chunk", disable=None):
            candidates, features = self.snapshot.features(prefixes.take(slice(first, first + CHUNK)))
            scores = np.full(candidates.items.shape, -np.inf, np.float32)
            scores[candidates.present] = self.ranker.inplace_predict(features[candidates.present])
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            lists[first : first + CHUNK, : order.shape[1]] = np.take_along_axis(candidates.items, order, axis=1)
        return lists


def train_recommender(
    log: SessionLog, retrieval: Retrieval, ranker: Ranker, seed: int, threads: int
) -> tuple[Recommender, Examples]:
    """Train on the newest sessions, seen from what was known before them; then know all.

    The ranker's examples come from the newest `ranker.examples_share` of the sessions, their candidates and features
    from a snapshot of the sessions before. The recommender then gets a snapshot of the whole log.
    """
    cut = int(log.n_sessions * (1 - ranker.examples_share))
    prefixes = next_clicks(log.slice(cut, log.n_sessions))
    if len(prefixes) > ranker.max_examples:
        chosen = np.random.default_rng(seed).choice(len(prefixes), ranker.max_examples, replace=False)
        prefixes = prefixes.take(np.sort(chosen))
    earlier = Snapshot.of(log.slice(0, cut), retrieval, seed)
    examples = training_examples(earlier, prefixes, ranker.negatives, seed)
    booster = train_ranker(examples, ranker, seed, threads)
    return Recommender(Snapshot.of(log, retrieval, seed), booster), examples
