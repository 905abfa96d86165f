"""Retrieval, features and ranker as one: from sessions to recommendations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import xgboost as xgb

from nextclick.events.prefixes import Prefixes, next_clicks
from nextclick.events.sessions import SessionLog
from nextclick.features.statistics_versions import ItemHistory
from nextclick.params import Features, Params, Ranker, Retrieval
from nextclick.progress import progress_bar
from nextclick.ranking.ranker import Examples, require_enough, train_ranker
from nextclick.ranking.snapshot import Snapshot
from nextclick.ranking.trees import Trees
from nextclick.retrieval.candidates import Candidates
from nextclick.threads import in_parts

CHUNK = 4000  # sessions at a time: bounds memory to some 200 MB


def chunks(prefixes: Prefixes) -> list[Prefixes]:
    """The predictions in chunks of up to CHUNK, at least one."""
    return [prefixes.take(slice(first, first + CHUNK)) for first in range(0, max(1, len(prefixes)), CHUNK)]


def training_examples(snapshot: Snapshot, prefixes: Prefixes, negatives: int, seed: int) -> Examples:
    """One group for each prediction whose next item is among its candidates, with up to `negatives` others."""
    watched = progress_bar(chunks(prefixes), desc="examples", unit="chunk")
    return joined([examples_of(snapshot, chunk, negatives, seed) for chunk in watched], len(prefixes))


def examples_of(snapshot: Snapshot, chunk: Prefixes, negatives: int, seed: int) -> Examples:
    """The groups of some predictions, whose draw depends on them and the seed alone."""
    random = np.random.default_rng([seed, len(chunk), *chunk.predicted_at[:1].tolist()])
    candidates, values = snapshot.features(chunk)
    hits = candidates.present & (candidates.items == chunk.targets[:, None])
    return drawn_examples(values, hits, candidates.present, negatives, random, snapshot.feature_names)


def drawn_examples(
    features: np.ndarray,
    hits: np.ndarray,
    present: np.ndarray,
    negatives: int,
    random: np.random.Generator,
    names: tuple[str, ...],
) -> Examples:
    """A group for each prediction with a hit: that candidate, and up to `negatives` others at random.

    features: (n, width, n_features); hits, present: (n, width) bool, whether a candidate is the item clicked next, and
    whether there is a candidate at all.
    """
    # positives sort before all negatives, negatives at random, positions without a candidate last
    keys = np.where(hits, -1.0, random.random(hits.shape))
    keys[~present] = 2.0
    order = np.argsort(keys, axis=1, kind="stable")[:, : negatives + 1]
    chosen = np.take_along_axis(present, order, axis=1) & hits.any(axis=1, keepdims=True)
    rows, columns = np.nonzero(chosen)
    sizes = chosen.sum(axis=1)[hits.any(axis=1)]
    labels = np.zeros(sizes.sum(), np.float32)
    labels[np.cumsum(sizes) - sizes] = 1
    return Examples(
        features=features[rows, order[rows, columns]],
        labels=labels,
        groups=sizes,
        recall=len(sizes) / max(1, len(features)),
        names=names,
    )


def joined(parts: list[Examples], predictions: int) -> Examples:
    """Examples of chunks, in their order; predictions: how many there were in all of them."""
    features, labels, groups = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("features", "labels", "groups")
    )
    return Examples(features, labels, groups, len(groups) / max(1, predictions), parts[0].names)


@dataclass(frozen=True)
class Recommender:
    """trees: the ranker in the form that scores."""

    snapshot: Snapshot
    ranker: xgb.Booster
    trees: Trees

    @classmethod
    def of(cls, snapshot: Snapshot, ranker: xgb.Booster) -> Recommender:
        """Raises InputError if the ranker is not of a kind that `Trees` scores."""
        return cls(snapshot, ranker, Trees.of(ranker))

    def with_history(self, history: ItemHistory) -> Recommender:
        """A copy with item statistics in versions, which shares all that does not depend on them."""
        return replace(self, snapshot=self.snapshot.with_history(history))

    def as_published_during(
        self, prefixes: Prefixes, events: pd.DataFrame, event_types: list[str], features: Features
    ) -> Recommender:
        """This recommender with the item statistics that are published from `events` while `prefixes` are predicted,
        as they are live. See `Snapshot.as_published_during`.

        events: canonical, in any order, those before the predictions too. event_types: that they may have.
        """
        if not self.snapshot.knowledge.timed:
            return self
        log = SessionLog.from_events(events, event_types, self.snapshot.vocabulary)
        snapshot = self.snapshot.as_published_during(log, event_types, features, prefixes.predicted_at)
        return replace(self, snapshot=snapshot)

    def scores(self, prefixes: Prefixes) -> tuple[Candidates, np.ndarray]:
        """Candidates and their scores, (n, width) float32; -inf where there is no candidate."""
        candidates, features = self.snapshot.features(prefixes)
        return candidates, self.scores_of(candidates, features)

    def scores_of(self, candidates: Candidates, features: np.ndarray) -> np.ndarray:
        """(n, width) float32: the scores of candidates whose features, (n, width, f), were made before."""
        scores = np.empty(candidates.items.shape, np.float32)
        trees = self.trees
        rows, flat = features.reshape(-1, features.shape[-1]), scores.reshape(-1)
        in_parts(lambda part: trees.scores(rows[part], flat[part]), len(rows))
        scores[~candidates.present] = -np.inf
        return scores

    def recommend(self, prefixes: Prefixes, k: int) -> np.ndarray:
        """(n, k) int32: item indices, best first, -1 behind the last; ties by the fused rank of retrieval."""
        recommendations = np.full((len(prefixes), k), -1, np.int32)
        for first in progress_bar(range(0, len(prefixes), CHUNK), desc="recommend", unit="chunk"):
            candidates, scores = self.scores(prefixes.take(slice(first, first + CHUNK)))
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            best = np.take_along_axis(candidates.items, order, axis=1)
            recommendations[first : first + CHUNK, : best.shape[1]] = best
        return recommendations


def example_snapshot(
    log: SessionLog, retrieval: Retrieval, ranker: Ranker, features: Features, seed: int, **about: Any
) -> tuple[Snapshot, Prefixes]:
    """The snapshot and the predictions that the ranker learns from: the newest `max_examples`, or those in the newest
    `examples_share` of the sessions, whichever are fewer. The snapshot is of what was known before the first of their
    sessions ended, with item statistics as published meanwhile. about: see `Snapshot.of`."""
    oldest = int(log.n_sessions * (1 - ranker.examples_share))
    prefixes = next_clicks(log.slice(oldest, log.n_sessions))
    prefixes = prefixes.take(slice(max(0, len(prefixes) - ranker.max_examples), None))
    cut = oldest + int(prefixes.sessions[0]) if len(prefixes) else log.n_sessions
    snapshot = Snapshot.of(log.slice(0, cut), retrieval, seed, **about)
    return snapshot.as_published_during(log, about["event_types"], features, prefixes.predicted_at), prefixes


def train_recommender(log: SessionLog, params: Params, **about: Any) -> tuple[Recommender, Examples]:
    """Train the ranker on the newest sessions, then give it a snapshot of the whole log. about: see `Snapshot.of`."""
    seed = params.run.seed
    snapshot, prefixes = example_snapshot(log, params.retrieval, params.ranker, params.features, seed, **about)
    examples = training_examples(snapshot, prefixes, params.ranker.negatives, seed)
    require_enough(examples)
    booster, _ = train_ranker(examples, params.ranker, seed, params.run.threads)
    return Recommender.of(Snapshot.of(log, params.retrieval, seed, **about), booster), examples
