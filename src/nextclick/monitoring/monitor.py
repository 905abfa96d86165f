"""Evaluates a window: its events' profile, its columns against the reference, its metric against the promise, and the
decision."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from nextclick.evaluation.metrics import per_prediction
from nextclick.evaluation.statistics.bootstrap import bootstrap_interval
from nextclick.logs.prediction_log import ServiceReport
from nextclick.monitoring.data_profile import REQUIRED_FIELDS, DataProfile, profile_by_day, profile_of
from nextclick.monitoring.drift import Column, ColumnDrift, by_day, column_drift, thresholds
from nextclick.monitoring.policy import Decision, Evidence, Performance, decide, weighted_drift
from nextclick.monitoring.reference import NO_FEATURES, Reference
from nextclick.params import Params
from nextclick.result import Result

EARLIEST_SHARE = 0.01  # the window begins behind so many of its events, whatever some clocks say
WEEK_DAYS, CALENDAR = 6.5, ("weekday",)  # if window or reference has fewer days, these features have to differ
AGEING = ("item_hours_known",)  # grow with the time since the training, whatever people do: shown, and never drifted


class DriftFinding(Result):
    """What was found in a window, as drift.json has it."""

    decision: Decision
    facts: DataProfile  # of the window's events
    facts_before: DataProfile  # of the reference's
    performance: Performance
    service: ServiceReport | None  # None if the events are only replayed
    age_days: float  # from the end of the training to the window
    drift: float | None  # see `weighted_drift`
    served: dict[str, int]  # rows and sessions that were compared
    said: dict[str, list[str]]  # features by what is wrong with their columns, see `column_drift`
    skewed: list[str]  # features
    columns: list[ColumnDrift]  # the farthest from the reference first
    map: dict[str, dict[str, Any]]  # feature -> day -> distance
    days: dict[str, DataProfile]


class Monitor:
    """Compares windows with a reference."""

    def __init__(self, reference: Reference, vocabulary: np.ndarray, params: Params) -> None:
        """vocabulary: (n,) item ids."""
        self.reference, self._vocabulary, self._params = reference, vocabulary, params
        served = reference.served
        self.columns = [Column.of(served[name]) for name in served if name not in NO_FEATURES]

    def limits(self, n_sessions: int) -> dict[str, float]:
        """The distances that chance alone passes (see `thresholds`) in windows of so many sessions, by column."""
        rules, served = self._params.monitoring, self.reference.served
        sessions = served["session"].to_numpy()
        return thresholds(
            served, self.columns, sessions, max(1, n_sessions), rules.windows_to_false_alarm, self._params.run.seed
        )

    def performance(self, predictions: pd.DataFrame) -> Performance:
        """The deciding metric of replayed predictions, see `Replay`."""
        about = self.reference.about
        if predictions.empty:
            return Performance(complete=True, interval=None, promised=about.promised)
        values = per_prediction(predictions["rank"].to_numpy(np.int64), self._params.evaluation.k)[about.figure]
        bounds = bootstrap_interval(values, pd.factorize(predictions["session"])[0], self._params.run.seed)
        return Performance(complete=True, interval=bounds, value=float(values.mean()), promised=about.promised)

    def evaluate(
        self,
        events: pd.DataFrame,
        served: pd.DataFrame,
        performance: Performance,
        *,
        window: tuple[pd.Timestamp | None, pd.Timestamp | None] = (None, None),
        pair: tuple[pd.DataFrame, pd.DataFrame] | None = None,
        service: ServiceReport | None = None,
        limits: dict[str, float] | None = None,
    ) -> DriftFinding:
        """events: raw. served: see `Replay.served`. window: since and until, see `profile_of`. pair: features as served
        and as training computes them, see `recomputed`. limits: those of this number of sessions, if the caller has
        computed them."""
        about, rules = self.reference.about, self._params.monitoring
        profile = profile_of(events, self._vocabulary, *window)
        if profile.newest and pd.Timestamp(profile.newest) < pd.Timestamp(about.trained_until):
            profile = profile.model_copy(update={"behind": about.trained_until})
        if limits is None:
            limits = self.limits(served["session"].nunique())
        bound_to_differ = AGEING + (CALENDAR if min(profile.days, about.facts.days) < WEEK_DAYS else ())
        limits = limits | {name: 1.0 for name in bound_to_differ if name in limits}
        features = served.drop(columns=list(NO_FEATURES), errors="ignore")
        columns, reported = column_drift(self.columns, limits, features, rules.effect)
        compared = not served.empty
        evidence = Evidence(
            profile=profile,
            reference=about.facts,
            reported=reported if compared else {},
            skewed=self._skewed(*pair) if pair is not None else [],
            drift=weighted_drift(columns, about.importance) if compared else None,
            performance=performance,
            age_days=_age_days(events, about.trained_until),
            limits=rules,
            service=service,
        )
        mapped = [column for column in self.columns if column.name not in AGEING + CALENDAR]
        rows = columns.sort_values("distance", ascending=False).to_dict("records")
        return DriftFinding(
            decision=decide(evidence),
            facts=profile,
            facts_before=about.facts,
            performance=performance,
            service=service,
            age_days=evidence.age_days,
            drift=evidence.drift,
            served={"rows": len(served), "sessions": int(served["session"].nunique()) if compared else 0},
            said=evidence.reported,
            skewed=evidence.skewed,
            columns=[ColumnDrift.model_validate(row) for row in rows],
            map=by_day(mapped, served).to_dict("index") if compared else {},
            days=profile_by_day(events, self._vocabulary) if set(REQUIRED_FIELDS) <= set(events) else {},
        )

    def _skewed(self, served: pd.DataFrame, trained: pd.DataFrame) -> list[str]:
        """Features that differ on the same recommendations: chance has no part in it, so the effect alone is the
        limit."""
        if trained.empty:
            return []
        columns = [Column.of(trained[column.name]) for column in self.columns if column.name in trained]
        table, _ = column_drift(columns, dict.fromkeys(trained.columns, 0.0), served, self._params.monitoring.effect)
        return table[table["drifted"]]["column"].to_list()


def _age_days(events: pd.DataFrame, trained_until: str) -> float:
    """Days from the last event that the model knows to the window's first, at least 0. The first is a quantile: a clock
    that is years behind must not make the model young."""
    if "timestamp" not in events or events["timestamp"].isna().all():
        return 0.0
    first = events["timestamp"].dropna().sort_values().iloc[round(EARLIEST_SHARE * (events["timestamp"].count() - 1))]
    return max(0.0, (first - pd.Timestamp(trained_until)) / timedelta(days=1))
