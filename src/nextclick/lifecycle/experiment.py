"""What a split showed: sessions of both arms, the metric of each with an interval, and whether they differ."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nextclick.bundle.pointer import Pointer
from nextclick.errors import InputError
from nextclick.evaluation.inference import SessionMean, gain_interval, sample_ratio_p, sequence_interval
from nextclick.evaluation.metrics import per_prediction
from nextclick.lifecycle.records import read_records
from nextclick.logs.prediction_log import sessions_by_version
from nextclick.monitoring.feedback import clicked_lists
from nextclick.params import Params
from nextclick.units import MS_PER_MINUTE

ARMS = ("champion", "challenger")
MISMATCH = 0.01  # p-value below which the shares are not those that were asked for, and nothing can be concluded


def results(root: Path, name: str, params: Params) -> dict[str, Any]:
    """Of the split that runs, since its share was set. Raises InputError where none runs or nothing was clicked."""
    pointer = Pointer.read(root, name)
    started = [record for record in read_records(root, "split") if record["recommender"] == name and record["share"]]
    if not pointer.split or not started:
        raise InputError(f"{name}: no split runs; start one with `nextclick split V=10%`")
    since, until = datetime.fromisoformat(started[-1]["at"]), datetime.now(UTC)
    arms = {str(pointer.version): ARMS[0], str(pointer.split.version): ARMS[1]}
    exposed = exposures(root, since, arms)
    patience = round(params.monitoring.label_minutes * MS_PER_MINUTE)
    clicked = clicked_lists(root, since, until, params.ingest.event_types[0], patience)
    return {
        "since": since.isoformat(),
        "share": pointer.split.share,
        **compared(clicked, exposed, pointer.split.share, params),
    }


def exposures(root: Path, since: datetime, arms: dict[str, str]) -> pd.DataFrame:
    """Sessions that got a list: session_id, its arm, and how many arms it saw. arms: by model_version."""
    shown = sessions_by_version(root, since)
    shown = shown.assign(arm=shown["model_version"].map(arms)).dropna(subset=["arm"])
    return shown.groupby("session_id", as_index=False).agg(arm=("arm", "first"), arms=("arm", "nunique"))


def compared(clicked: pd.DataFrame, exposed: pd.DataFrame, share: float, params: Params) -> dict[str, Any]:
    """clicked: as `clicked_lists`, exposed: as `exposures`. A session that saw both arms, because the share was
    changed in its midst, belongs to neither.

    All lists count, whatever a promise is made of: short ones are the same for both arms, a store that is away strikes
    both, and an arm whose lists fail or come too late must not be spared them."""
    figure = params.evaluation.figure
    whole = exposed[exposed["arms"] == 1]
    lists = clicked.merge(whole, "inner", "session_id")
    lists["value"] = per_prediction(lists["rank"].to_numpy(np.int64), params.evaluation.k)[figure]
    sessions = lists.groupby(["arm", "session_id"], as_index=False)["value"].agg(sum="sum", count="count")
    parts = {arm: sessions[sessions["arm"] == arm] for arm in ARMS}
    means = {arm: SessionMean.of(part["sum"].to_numpy(), part["count"].to_numpy()) for arm, part in parts.items()}
    seen = {arm: int((whole["arm"] == arm).sum()) for arm in ARMS}
    alpha = params.lifecycle.alpha
    pvalue = sample_ratio_p(seen["champion"], seen["challenger"], share)
    low, high = gain_interval(means["champion"], means["challenger"], alpha)
    return {
        "metric": figure,
        **{
            arm: {
                "sessions": seen[arm],
                "judged": mean.n,
                "value": mean.value,
                "interval": sequence_interval(mean, alpha),
            }
            for arm, mean in means.items()
        },
        "mixed": int((exposed["arms"] > 1).sum()),
        "gain": [low, high],
        "sample_ratio_p": pvalue,
        "verdict": _verdict(pvalue, low, high),
    }


def _verdict(pvalue: float, low: float, high: float) -> str:
    if pvalue < MISMATCH:
        return "void: the shares are not those that were asked for"
    if not np.isfinite([low, high]).all():
        return "unknown"
    return "better" if low > 0 else "worse" if high < 0 else "no difference yet"
