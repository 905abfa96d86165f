"""Explains why the ranker is as good as it is: what changes with fewer examples, sources or features, or with another
capacity.

Small rankers answer each question. They are trained and evaluated on predictions of the training log, since the test
log is for the final metrics. All of them are evaluated on the same predictions, so that two are compared in pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xgboost as xgb

from nextclick.evaluation.metrics import per_prediction
from nextclick.evaluation.statistics.bootstrap import resampled_means, resampled_sessions
from nextclick.events.prefixes import Prefixes
from nextclick.params import Diagnosis, Ranker, Run
from nextclick.progress import progress_bar
from nextclick.ranking.ranker import Examples, train_ranker
from nextclick.ranking.recommender import Recommender, training_examples
from nextclick.ranking.snapshot import Snapshot
from nextclick.retrieval.candidates import COLUMNS

# candidate sources that are left out together: columns of the retrieval's scores
SOURCES = {
    "neighbour sessions": ("neighbours", "neighbours_near", "neighbours_after", "neighbours_next"),
    "transitions": ("after_last", "before_last", "next_last", "after", "near"),
    "own items": ("own",),
    "encoder": ("encoder",),
}
LOSS_COLUMNS = ("lost", "low", "high")


@dataclass(frozen=True)
class DiagnosedPredictions:
    """Predictions with all their candidates. features: (n, width, n_features) float32; hits, present: (n, width) bool,
    whether a candidate is the item clicked next, and whether there is a candidate at all."""

    prefixes: Prefixes
    features: np.ndarray
    hits: np.ndarray
    present: np.ndarray

    @classmethod
    def of(cls, snapshot: Snapshot, prefixes: Prefixes) -> DiagnosedPredictions:
        candidates, features = snapshot.features(prefixes)
        hits = candidates.present & (candidates.items == prefixes.targets[:, None])
        return cls(prefixes, features, hits, candidates.present)

    def ranks(self, score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """(n,) the rank of each next item, from 1, when `score` orders the candidates; 0 if it is not a candidate.

        score: takes the (m, n_features) rows of the present candidates and returns (m,) scores.
        """
        scores = np.full(self.hits.shape, -np.inf, np.float32)
        scores[self.present] = score(self.features[self.present])
        order = np.argsort(-scores, axis=1, kind="stable")
        rank = np.take_along_axis(self.hits, order, axis=1).argmax(axis=1) + 1
        return np.where(self.hits.any(axis=1), rank, 0)


class Laboratory:
    """Trains small rankers on `training` and evaluates each on `evaluation`, by a metric such as mrr@20.

    `evaluation` samples the newest quarter of the sessions, `training` the sessions before them. `examples` and
    `held_out` are the examples that either makes, and `predictions` is `evaluation` with all candidates.
    """

    def __init__(
        self, snapshot: Snapshot, prefixes: Prefixes, ranker: Ranker, size: Diagnosis, metric: str, run: Run
    ) -> None:
        self.snapshot, self.size, self.seed, self.threads = snapshot, size, run.seed, run.threads
        self.params = ranker.model_copy(update={"rounds": size.rounds, "negatives": size.negatives})
        self.metric = metric
        sessions = np.unique(prefixes.sessions)
        newest = np.isin(prefixes.sessions, sessions[int(len(sessions) * 0.75) :])
        self.training = _sample(prefixes.take(np.flatnonzero(~newest)), size.groups, run.seed)
        self.evaluation = _sample(prefixes.take(np.flatnonzero(newest)), size.judged, run.seed)
        self.examples = training_examples(snapshot, self.training, size.negatives, run.seed)
        self.held_out = training_examples(snapshot, self.evaluation, size.negatives, run.seed)
        self.predictions = DiagnosedPredictions.of(snapshot, self.evaluation)

    def fit(self, examples: Examples, **changes: float) -> xgb.Booster:
        """Train a ranker on the examples, with some params of the laboratory's ranker changed."""
        return train_ranker(examples, self.params.model_copy(update=changes), self.seed, self.threads)[0]

    def values(self, booster: xgb.Booster) -> np.ndarray:
        """(n,) the metric of each prediction of `evaluation`."""
        return _metric_values(self.predictions.ranks(booster.inplace_predict), self.metric)

    def learning_curve(self, shares: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0)) -> pd.DataFrame:
        """NDCG@20 within sampled candidates, of the training and the held-out groups, by number of training examples.

        shares: of the training examples; each takes the newest.
        """
        rows = []
        for share in progress_bar(shares, desc="learning curve", unit="ranker"):
            n = len(self.examples.groups)
            newest = self.examples.take_groups(n - max(1, int(n * share)), n)
            rows.append((len(newest.groups), *self._both(self.fit(newest), newest)))
        return pd.DataFrame(rows, columns=["examples", "train", "held out"])

    def capacity_curve(self, depths: tuple[int, ...] = (1, 3, 5, 7, 9)) -> pd.DataFrame:
        """NDCG@20 within sampled candidates, of the training and the held-out groups, by depth of the trees."""
        rows = [
            (depth, *self._both(self.fit(self.examples, max_depth=depth), self.examples))
            for depth in progress_bar(depths, desc="capacity", unit="ranker")
        ]
        return pd.DataFrame(rows, columns=["max_depth", "train", "held out"])

    def _both(self, booster: xgb.Booster, examples: Examples) -> tuple[float, float]:
        """NDCG@20 within sampled candidates, of the training groups and of held-out groups sampled alike."""
        return _ndcg(booster, examples), _ndcg(booster, self.held_out)

    def ablation(self, *others: str) -> pd.DataFrame:
        """The loss of the metric without each candidate source and each feature group: the difference to a ranker that
        has them all, paired by prediction, with a 95 % interval from resampled sessions. The greatest loss comes first.

        others: further metrics, whose columns are prefixed with their names.
        """
        whole = self.predictions.ranks(self.fit(self.examples).inplace_predict)
        draws = resampled_sessions(self.evaluation.sessions, self.seed)
        rows = []
        parts = [("source", name) for name in SOURCES] + [
            ("features", name) for name in self.snapshot.features_by_group
        ]
        for kind, name in progress_bar(parts, desc="ablation", unit="ranker"):
            without = self._without_source(name) if kind == "source" else self._without_features(name)
            row = {"kind": kind, "without": name}
            for metric in (self.metric, *others):
                lost = _metric_values(whole, metric) - _metric_values(without, metric)
                low, high = np.percentile(resampled_means(lost, *draws), [2.5, 97.5])
                prefix = "" if metric == self.metric else f"{metric} "
                row |= {
                    f"{prefix}{column}": float(value)
                    for column, value in zip(LOSS_COLUMNS, (lost.mean(), low, high), strict=True)
                }
            rows.append(row)
        return pd.DataFrame(rows).sort_values("lost", ascending=False, ignore_index=True)

    def _without_source(self, source: str) -> np.ndarray:
        """(n,) the ranks with neither the candidates of a source nor the features made of its scores."""
        left_out = {COLUMNS.index(name) for name in SOURCES[source]}
        retriever = self.snapshot.retriever
        fewer = replace(retriever, fused=tuple(k for k in retriever.fused if k not in left_out))
        snapshot = replace(self.snapshot, retriever=fewer)
        hidden = {f"{name}_{kind}" for name in SOURCES[source] for kind in ("score", "share", "rank")}
        examples = training_examples(snapshot, self.training, self.size.negatives, self.seed)
        return self._ranks_without(hidden, examples, DiagnosedPredictions.of(snapshot, self.evaluation))

    def _without_features(self, group: str) -> np.ndarray:
        """(n,) the ranks without the features of a group."""
        return self._ranks_without(set(self.snapshot.features_by_group[group]), self.examples, self.predictions)

    def _ranks_without(self, hidden: set[str], examples: Examples, predictions: DiagnosedPredictions) -> np.ndarray:
        """(n,) the ranks by a ranker that is trained without the hidden features."""
        columns = [column for column, name in enumerate(examples.names) if name not in hidden]
        names = tuple(examples.names[column] for column in columns)
        booster = self.fit(replace(examples, features=examples.features[:, columns], names=names))
        return replace(predictions, features=predictions.features[:, :, columns]).ranks(booster.inplace_predict)

    def imbalance(self, counts: tuple[int, ...] = (5, 20, 80)) -> pd.Series:
        """The mean metric by negatives per positive; the positives are the same in all of them."""
        means = {}
        for count in progress_bar(counts, desc="negatives", unit="ranker"):
            examples = training_examples(self.snapshot, self.training, count, self.seed)
            means[count] = float(self.values(self.fit(examples)).mean())
        return pd.Series(means, name=self.metric)

    def transfer(self, training_labels: np.ndarray, evaluation_labels: np.ndarray) -> pd.DataFrame:
        """The mean metric when a ranker is trained on one slice and evaluated on another: a row for each slice of
        `training`, with equally many predictions, and a column for each slice of `evaluation`.

        training_labels: (len(training),); evaluation_labels: (len(evaluation),).
        """
        kinds = sorted(set(training_labels) & set(evaluation_labels))
        size = min(int((training_labels == kind).sum()) for kind in kinds)
        table = pd.DataFrame(index=kinds, columns=kinds, dtype=float)
        for kind in progress_bar(kinds, desc="transfer", unit="ranker"):
            sample = _sample(self.training.take(np.flatnonzero(training_labels == kind)), size, self.seed)
            booster = self.fit(training_examples(self.snapshot, sample, self.size.negatives, self.seed))
            values = self.values(booster)
            table.loc[kind] = [values[evaluation_labels == other].mean() for other in kinds]
        return table.rename_axis(index="learned from", columns="judged on")

    def contributions(self, booster: xgb.Booster, max_rows: int = 5000) -> pd.Series:
        """Mean absolute SHAP value (Lundberg et al., 2020) of each feature, highest first.

        max_rows: the number of candidates of `evaluation`, drawn at random, over which it is the mean.
        """
        rows = self.predictions.features[self.predictions.present]
        rows = rows[np.random.default_rng(self.seed).permutation(len(rows))[:max_rows]]
        names = list(self.snapshot.feature_names)
        shap = booster.predict(xgb.DMatrix(rows, feature_names=names), pred_contribs=True)
        return pd.Series(np.abs(shap[:, :-1]).mean(axis=0), names).sort_values(ascending=False)

    def recommender(self, booster: xgb.Booster) -> Recommender:
        return Recommender.of(self.snapshot, booster)


