"""What a challenger must not break, however good its lists are: each guard has a value, a limit and a status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from nextclick.evaluation.inference import Comparison, compare
from nextclick.evaluation.metrics import per_prediction
from nextclick.lifecycle.candidate import Candidate, Window, differing_cells, labels_of, milliseconds
from nextclick.params import Params

HOUR = pd.Timedelta(hours=1)
NAN_GAIN = 0.2  # more of a feature may not be missing than in the champion


@dataclass(frozen=True)
class Guard:
    """It passes where value <= limit, and is missing where the value is NaN. detail: what to look at."""

    name: str
    value: float
    limit: float
    detail: str = ""

    @property
    def status(self) -> Literal["pass", "fail", "missing"]:
        if not np.isfinite(self.value):
            return "missing"
        return "pass" if self.value <= self.limit else "fail"


def guards(challenger: Candidate, champion: Candidate | None, window: Window, params: Params) -> list[Guard]:
    """All of them; those that compare are left out where there is no champion yet."""
    limits = params.gate
    alone: dict[str, Callable[[], Guard]] = {
        "future": lambda: _future(challenger, window),
        "age": lambda: _age(challenger, window, params),
        "index": lambda: _consistency(challenger),
        "calibration error": lambda: Guard(
            "calibration error", challenger.calibration_error(params.run.seed), limits.calibration_error
        ),
        "parity": lambda: Guard("parity", differing_cells(challenger, window, params), 0, "cells that differ online"),
    }
    found = [_measured(*guard) for guard in alone.items()]
    if champion:
        compared: dict[str, Callable[[], Guard]] = {
            "event types": lambda: _schema(challenger, champion),
            "features": lambda: _features(challenger, champion),
            "items shown": lambda: Guard(
                "items shown", 1 - challenger.shown / champion.shown, limits.coverage_loss, "share lost"
            ),
            "size": lambda: Guard("size", challenger.size / champion.size, limits.larger, f"{challenger.size:,} bytes"),
            "time of a list": lambda: _speed(challenger, champion, params),
            "slices": lambda: _slices(challenger, champion, params),
        }
        found += [_measured(*guard) for guard in compared.items()]
    return found


def plausible(comparison: Comparison, params: Params) -> Guard:
    """A gain that is too good is more often a leak than a gain."""
    return Guard("plausible gain", comparison.difference, params.gate.implausible, "share of the champion's metric")


def lifelike(comparison: Comparison, promised: float, params: Params) -> Guard:
    """A window on which the champion falls far below its promise is more often bad data than a new taste, and who does
    well on it has learned the bad data."""
    lost = 1 - comparison.champion / promised
    return Guard("window", lost, params.gate.window_loss, "share of its promise that the champion lost on the window")


def _measured(name: str, guard: Callable[[], Guard]) -> Guard:
    """What cannot be measured is missing, and missing evidence holds."""
    try:
        return guard()
    except (ArithmeticError, ValueError, IndexError, KeyError, OSError) as error:
        return Guard(name, float("nan"), 0, f"{type(error).__name__}: {error}")


def _future(challenger: Candidate, window: Window) -> Guard:
    said, known = pd.Timestamp(challenger.manifest["trained_until"]), challenger.knows_until
    newest = max(said.tz_localize("UTC") if said.tzinfo is None else said, known)
    return Guard("future", (newest - window.opens) / HOUR, -1e-9, "hours that it knows of the window")


def _age(challenger: Candidate, window: Window, params: Params) -> Guard:
    age = (window.opens - challenger.knows_until) / HOUR
    return Guard("age", age, params.gate.age_days * 24, "hours from the last event that it knows to the window")


def _consistency(challenger: Candidate) -> Guard:
    said = pd.Timestamp(challenger.manifest["trained_until"])
    apart = abs((said.tz_localize("UTC") if said.tzinfo is None else said) - challenger.knows_until) / HOUR
    if not challenger.consistent:
        return Guard("index", 1, 0, "it holds other events than the statistics, or none")
    return Guard("index", apart, 0, "hours between its last event and what the manifest says")


def _schema(challenger: Candidate, champion: Candidate) -> Guard:
    ours, theirs = challenger.manifest["event_types"], champion.manifest["event_types"]
    lost = [name for name in theirs if name not in ours]
    return Guard("event types", len(lost), 0, f"not known any more: {', '.join(lost)}" if lost else "")


def _features(challenger: Candidate, champion: Candidate) -> Guard:
    ours, theirs = challenger.features, champion.features
    lost = sorted(set(theirs.index) - set(ours.index))
    both = ours.join(theirs, how="inner", lsuffix="_ours", rsuffix="_theirs")
    dead = both[
        (both["varies_theirs"] & ~both["varies_ours"]) | (both["missing_ours"] > both["missing_theirs"] + NAN_GAIN)
    ]
    broken = [*lost, *dead.index]
    return Guard(
        "features", len(broken), 0, f"constant, empty or gone: {', '.join(map(str, broken[:5]))}" if broken else ""
    )


def _speed(challenger: Candidate, champion: Candidate, params: Params) -> Guard:
    ours, theirs = milliseconds([challenger, champion])
    return Guard("time of a list", ours / theirs, params.gate.slower, f"{ours:.2f} ms, the champion {theirs:.2f} ms")


def _slices(challenger: Candidate, champion: Candidate, params: Params) -> Guard:
    """The worst slice by what it lost beyond chance; each has its share of alpha."""
    figure = params.evaluation.figure
    ours, theirs = (per_prediction(one.ranks, params.evaluation.k)[figure] for one in (challenger, champion))
    sessions, labelled = champion.prefixes.sessions, labels_of(champion)
    judged = {
        f"{name} = {label}": chosen
        for name in labelled
        for label in sorted(labelled[name].unique())
        if (chosen := (labelled[name] == label).to_numpy()).sum() >= params.gate.slice_predictions
    }
    lost, worst = 0.0, "none is worse beyond chance"
    for name, chosen in judged.items():
        level = params.gate.alpha / len(judged)
        found = compare(ours[chosen], theirs[chosen], sessions[chosen], params.run.seed, level)
        if -found.high > lost:  # NaN, where the champion has no hit at all, loses nothing
            lost, worst = -found.high, f"{name}: at most {found.high:+.2%}"
    return Guard("slices", lost, params.gate.slice_loss, worst)
