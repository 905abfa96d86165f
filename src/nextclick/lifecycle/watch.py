"""After a promotion: compares what visitors click with what the gate promised, and rolls back a broken promise."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from nextclick.bundle.pointer import Pointer
from nextclick.errors import InputError
from nextclick.evaluation.metrics import per_prediction
from nextclick.evaluation.statistics.anytime import betting_interval
from nextclick.lifecycle.promotion import champion, promised_by_gate, rollback
from nextclick.lifecycle.records import DeploymentRecord, Grounds
from nextclick.lifecycle.registry import Registry
from nextclick.monitoring.feedback import as_promised, clicked_lists, first_lists, label_ms
from nextclick.params import Params
from nextclick.result import Result
from nextclick.units import SECONDS_PER_MINUTE


class WatchReport(Result):
    """What one check of the champion saw. least: the smallest value that keeps the promise. until: the end of the
    watch, ISO text. reason: why no session counted."""

    version: str = ""
    sessions: int = 0
    promised: float | None = None
    least: float | None = None
    interval: list[float] | None = None
    until: str = ""
    verdict: Literal["watching", "kept", "rolled back"]
    reason: str | None = None
    rollback: DeploymentRecord | None = None

    def to_dict(self) -> dict[str, Any]:
        report = self.model_dump(exclude_unset=True, exclude={"rollback"})
        return report | (self.rollback.to_dict() if self.rollback else {})


def watch(registry: Registry, params: Params) -> WatchReport:
    """Check the promise again and again until the champion's watch ends; returns the last report. A watch that was
    killed continues at the present time, and a champion whose watch has ended is left alone."""
    while True:
        report = check_promise(registry, params, datetime.now(UTC))
        if report.verdict != "watching":
            return report
        time.sleep(params.lifecycle.watch_every_minutes * SECONDS_PER_MINUTE)


def check_promise(registry: Registry, params: Params, now: datetime) -> WatchReport:
    """Check the present champion once, and roll it back if its promise is broken.

    The promise is what the gate measured, less `lifecycle.promise_loss`; it is broken if the whole of an interval that
    holds at every check, from the first session on, lies below. If no session counts it is not broken, and the
    `reason` says why.
    """
    pointer = Pointer.read(registry.root, registry.name)
    version = champion(registry)
    promised = promised_by_gate(registry.root, version.bundle if version else None, params.evaluation.metric)
    if version is None or promised is None or len(pointer.history) < 2:
        return WatchReport(verdict="kept", reason="nothing was promised, or there is nothing to go back to")
    since = datetime.fromisoformat(pointer.history[-1][1])
    ends = since + timedelta(hours=params.lifecycle.watch_hours)
    sums, counts, no_sessions = metric_since(registry.root, version.bundle, since, min(now, ends), params)
    least = promised * (1 - params.lifecycle.promise_loss)
    low, high = betting_interval(sums, counts, params.gate.per_session, params.lifecycle.alpha)
    evidence = {
        "version": version.number,
        "sessions": len(sums),
        "promised": promised,
        "least": least,
        "interval": [low, high],
        "until": ends.isoformat(),
    }
    if high < least:
        reason = f"{len(sums)} sessions give at most {high:.4f} where at least {least:.4f} was promised"
        record = rollback(registry, None, Grounds(reason=reason, evidence=evidence))
        return WatchReport.model_validate({**evidence, "verdict": "rolled back", "rollback": record})
    report = {**evidence, "verdict": "kept" if now >= ends else "watching"}
    return WatchReport.model_validate(
        {**report, "reason": f"nothing to watch by: {no_sessions}"} if no_sessions else report
    )


def metric_since(
    root: Path, bundle: str, since: datetime, until: datetime, params: Params
) -> tuple[np.ndarray, np.ndarray, str | None]:
    """The deciding metric of a bundle's lists that were made as the promise was, by the clicks that followed: of each
    session the sum over its first `gate.per_session` lists, and their number; if there are none, the reason."""
    k = params.evaluation.k
    try:
        lists = clicked_lists(root, since, until, params.ingest.event_types[0], label_ms(params))
    except InputError as error:  # nothing was served or clicked yet
        return np.empty(0), np.empty(0), str(error)
    its = lists[lists["model_version"] == bundle]
    comparable = first_lists(as_promised(its, k), params.gate.per_session)
    values = per_prediction(comparable["rank"].to_numpy(np.int64), k)[params.evaluation.metric]
    sessions = comparable.assign(value=values).groupby("session_id")["value"].agg(["sum", "count"])
    reason = _why_none_counts(its, k) if comparable.empty else None
    return sessions["sum"].to_numpy(), sessions["count"].to_numpy(), reason


def _why_none_counts(its: pd.DataFrame, k: int) -> str:
    if its.empty:
        return "no click followed a list of this version yet"
    degraded, unknown, shorter = its["degraded"] != "no", its["known"] == 0, its["shown"] < k
    return (
        f"the promise is of none of the {len(its)} lists that a click followed: {degraded.sum()} were degraded, "
        f"{unknown.sum()} of a session without a known click, {shorter.sum()} of fewer than {k} items"
    )
