"""What a split showed: sessions of both arms, the metric of each with an interval, and whether they differ."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from nextclick.bundle.pointer import Pointer
from nextclick.errors import InputError
from nextclick.evaluation.metrics import per_prediction
from nextclick.evaluation.statistics.anytime import (
    SessionMean,
    gain_interval,
    rarer_hits_p,
    sample_ratio_p,
    sequence_interval,
)
from nextclick.lifecycle.records import DeploymentRecord, read_records
from nextclick.logs.prediction_log import sessions_by_version
from nextclick.monitoring.feedback import clicked_lists, first_lists, label_ms
from nextclick.params import Params
from nextclick.result import Result

ARMS = ("champion", "challenger")
FEWER_HITS = 0.5  # an arm that hits less than so many times as often as the other needs no interval to be told
HITS_ALPHA = 0.2  # share of alpha for such arms
MIN_RATIO_P = 0.01  # below which the shares are not those that were asked for, and nothing can be concluded


class Arm(Result):
    """sessions: that got a list. judged: those of which a click could be evaluated."""

    sessions: int
    judged: int
    value: float
    interval: list[float]


class ExperimentResult(Result):
    """since, share: of the split; only given of one that runs. mixed: sessions that saw both arms. gain: the interval
    of challenger minus champion, NaN until enough sessions of both have a hit."""

    since: str = ""
    share: float | None = None
    metric: str
    champion: Arm
    challenger: Arm
    mixed: int
    gain: list[float]
    sample_ratio_p: float
    verdict: str


def results(root: Path, name: str, params: Params) -> ExperimentResult:
    """The result of the split that runs, since its share was set. Raises InputError if none runs or nothing was
    clicked."""
    pointer = Pointer.read(root, name)
    splits = read_records(root, DeploymentRecord, "split")
    started = [record for record in splits if record.recommender == name and record.share]
    if not pointer.split or not started:
        raise InputError(f"{name}: no split runs; start one with `nextclick split V=10%`")
    since, until = datetime.fromisoformat(started[-1].at), datetime.now(UTC)
    arms = {str(pointer.version): ARMS[0], str(pointer.split.version): ARMS[1]}
    exposed = exposures(root, since, arms)
    clicked = clicked_lists(root, since, until, params.ingest.event_types[0], label_ms(params))
    result = compared(clicked, exposed, pointer.split.share, params)
    return result.model_copy(update={"since": since.isoformat(), "share": pointer.split.share})


def exposures(root: Path, since: datetime, arms: dict[str, str]) -> pd.DataFrame:
    """Sessions that got a list: session_id, its arm, and how many arms it saw. arms: by model_version."""
    shown = sessions_by_version(root, since)
    shown = shown.assign(arm=shown["model_version"].map(arms)).dropna(subset=["arm"])
    return shown.groupby("session_id", as_index=False).agg(arm=("arm", "first"), arms=("arm", "nunique"))


def compared(clicked: pd.DataFrame, exposed: pd.DataFrame, share: float, params: Params) -> ExperimentResult:
    """clicked: see `clicked_lists`. exposed: see `exposures`. A session that saw both arms, because the share was
    changed in its midst, belongs to neither.

    Of a session the first `gate.per_session` lists count, and of these all, whatever a promise is made of: short ones
    are as frequent in both arms, a store without answers affects both, and an arm whose lists fail or come too late
    must not be spared them."""
    metric, alpha = params.evaluation.metric, params.lifecycle.alpha
    in_one_arm = exposed[exposed["arms"] == 1]
    lists = first_lists(clicked, params.gate.per_session).merge(in_one_arm, "inner", "session_id")
    lists["value"] = per_prediction(lists["rank"].to_numpy(np.int64), params.evaluation.k)[metric]
    sessions = lists.groupby(["arm", "session_id"], as_index=False)["value"].agg(sum="sum", count="count")
    parts = {arm: sessions[sessions["arm"] == arm] for arm in ARMS}
    means = {arm: SessionMean.of(part["sum"].to_numpy(), part["count"].to_numpy()) for arm, part in parts.items()}
    exposed_to = {arm: int((in_one_arm["arm"] == arm).sum()) for arm in ARMS}
    arms = {
        arm: Arm(sessions=exposed_to[arm], judged=mean.n, value=mean.value, interval=sequence_interval(mean, alpha))
        for arm, mean in means.items()
    }
    ratio_p = sample_ratio_p(exposed_to["champion"], exposed_to["challenger"], share)
    judgement = judge(means["champion"], means["challenger"], share, alpha)
    mismatch = ratio_p < MIN_RATIO_P
    return ExperimentResult(
        metric=metric,
        champion=arms["champion"],
        challenger=arms["challenger"],
        mixed=int((exposed["arms"] > 1).sum()),
        gain=judgement.gain,
        sample_ratio_p=ratio_p,
        verdict="void: the shares are not those that were asked for" if mismatch else judgement.verdict,
    )


class Judgement(NamedTuple):
    verdict: str
    gain: list[float]


def judge(champion: SessionMean, challenger: SessionMean, share: float, alpha: float) -> Judgement:
    """What sessions of both arms say; at any look, it calls arms different that are the same with probability alpha at
    most. The gain decides where both arms have hits enough for its interval. An arm that hits too seldom for that, as a
    broken one does, is told by how few of the sessions with a hit are its own."""
    gain = gain_interval(champion, challenger, alpha * (1 - HITS_ALPHA))
    if np.isfinite(gain).all():
        return Judgement("better" if gain[0] > 0 else "worse" if gain[1] < 0 else "no difference yet", gain)
    level = alpha * HITS_ALPHA / 2  # of either arm
    if rarer_hits_p(challenger.hits, champion.hits, share, FEWER_HITS) < level:
        return Judgement("worse: it hits less than half as often", gain)
    if rarer_hits_p(champion.hits, challenger.hits, 1 - share, FEWER_HITS) < level:
        return Judgement("better: the champion hits less than half as often", gain)
    return Judgement("unknown", gain)
