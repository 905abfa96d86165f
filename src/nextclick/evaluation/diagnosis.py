"""Explains why the ranker is as good as it is: what changes with fewer examples, sources or features, or with another
capacity.

Small rankers answer each question. They are trained and evaluated on predictions of the training log, since the test
log is for the final metrics. All of them are evaluated on the same predictions, so that two are compared in pairs, and
each setting is trained with several seeds, since another seed alone moves a metric as much as many a part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xgboost as xgb

from nextclick.evaluation.group_ndcg import ndcg_of_groups
from nextclick.evaluation.metrics import per_prediction
from nextclick.evaluation.statistics.seeds import Effect, effect_over_seeds
from nextclick.events.prefixes import Prefixes
from nextclick.params import Diagnosis, Ranker, Run
from nextclick.progress import progress_bar
from nextclick.ranking.ranker import Examples, train_ranker
from nextclick.ranking.recommender import Recommender, drawn_examples
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
STEP_COLUMNS = ("step", "low", "high")


@dataclass(frozen=True)
class DiagnosedPredictions:
    """Predictions with all their candidates. names: (n_features,); features: (n, width, n_features) float32; hits,
    present: (n, width) bool, whether a candidate is the item clicked next, and whether there is a candidate at all."""

    prefixes: Prefixes
    names: tuple[str, ...]
    features: np.ndarray
    hits: np.ndarray
    present: np.ndarray

    @classmethod
    def of(cls, snapshot: Snapshot, prefixes: Prefixes) -> DiagnosedPredictions:
        candidates, features = snapshot.features(prefixes)
        hits = candidates.present & (candidates.items == prefixes.targets[:, None])
        return cls(prefixes, snapshot.feature_names, features, hits, candidates.present)

    def without(self, hidden: set[str]) -> DiagnosedPredictions:
        """The same predictions without the hidden features."""
        if not hidden:
            return self
        columns = [column for column, name in enumerate(self.names) if name not in hidden]
        names = tuple(self.names[column] for column in columns)
        return replace(self, names=names, features=self.features[:, :, columns])

    def take(self, chosen: np.ndarray) -> DiagnosedPredictions:
        """The chosen predictions."""
        parts = (self.features, self.hits, self.present)
        return DiagnosedPredictions(self.prefixes.take(chosen), self.names, *(part[chosen] for part in parts))

    def examples(self, negatives: int, seed: int) -> Examples:
        """See `drawn_examples`."""
        random = np.random.default_rng(seed)
        return drawn_examples(self.features, self.hits, self.present, negatives, random, self.names)

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

    `evaluation` samples the newest quarter of the sessions, `training` the sessions before them, `learned` and
    `predictions` are the two with all candidates. A seed draws the negatives and the trees' rows and columns;
    `examples` are those that each seed draws, the run's first, and `held_out` those that it draws of `evaluation`.
    """

    def __init__(
        self, snapshot: Snapshot, prefixes: Prefixes, ranker: Ranker, size: Diagnosis, metric: str, run: Run
    ) -> None:
        self.snapshot, self.size, self.threads = snapshot, size, run.threads
        self.seed, self.seeds = run.seed, range(run.seed, run.seed + size.seeds)
        self.params = ranker.model_copy(update={"rounds": size.rounds, "negatives": size.negatives})
        self.metric = metric
        sessions = np.unique(prefixes.sessions)
        newest = np.isin(prefixes.sessions, sessions[int(len(sessions) * 0.75) :])
        self.training = _sample(prefixes.take(np.flatnonzero(~newest)), size.groups, run.seed)
        self.evaluation = _sample(prefixes.take(np.flatnonzero(newest)), size.judged, run.seed)
        self.learned = DiagnosedPredictions.of(snapshot, self.training)
        self.predictions = DiagnosedPredictions.of(snapshot, self.evaluation)
        self.examples = self._drawn(self.learned)
        self.held_out = self.predictions.examples(size.negatives, run.seed)

    def fit(self, examples: Examples, seed: int | None = None, **changes: float) -> xgb.Booster:
        """Train a ranker on the examples, with some params of the laboratory's ranker changed; seed: the run's."""
        params = self.params.model_copy(update=changes)
        return train_ranker(examples, params, self.seed if seed is None else seed, self.threads)[0]

    def values(self, booster: xgb.Booster) -> np.ndarray:
        """(n,) the metric of each prediction of `evaluation`."""
        return _metric_values(self.predictions.ranks(booster.inplace_predict), self.metric)

    def effect(self, differences: np.ndarray, together: int = 1) -> Effect:
        """See `effect_over_seeds`. differences: (n_seeds, n) of the metric, for each prediction of `evaluation`."""
        return effect_over_seeds(differences, self.evaluation.sessions, together)

    def learning_curve(self, shares: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0)) -> pd.DataFrame:
        """`_curve` by number of training examples. shares: of them; each takes the newest."""
        n = min(len(examples.groups) for examples in self.examples)
        cases: dict[int, dict[str, float]] = {max(1, int(n * share)): {} for share in shares}
        return self._curve("examples", cases, "learning curve")

    def capacity_curve(self, depths: tuple[int, ...] = (1, 3, 5, 7, 9)) -> pd.DataFrame:
        """`_curve` by depth of the trees."""
        return self._curve("max_depth", {depth: {"max_depth": depth} for depth in depths}, "capacity")

    def _curve(self, axis: str, cases: dict[int, dict[str, float]], said: str) -> pd.DataFrame:
        """NDCG@20 within sampled candidates, of the training groups ("train") and of groups held out and sampled alike,
        a row for each case; and the step of the latter from the row before, with an interval over seeds and sessions
        that is corrected for the number of steps.

        cases: params of the ranker by value of the axis. Along "examples" the value is how many are trained on.
        """
        sessions, before, rows = self._held_out_sessions(), None, []
        for value, changes in progress_bar(cases.items(), desc=said, unit="setting"):
            train, held_out = [], []
            for seed, examples in zip(self.seeds, self.examples, strict=True):
                n = len(examples.groups)
                some = examples.take_groups(n - value, n) if axis == "examples" else examples
                booster = self.fit(some, seed, **changes)
                train.append(ndcg_of_groups(booster, some).mean())
                held_out.append(ndcg_of_groups(booster, self.held_out))
            now = np.array(held_out)
            step = (
                Effect(*[np.nan] * 3) if before is None else effect_over_seeds(now - before, sessions, len(cases) - 1)
            )
            rows.append((value, np.mean(train), now.mean(), *step))
            before = now
        return pd.DataFrame(rows, columns=[axis, "train", "held out", *STEP_COLUMNS])

    def _held_out_sessions(self) -> np.ndarray:
        """(n_groups,) the session of each group of `held_out`: a prediction without its next item has none."""
        return self.evaluation.sessions[self.predictions.hits.any(axis=1)]

    def ablation(self, *others: str, tables: int = 1) -> pd.DataFrame:
        """The loss of the metric without each candidate source and each feature group: the difference to rankers of the
        same seeds that have them all, paired by prediction. The greatest loss comes first.

        The intervals hold other seeds and sessions, and all those of the table, and of `tables` of them, at once.
        others: further metrics, whose columns are prefixed with their names.
        """
        whole = self._ranks(self.examples, self.predictions)
        rows = []
        parts = [("source", name) for name in SOURCES] + [
            ("features", name) for name in self.snapshot.features_by_group
        ]
        metrics = (self.metric, *others)
        for kind, name in progress_bar(parts, desc="ablation", unit="part"):
            without = self._without_source(name) if kind == "source" else self._without_features(name)
            row = {"kind": kind, "without": name}
            for metric in metrics:
                lost = _metric_values(whole, metric) - _metric_values(without, metric)
                found = self.effect(lost, len(parts) * len(metrics) * tables)
                prefix = "" if metric == self.metric else f"{metric} "
                row |= {f"{prefix}{column}": value for column, value in zip(LOSS_COLUMNS, found, strict=True)}
            rows.append(row)
        return pd.DataFrame(rows).sort_values("lost", ascending=False, ignore_index=True)

    def _without_source(self, source: str) -> np.ndarray:
        """(n_seeds, n) the ranks with neither the candidates of a source nor the features made of its scores."""
        left_out = {COLUMNS.index(name) for name in SOURCES[source]}
        retriever = self.snapshot.retriever
        fewer = replace(retriever, fused=tuple(k for k in retriever.fused if k not in left_out))
        snapshot = replace(self.snapshot, retriever=fewer)
        hidden = {f"{name}_{kind}" for name in SOURCES[source] for kind in ("score", "share", "rank")}
        learned, judged = (DiagnosedPredictions.of(snapshot, part) for part in (self.training, self.evaluation))
        return self._ranks_without(hidden, learned, judged)

    def _without_features(self, group: str) -> np.ndarray:
        """(n_seeds, n) the ranks without the features of a group."""
        return self._ranks_without(set(self.snapshot.features_by_group[group]), self.learned, self.predictions)

    def _ranks_without(
        self, hidden: set[str], learned: DiagnosedPredictions, judged: DiagnosedPredictions
    ) -> np.ndarray:
        return self._ranks(self._drawn(learned.without(hidden)), judged.without(hidden))

    def _ranks(self, drawn: list[Examples], judged: DiagnosedPredictions) -> np.ndarray:
        """(n_seeds, n) the ranks by rankers that are trained on the examples of each seed."""
        boosters = (self.fit(examples, seed) for seed, examples in zip(self.seeds, drawn, strict=True))
        return np.array([judged.ranks(booster.inplace_predict) for booster in boosters])

    def _drawn(self, learned: DiagnosedPredictions, negatives: int | None = None) -> list[Examples]:
        """The examples that each seed draws."""
        return [learned.examples(negatives or self.size.negatives, seed) for seed in self.seeds]

    def _values(self, drawn: list[Examples]) -> np.ndarray:
        """(n_seeds, n) the metric of each prediction of `evaluation`, by the ranker of each seed."""
        return _metric_values(self._ranks(drawn, self.predictions), self.metric)

    def imbalance(self, counts: tuple[int, ...] = (5, 20, 80)) -> pd.DataFrame:
        """The mean metric by negatives per positive, of which the positives are the same; and the difference of each to
        the first, with intervals corrected for their number: columns negatives, the metric, and those of a step."""
        first, rows = None, []
        for count in progress_bar(counts, desc="negatives", unit="setting"):
            values = self._values(self._drawn(self.learned, count))
            first = values if first is None else first
            step = self.effect(values - first, len(counts) - 1) if count != counts[0] else Effect(*[np.nan] * 3)
            rows.append((count, values.mean(), *step))
        return pd.DataFrame(rows, columns=["negatives", self.metric, *STEP_COLUMNS])

    def transfer(self, training_labels: np.ndarray, evaluation_labels: np.ndarray) -> tuple[pd.DataFrame, Effect]:
        """The mean metric when rankers are trained on one slice and evaluated on another: a row for each slice of
        `training`, with equally many predictions, and a column for each slice of `evaluation`. And how much better
        those do that learned from the slice of the prediction than the mean of the others.

        training_labels: (len(training),); evaluation_labels: (len(evaluation),). At least two slices are in both.
        """
        kinds = sorted(set(training_labels) & set(evaluation_labels))
        size = min(int((training_labels == kind).sum()) for kind in kinds)
        values = {}
        for kind in progress_bar(kinds, desc="transfer", unit="slice"):
            chosen = np.random.default_rng(self.seed).permutation(np.flatnonzero(training_labels == kind))[:size]
            values[kind] = self._values(self._drawn(self.learned.take(np.sort(chosen))))
        table = pd.DataFrame(
            {other: {kind: values[kind][:, evaluation_labels == other].mean() for kind in kinds} for other in kinds}
        )
        differences = np.zeros_like(values[kinds[0]])
        for kind in kinds:
            others = np.mean([values[other] for other in kinds if other != kind], axis=0)
            chosen = evaluation_labels == kind
            differences[:, chosen] = (values[kind] - others)[:, chosen]
        within = np.isin(evaluation_labels, kinds)
        better = effect_over_seeds(differences[:, within], self.evaluation.sessions[within])
        return table.rename_axis(index="learned from", columns="judged on"), better

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


def _metric_values(ranks: np.ndarray, metric: str) -> np.ndarray:
    """The metric of each rank, in the shape of `ranks`."""
    return per_prediction(ranks, int(metric.partition("@")[2]))[metric]


def _sample(prefixes: Prefixes, limit: int, seed: int) -> Prefixes:
    if len(prefixes) <= limit:
        return prefixes
    return prefixes.take(np.sort(np.random.default_rng(seed).choice(len(prefixes), limit, replace=False)))
