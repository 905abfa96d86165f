"""A window judged: its facts, its columns against the reference, its hits against the promise, and the decision."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from nextclick.evaluation.metrics import interval, per_prediction
from nextclick.monitoring.data_profile import COLUMNS, facts_by_day, facts_of
from nextclick.monitoring.drift import Column, by_day, column_drift, thresholds
from nextclick.monitoring.policy import decide, weighted_drift
from nextclick.monitoring.reference import ABOUT, Reference
from nextclick.params import Params

UNKNOWN = {"complete": True, "interval": None}
FIRST = 0.01  # of the events: the window's first is the one behind so many, whatever some clocks say
WEEK, CALENDAR = 6.5, ("weekday",)  # days of window and reference, below which such a feature has to differ


class Monitor:
    """A reference, ready to be compared with."""

    def __init__(self, reference: Reference, known_items: np.ndarray, params: Params) -> None:
        """known_items: ids, (n,)."""
        self.reference, self._known, self._params = reference, known_items, params
        served = reference.served
        self.columns = [Column.of(served[name]) for name in served if name not in ABOUT]

    def limits(self, n_sessions: int) -> dict[str, float]:
        """See `thresholds`, for windows of so many sessions."""
        rules, served = self._params.monitoring, self.reference.served
        sessions = served["session"].to_numpy()
        return thresholds(
            served, self.columns, sessions, max(1, n_sessions), rules.windows_to_false_alarm, self._params.run.seed
        )

    def performance(self, judged: pd.DataFrame) -> dict[str, Any]:
        """Of the deciding metric; judged: see `Replay`."""
        if judged.empty:
            return {**UNKNOWN, "promised": self.reference.about["promised"]}
        figure, k = self.reference.about["figure"], self._params.evaluation.k
        values = per_prediction(judged["rank"].to_numpy(np.int64), k)[figure]
        bounds = interval(values, pd.factorize(judged["session"])[0], self._params.run.seed)
        return {"complete": True, "interval": bounds, "value": float(values.mean())} | {
            "promised": self.reference.about["promised"]
        }

    def judge(
        self,
        events: pd.DataFrame,
        served: pd.DataFrame,
        performance: dict[str, Any],
        *,
        window: tuple[pd.Timestamp | None, pd.Timestamp | None] = (None, None),
        pair: tuple[pd.DataFrame, pd.DataFrame] | None = None,
        service: dict[str, Any] | None = None,
        limits: dict[str, float] | None = None,
    ) -> dict[str, Any]:
        """events: raw. served: see `Replay.served`. performance, service: see `decide`. window: see `facts_of`. pair:
        features as served and as training's code makes them, see `computed_again`. limits: where they are known
        already.

        Returns facts, columns (rows of `column_drift`), said, skewed, map (column -> day -> distance), drift (share of
        the importance), performance, service, age_days and the decision.
        """
        about, rules = self.reference.about, self._params.monitoring
        facts, before = facts_of(events, self._known, *window), about["facts"]
        if limits is None:
            limits = self.limits(served["session"].nunique())
        if min(facts.get("days") or 0, before["days"]) < WEEK:
            limits = limits | {name: 1.0 for name in CALENDAR if name in limits}
        features = served.drop(columns=list(ABOUT), errors="ignore")
        table, said = column_drift(self.columns, limits, features, rules.effect)
        anything = not served.empty
        drift = weighted_drift(table, about["importance"]) if anything else None
        said = said if anything else {}
        skewed = self._skewed(*pair) if pair is not None else []
        age = _age(events, about["trained_until"])
        if facts.get("newest") and pd.Timestamp(facts["newest"]) < pd.Timestamp(about["trained_until"]):
            facts["behind"] = about["trained_until"]
        found = decide(facts, before, said, skewed, drift, performance, age, rules, service)
        days = pd.to_datetime(served["moment"], unit="ms", utc=True) if anything else None
        return {
            "decision": {"outcome": found.outcome, "rule": found.rule, "words": found.words},
            "facts": facts,
            "facts_before": before,
            "performance": performance,
            "service": service,
            "age_days": age,
            "drift": drift,
            "served": {"rows": len(served), "sessions": int(served["session"].nunique()) if anything else 0},
            "said": said,
            "skewed": skewed,
            "columns": table.sort_values("distance", ascending=False).to_dict("records"),
            "map": by_day(self.columns, features, days).to_dict("index") if days is not None else {},
            "days": facts_by_day(events, self._known) if set(COLUMNS) <= set(events) else {},
        }

    def _skewed(self, served: pd.DataFrame, trained: pd.DataFrame) -> list[str]:
        """Of the same lists: chance has no part in it, so the effect alone is the limit."""
        if trained.empty:
            return []
        columns = [Column.of(trained[column.name]) for column in self.columns if column.name in trained]
        table, _ = column_drift(columns, dict.fromkeys(trained.columns, 0.0), served, self._params.monitoring.effect)
        return table[table["drifted"]]["column"].to_list()


def _age(events: pd.DataFrame, trained_until: str) -> float:
    """Days from the last event that the model knows to the window's first, at least 0. The first is a quantile: a clock
    that is years behind must not make the model young."""
    if "timestamp" not in events or events["timestamp"].isna().all():
        return 0.0
    first = events["timestamp"].dropna().sort_values().iloc[round(FIRST * (events["timestamp"].count() - 1))]
    return max(0.0, (first - pd.Timestamp(trained_until)) / timedelta(days=1))
