"""After a promotion: what visitors click is held against what the gate saw, and a broken promise is rolled back."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nextclick.bundle.pointer import Pointer
from nextclick.errors import InputError
from nextclick.evaluation.inference import SessionMean, sequence_interval
from nextclick.evaluation.metrics import per_prediction
from nextclick.lifecycle.promotion import champion, promise, rollback
from nextclick.lifecycle.registry import Registry
from nextclick.monitoring.feedback import as_promised, clicked_lists
from nextclick.params import Params
from nextclick.units import MS_PER_MINUTE, SECONDS_PER_MINUTE


def watch(registry: Registry, params: Params) -> dict[str, Any]:
    """Look again and again until the champion's time is over; returns the last look. One that was killed goes on where
    time is now, and a champion whose time is over is left alone."""
    while True:
        seen = look(registry, params, datetime.now(UTC))
        if seen["verdict"] != "watching":
            return seen
        time.sleep(params.lifecycle.watch_every_minutes * SECONDS_PER_MINUTE)


def look(registry: Registry, params: Params, now: datetime) -> dict[str, Any]:
    """One look at the present champion: `watching`, `kept`, or `rolled back`.

    The promise is what the gate measured, less `lifecycle.promise_loss`; it is broken when the whole of an interval
    that holds at every look lies below. Where no session tells of it, it is not, and the `reason` says why.
    """
    pointer = Pointer.read(registry.root, registry.name)
    version = champion(registry)
    promised = promise(registry.root, version.bundle if version else None, params.evaluation.figure)
    if version is None or promised is None or len(pointer.history) < 2:
        return {"verdict": "kept", "reason": "nothing was promised, or there is nothing to go back to"}
    since = datetime.fromisoformat(pointer.history[-1][1])
    ends = since + timedelta(hours=params.lifecycle.watch_hours)
    mean, reason = clicked(registry.root, version.bundle, since, min(now, ends), params)
    least = promised * (1 - params.lifecycle.promise_loss)
    low, high = sequence_interval(mean, params.lifecycle.alpha)
    seen = {
        "version": version.number,
        "sessions": mean.n,
        "promised": promised,
        "least": least,
        "interval": [low, high],
        "until": ends.isoformat(),
    }
    if np.isfinite(high) and high < least:
        reason = f"{mean.n} sessions give at most {high:.4f} where at least {least:.4f} was promised"
        return {**seen, "verdict": "rolled back", **rollback(registry, None, {"reason": reason, "evidence": seen})}
    said = {"reason": f"nothing to watch by: {reason}"} if reason else {}
    return {**seen, "verdict": "kept" if now >= ends else "watching", **said}


def clicked(
    root: Path, bundle: str, since: datetime, until: datetime, params: Params
) -> tuple[SessionMean, str | None]:
    """The deciding metric of a bundle's lists that were made as the promise was, by the clicks that followed; and where
    there are none, why."""
    k, patience = params.evaluation.k, round(params.monitoring.label_minutes * MS_PER_MINUTE)
    try:
        lists = clicked_lists(root, since, until, params.ingest.event_types[0], patience)
    except InputError as error:  # nothing was served or clicked yet
        return SessionMean(float("nan"), float("nan"), 0), str(error)
    its = lists[lists["model_version"] == bundle]
    comparable = as_promised(its, k)
    values = per_prediction(comparable["rank"].to_numpy(np.int64), k)[params.evaluation.figure]
    sessions = comparable.assign(value=values).groupby("session_id")["value"].agg(["sum", "count"])
    mean = SessionMean.of(sessions["sum"].to_numpy(), sessions["count"].to_numpy())
    return mean, _lacking(its, k) if comparable.empty else None


def _lacking(its: pd.DataFrame, k: int) -> str:
    if its.empty:
        return "no click followed a list of this version yet"
    degraded, unknown, shorter = its["degraded"] != "no", its["known"] == 0, its["shown"] < k
    return (
        f"the promise is of none of the {len(its)} lists that a click followed: {degraded.sum()} were degraded, "
        f"{unknown.sum()} of a session without a known click, {shorter.sum()} of fewer than {k} items"
    )
