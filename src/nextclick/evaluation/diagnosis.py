"""Why the ranker is as good as it is: what it would be with less data, other capacity, fewer sources or features.

Each question is answered by small rankers, trained and judged on predictions of the training log only: the test is for
the final figure. All of them share the sessions judged, so that two are compared prediction by prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xgboost as xgb

from nextclick.evaluation.metrics import per_prediction, resampled_means, resampled_sessions
from nextclick.events.prefixes import Prefixes
from nextclick.params import Diagnosis, Ranker, Run
from nextclick.progress import progress_bar
from nextclick.ranking.ranker import Examples, train_ranker
from nextclick.ranking.recommender import Recommender, training_examples
from nextclick.ranking.snapshot import Snapshot
from nextclick.retrieval.candidates import COLUMNS

# candidate sources that stand or fall together: columns of the retrieval's scores
SOURCES = {
    "neighbour sessions": ("neighbours", "neighbours_near", "neighbours_after", "neighbours_next"),
    "transitions": ("after_last", "before_last", "next_last", "after", "near"),
    "own items": ("own",),
    "encoder": ("encoder",),
}
LOST = ("lost", "low", "high")


@dataclass(frozen=True)
class Judged:
    """Predictions held out with all their candidates. features: (n, width, n_features); hits, present: (n, width)."""

    prefixes: Prefixes
    features: np.ndarray
    hits: np.ndarray
    present: np.ndarray

    @classmethod
    def of(cls, snapshot: Snapshot, prefixes: Prefixes) -> Judged:
        candidates, features = snapshot.features(prefixes)
        hits = candidates.present & (candidates.items == prefixes.targets[:, None])
        return cls(prefixes, features, hits, candidates.present)

    def ranks(self, score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """(n,) the place of each next item when the candidates are ordered by `score`, 0 where it is none of them."""
        scores = np.full(self.hits.shape, -np.inf, np.float32)
        scores[self.present] = score(self.features[self.present])
        order = np.argsort(-scores, axis=1, kind="stable")
        place = np.take_along_axis(self.hits, order, axis=1).argmax(axis=1) + 1
        return np.where(self.hits.any(axis=1), place, 0)


class Laboratory:
    """Trains small rankers on `learn` and judges each on `judge`, by the metric named (such as mrr@20)."""

    def __init__(
        self, snapshot: Snapshot, prefixes: Prefixes, ranker: Ranker, size: Diagnosis, metric: str, run: Run
    ) -> None:
        self.snapshot, self.size, self.seed, self.threads = snapshot, size, run.seed, run.threads
        self.params = ranker.model_copy(update={"rounds": size.rounds, "negatives": size.negatives})
        self.metric = metric
        sessions = np.unique(prefixes.sessions)
        newest = np.isin(prefixes.sessions, sessions[int(len(sessions) * 0.75) :])  # judged on the newest quarter
        self.learn = _some(prefixes.take(np.flatnonzero(~newest)), size.groups, run.seed)
        self.judge = _some(prefixes.take(np.flatnonzero(newest)), size.judged, run.seed)
        self.examples = training_examples(snapshot, self.learn, size.negatives, run.seed)
        self.held_out = training_examples(snapshot, self.judge, size.negatives, run.seed)
        self.judged = Judged.of(snapshot, self.judge)

    def fit(self, examples: Examples, **changes: float) -> xgb.Booster:
        """A ranker with some of its params changed."""
        return train_ranker(examples, self.params.model_copy(update=changes), self.seed, self.threads)[0]

    def values(self, booster: xgb.Booster, judged: Judged | None = None) -> np.ndarray:
        """(n,) the metric of each judged prediction."""
        return _values((judged or self.judged).ranks(booster.inplace_predict), self.metric)

    def learning_curve(self, shares: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0)) -> pd.DataFrame:
        """The metric, on what was learned from and on what was held out, by share of the training examples."""
        rows = []
        for share in progress_bar(shares, desc="learning curve", unit="ranker"):
            n = len(self.examples.groups)
            some = self.examples.take_groups(n - max(1, int(n * share)), n)  # the newest
            rows.append((len(some.groups), *self._both(self.fit(some), some)))
        return pd.DataFrame(rows, columns=["examples", "train", "held out"])

    def capacity_curve(self, depths: tuple[int, ...] = (1, 3, 5, 7, 9)) -> pd.DataFrame:
        """The same by depth of the trees."""
        rows = [
            (depth, *self._both(self.fit(self.examples, max_depth=depth), self.examples))
            for depth in progress_bar(depths, desc="capacity", unit="ranker")
        ]
        return pd.DataFrame(rows, columns=["max_depth", "train", "held out"])

    def _both(self, booster: xgb.Booster, examples: Examples) -> tuple[float, float]:
        """NDCG@20 within sampled candidates, of the training groups and of held-out groups sampled alike."""
        return _ndcg(booster, examples), _ndcg(booster, self.held_out)

    def ablation(self, *others: str) -> pd.DataFrame:
        """What is lost without each candidate source and each feature group: difference of the metric to the whole,
        with its 95 % interval, paired by prediction and resampled by session.

        others: further metrics, whose columns have their names in front.
        """
        whole = self.judged.ranks(self.fit(self.examples).inplace_predict)
        draws = resampled_sessions(self.judge.sessions, self.seed)
        rows = []
        parts = [("source", name) for name in SOURCES] + [
            ("features", name) for name in self.snapshot.features_by_group
        ]
        for kind, name in progress_bar(parts, desc="ablation", unit="ranker"):
            without = self._without_source(name) if kind == "source" else self._without_features(name)
            row = {"kind": kind, "without": name}
            for metric in (self.metric, *others):
                lost = _values(whole, metric) - _values(without, metric)
                low, high = np.percentile(resampled_means(lost, *draws), [2.5, 97.5])
                prefix = "" if metric == self.metric else f"{metric} "
                row |= {f"{prefix}{column}": float(v) for column, v in zip(LOST, (lost.mean(), low, high), strict=True)}
            rows.append(row)
        return pd.DataFrame(rows).sort_values("lost", ascending=False, ignore_index=True)

    def _without_source(self, source: str) -> np.ndarray:
        """The ranks with neither its candidates nor the features made of its scores."""
        gone = {COLUMNS.index(name) for name in SOURCES[source]}
        retriever = self.snapshot.retriever
        fewer = replace(retriever, fused=tuple(k for k in retriever.fused if k not in gone))
        snapshot = replace(self.snapshot, retriever=fewer)
        hidden = {f"{name}_{kind}" for name in SOURCES[source] for kind in ("score", "share", "rank")}
        kept = [place for place, name in enumerate(snapshot.feature_names) if name not in hidden]
        examples = training_examples(snapshot, self.learn, self.size.negatives, self.seed)
        return self._ranks(examples, Judged.of(snapshot, self.judge), kept)

    def _without_features(self, group: str) -> np.ndarray:
        hidden = set(self.snapshot.features_by_group[group])
        kept = [place for place, name in enumerate(self.snapshot.feature_names) if name not in hidden]
        return self._ranks(self.examples, self.judged, kept)

    def _ranks(self, examples: Examples, judged: Judged, kept: list[int]) -> np.ndarray:
        """(n,) the ranks of a ranker that learned from the kept columns only."""
        booster = self.fit(_columns(examples, kept))
        return replace(judged, features=judged.features[:, :, kept]).ranks(booster.inplace_predict)

    def imbalance(self, counts: tuple[int, ...] = (5, 20, 80)) -> pd.Series:
        """The metric by negatives per positive, each with as many positives."""
        found = {}
        for count in progress_bar(counts, desc="negatives", unit="ranker"):
            examples = training_examples(self.snapshot, self.learn, count, self.seed)
            found[count] = float(self.values(self.fit(examples)).mean())
        return pd.Series(found, name=self.metric)

    def transfer(self, labels: np.ndarray, judged_labels: np.ndarray) -> pd.DataFrame:
        """The metric when one slice is learned from and another judged: a row for each slice of the training examples,
        as many of each, a column for each slice judged.

        labels: (len(learn),), judged_labels: (len(judge),).
        """
        kinds = sorted(set(labels) & set(judged_labels))
        most = min(int((labels == kind).sum()) for kind in kinds)
        table = pd.DataFrame(index=kinds, columns=kinds, dtype=float)
        for kind in progress_bar(kinds, desc="transfer", unit="ranker"):
            some = _some(self.learn.take(np.flatnonzero(labels == kind)), most, self.seed)
            booster = self.fit(training_examples(self.snapshot, some, self.size.negatives, self.seed))
            values = self.values(booster)
            table.loc[kind] = [values[judged_labels == other].mean() for other in kinds]
        return table.rename_axis(index="learned from", columns="judged on")

    def contributions(self, booster: xgb.Booster, most: int = 5000) -> pd.Series:
        """Mean absolute SHAP value (Lundberg et al., 2020) of each feature over judged candidates, highest first."""
        rows = self.judged.features[self.judged.present]
        rows = rows[np.random.default_rng(self.seed).permutation(len(rows))[:most]]
        names = list(self.snapshot.feature_names)
        shap = booster.predict(xgb.DMatrix(rows, feature_names=names), pred_contribs=True)
        return pd.Series(np.abs(shap[:, :-1]).mean(axis=0), names).sort_values(ascending=False)

    def recommender(self, booster: xgb.Booster) -> Recommender:
        return Recommender(self.snapshot, booster)


def misses(ranks: np.ndarray, hits: np.ndarray, known: np.ndarray, k: int) -> pd.Series:
    """What became of each next item, as shares: listed, ranked too low, no candidate, or never seen in training.

    ranks: (n,) places among the candidates, 0 for none; hits: (n, width); known: (n,) bool.
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
    first = ends - examples.groups  # where the positive stands
    better = np.add.reduceat(scores > np.repeat(scores[first], examples.groups), first)
    return float(np.where(better < 20, 1 / np.log2(better + 2), 0).mean())


def _values(ranks: np.ndarray, metric: str) -> np.ndarray:
    return per_prediction(ranks, int(metric.partition("@")[2]))[metric]


def _columns(examples: Examples, kept: list[int]) -> Examples:
    return replace(examples, features=examples.features[:, kept], names=tuple(examples.names[k] for k in kept))


def _some(prefixes: Prefixes, most: int, seed: int) -> Prefixes:
    if len(prefixes) <= most:
        return prefixes
    return prefixes.take(np.sort(np.random.default_rng(seed).choice(len(prefixes), most, replace=False)))