def misses(ranks: np.ndarray, hits: np.ndarray, known: np.ndarray, k: int) -> pd.Series:
    """The shares of next items that were recommended, ranked too low, no candidate, or never seen in training.

    ranks: (n,) as of `DiagnosedPredictions.ranks`; hits: (n, width) bool; known: (n,) bool, whether seen in training.
    """
    candidate = hits.any(axis=1)
    kinds = np.select(
        [~known, ~candidate, ranks > k],
        ["never seen in training", "no candidate", "ranked too low"],
        f"in the first {k}",
    )
    return pd.Series(kinds).value_counts(normalize=True)


def _ndcg(booster: xgb.Booster, examples: Examples) -> float:
    scores = booster.inplace_predict(np.ascontiguousarray(examples.features))
    ends = np.cumsum(examples.groups)
    first = ends - examples.groups  # the index of the positive
    positive = np.repeat(scores[first], examples.groups)
    better, alike = (np.add.reduceat(rows, first) for rows in (scores > positive, scores == positive))
    return float(expected_gain(better, alike).mean())


def expected_gain(better: np.ndarray, alike: np.ndarray, k: int = 20) -> np.ndarray:
    """(n,) NDCG@k of one positive each, averaged over the orders of those that score alike (McSherry and Najork, 2008).

    better: (n,) how many score higher than the positive. alike: (n,) how many score as it does, itself among them.
    """
    gains = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(k) + 2))])
    until = [gains[np.minimum(places, k)] for places in (better, better + alike)]
    return np.asarray((until[1] - until[0]) / alike)


def _metric_values(ranks: np.ndarray, metric: str) -> np.ndarray:
    return per_prediction(ranks, int(metric.partition("@")[2]))[metric]


def _sample(prefixes: Prefixes, limit: int, seed: int) -> Prefixes:
    if len(prefixes) <= limit:
        return prefixes
    return prefixes.take(np.sort(np.random.default_rng(seed).choice(len(prefixes), limit, replace=False)))
