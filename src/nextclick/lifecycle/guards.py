"""What a challenger must not break, however good its recommendations are: a table of guards, each with a limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from nextclick.evaluation.metrics import per_prediction
from nextclick.evaluation.statistics.paired import Comparison, compare, ratio_bounds
from nextclick.lifecycle.candidate import Candidate, Window, differing_cells, labels_of, milliseconds
from nextclick.params import Gate, Params
from nextclick.ranking.calibration import TOP, TopClicks

HOUR = pd.Timedelta(hours=1)
MAX_MISSING_GAIN = 0.2  # so much more of a feature may be missing than in the champion


@dataclass(frozen=True)
class Guard:
    """It passes if value <= limit, and is missing if the value is NaN. detail: what to look at."""

    name: str
    value: float
    limit: float
    detail: str = ""

    @property
    def status(self) -> Literal["pass", "fail", "missing"]:
        if not np.isfinite(self.value):
            return "missing"
        return "pass" if self.value <= self.limit else "fail"


class Subject(NamedTuple):
    """What is measured. champion: None if there is none yet."""

    challenger: Candidate
    champion: Candidate | None
    window: Window
    params: Params

    @property
    def pair(self) -> tuple[Candidate, Candidate]:
        """Challenger and champion. Raises ValueError if there is no champion."""
        if self.champion is None:
            raise ValueError("there is no champion to compare with")
        return self.challenger, self.champion


class GuardRule(NamedTuple):
    """measure: the value, and what to look at. compares: whether it needs a champion."""

    name: str
    limit: Callable[[Gate], float]
    measure: Callable[[Subject], tuple[float, str]]
    compares: bool = False


def _hours_known_of_the_window(subject: Subject) -> tuple[float, str]:
    newest = max(_trained_until(subject.challenger), subject.challenger.knows_until)
    return (newest - subject.window.opens) / HOUR, "hours that it knows of the window"


def _index_mismatch(subject: Subject) -> tuple[float, str]:
    challenger = subject.challenger
    if not challenger.consistent:
        return 1, "it holds other events than the statistics, or none"
    apart = abs(_trained_until(challenger) - challenger.knows_until) / HOUR
    return apart, "hours between its last event and what the manifest says"


def _lost_event_types(subject: Subject) -> tuple[float, str]:
    ours, theirs = (one.manifest["event_types"] for one in subject.pair)
    lost = [name for name in theirs if name not in ours]
    return len(lost), f"not known any more: {', '.join(lost)}" if lost else ""


def _lost_features(subject: Subject) -> tuple[float, str]:
    ours, theirs = (one.features for one in subject.pair)
    lost = sorted(set(theirs.index) - set(ours.index))
    both = ours.join(theirs, how="inner", lsuffix="_ours", rsuffix="_theirs")
    constant = both["varies_theirs"] & ~both["varies_ours"]
    dead = both[constant | (both["missing_ours"] > both["missing_theirs"] + MAX_MISSING_GAIN)]
    broken = [*lost, *dead.index]
    return len(broken), f"constant, empty or gone: {', '.join(map(str, broken[:5]))}" if broken else ""


def _relative_time(subject: Subject) -> tuple[float, str]:
    ours, theirs = milliseconds(list(subject.pair))
    return ours / theirs, f"{ours:.2f} ms, the champion {theirs:.2f} ms"


def calibration_error(seen: TopClicks, level: float) -> tuple[float, str]:
    """By what share the expected clicks on the top candidates are too many or too few, beyond chance. Over all
    candidates it would be next to nothing whatever the scores, since hardly any is clicked."""
    # as many other sessions told what to expect, and err as much as these
    off = ratio_bounds(seen.expected, seen.observed, level, inflation=2**0.5)
    expected, observed = seen.expected.sum(), seen.observed.sum()
    detail = f"{expected:.1f} clicks expected on the top {TOP:.0%} of the candidates, {observed:.0f} seen"
    return float(np.maximum(np.maximum(off.low, -off.high), 0)), detail


def missed_by_the_top(seen: TopClicks, level: float) -> tuple[float, str]:
    """What the top candidates may lack of the clicks that as many candidates drawn at random would have, as a share of
    these; below zero if the scores tell what will be clicked."""
    gained = ratio_bounds(seen.observed, TOP * seen.clicks, level)
    held = seen.observed.sum() / max(1, seen.clicks.sum())
    return -float(gained.low), f"the top {TOP:.0%} of the candidates hold {held:.1%} of the clicks"


def worst_slice(
    ours: np.ndarray, theirs: np.ndarray, sessions: np.ndarray, labelled: pd.DataFrame, limits: Gate
) -> tuple[float, str]:
    """What the slice lost that lost the most beyond chance; each slice has its share of alpha. ours, theirs: (n,) the
    metric of each prediction; sessions: (n,); labelled: a row a prediction, see `slices.labels`."""
    slices = {
        f"{name} = {label}": chosen
        for name in labelled
        for label in sorted(labelled[name].unique())
        if (chosen := (labelled[name] == label).to_numpy()).sum() >= limits.slice_predictions
    }
    lost, worst = 0.0, "none is worse beyond chance"
    for name, chosen in slices.items():
        seen = compare(ours[chosen], theirs[chosen], sessions[chosen], limits.alpha / len(slices))
        if -seen.high > lost:  # NaN, if the champion has no hit at all or hardly a session differs, loses nothing
            lost, worst = -seen.high, f"{name}: at most {seen.high:+.2%}"
    return lost, worst


def _worst_slice(subject: Subject) -> tuple[float, str]:
    (challenger, champion), params = subject.pair, subject.params
    metric, k = params.evaluation.metric, params.evaluation.k
    ours, theirs = (per_prediction(one.ranks, k)[metric] for one in (challenger, champion))
    return worst_slice(ours, theirs, champion.prefixes.sessions, labels_of(champion), params.gate)


RULES = (
    GuardRule("future", lambda gate: -1e-9, _hours_known_of_the_window),
    GuardRule("age", lambda gate: gate.age_days * 24,
              lambda s: ((s.window.opens - s.challenger.knows_until) / HOUR,
                         "hours from the last event that it knows to the window")),
    GuardRule("index", lambda gate: 0, _index_mismatch),
    GuardRule("calibration error", lambda gate: gate.calibration_error,
              lambda s: calibration_error(s.challenger.top_clicks, s.params.gate.alpha)),
    GuardRule("discrimination", lambda gate: 0,
              lambda s: missed_by_the_top(s.challenger.top_clicks, s.params.gate.alpha)),
    GuardRule("parity", lambda gate: 0,
              lambda s: (differing_cells(s.challenger, s.window, s.params), "cells that differ online")),
    GuardRule("event types", lambda gate: 0, _lost_event_types, compares=True),
    GuardRule("features", lambda gate: 0, _lost_features, compares=True),
    GuardRule("items shown", lambda gate: gate.coverage_loss,
              lambda s: (1 - s.pair[0].shown / s.pair[1].shown, "share lost"), compares=True),
    GuardRule("size", lambda gate: gate.larger,
              lambda s: (s.pair[0].size / s.pair[1].size, f"{s.challenger.size:,} bytes"), compares=True),
    GuardRule("time of a list", lambda gate: gate.slower, _relative_time, compares=True),
    GuardRule("slices", lambda gate: gate.slice_loss, _worst_slice, compares=True),
)  # fmt: skip


def guards(challenger: Candidate, champion: Candidate | None, window: Window, params: Params) -> list[Guard]:
    """All guards of RULES; those that compare are left out if there is no champion yet."""
    subject = Subject(challenger, champion, window, params)
    return [_measured(rule, subject) for rule in RULES if champion or not rule.compares]


def gain_is_plausible(comparison: Comparison, limits: Gate) -> Guard:
    """A gain that is too good is more often a leak than a gain."""
    return Guard("plausible gain", comparison.difference, limits.implausible, "share of the champion's metric")


def window_is_representative(comparison: Comparison, promised: float, limits: Gate) -> Guard:
    """A window on which the champion falls far below its promise is more often bad data than a new taste, and who does
    well on it has learned the bad data."""
    lost = 1 - comparison.champion / promised
    return Guard("window", lost, limits.window_loss, "share of its promise that the champion lost on the window")


def _measured(rule: GuardRule, subject: Subject) -> Guard:
    """What cannot be measured is missing, and missing evidence holds."""
    try:
        value, detail = rule.measure(subject)
        return Guard(rule.name, value, rule.limit(subject.params.gate), detail)
    except (ArithmeticError, ValueError, IndexError, KeyError, OSError) as error:
        return Guard(rule.name, float("nan"), 0, f"{type(error).__name__}: {error}")


def _trained_until(candidate: Candidate) -> pd.Timestamp:
    """The end of the training by the manifest, in UTC."""
    until = pd.Timestamp(candidate.manifest["trained_until"])
    return until.tz_localize("UTC") if until.tzinfo is None else until
