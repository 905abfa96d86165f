"""Retrain, hold, or alert: tables of rules, of which the first that applies decides; data comes before all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pandas as pd

from nextclick.logs.prediction_log import ServiceReport
from nextclick.monitoring.data_profile import DataProfile
from nextclick.params import Monitoring
from nextclick.result import Result

Outcome = Literal["retrain", "hold", "alert"]
EXIT_CODES: dict[Outcome, int] = {"hold": 0, "retrain": 10, "alert": 20}  # 2 is a mistake in the input
ENOUGH_EVENTS = 100  # of which a share says something


class Decision(Result):
    """rule: the name of the rule that decided. words: its message, a paragraph."""

    outcome: Outcome
    rule: str
    words: str


class Performance(Result):
    """The deciding metric of a window's recommendations."""

    complete: bool  # whether all recommendations have had their time to be clicked
    interval: list[float] | None = None  # 95 %; None if no recommendation could be evaluated
    value: float | None = None
    predictions: int | None = None
    shorter: int | None = None  # recommendations of fewer items than those of the promise, which are not counted
    promised: float | None = None


@dataclass(frozen=True)
class Evidence:
    """What a decision rests on. profile, reference: of the window's events, and of the reference's. reported: features
    by what is wrong with their columns, see `column_drift`. skewed: features that are served other than training
    computes them for the same time. drift: see `weighted_drift`; None if nothing was served. age_days: from the end of
    the training to the window. service: None if the events are only replayed."""

    profile: DataProfile
    reference: DataProfile
    reported: dict[str, list[str]]
    skewed: list[str]
    drift: float | None
    performance: Performance
    age_days: float
    limits: Monitoring
    service: ServiceReport | None = None

    @property
    def vanished_types(self) -> list[str]:
        mix, share = self.profile.mix, self.limits.vanished_share
        return [kind for kind, before in self.reference.mix.items() if mix.get(kind, 0.0) < before * share]

    @property
    def new_types(self) -> list[str]:
        known, limit = {*self.reference.mix, "(null)"}, self.limits.broken_share
        return [kind for kind, share in self.profile.mix.items() if kind not in known and share > limit]

    @property
    def usual_day(self) -> float:
        """Events on the poorest whole day of the reference; on its average day if it has no whole one."""
        least = self.reference.least_a_day
        return (self.reference.per_day or 0.0) if least is None else least

    @property
    def session_growth(self) -> float:
        """The events of a session, as a multiple of those in the reference."""
        before = self.reference.per_session or 1.0
        return (self.profile.per_session or before) / before

    @property
    def one_item_dominates(self) -> bool:
        return (self.profile.top_share or 0.0) > (self.reference.top_share or 0.0) + self.limits.new_items

    @property
    def unknown_item_dominates(self) -> bool:
        """Whether an unknown item has more events than any item had before, and than all other unknown ones have: those
        of a new catalogue share the clicks."""
        return self.profile.unknown_share > max(self.reference.top_share or 0.0, (self.profile.new_items or 0.0) / 2)

    @property
    def min_allowed(self) -> float | None:
        """The smallest value of the deciding metric that keeps the promise."""
        promised = self.performance.promised
        return promised * (1 - self.limits.promise_loss) if promised is not None else None

    @property
    def measured(self) -> str:
        low, high = self.performance.interval or (float("nan"), float("nan"))
        return f"The lists hit {low:.4f} to {high:.4f}"

    @property
    def moved(self) -> str:
        return f"{self.drift or 0.0:.0%} of the ranker's weight lies in features that moved"


class Rule(NamedTuple):
    """test: is true if the rule applies. message: says why, to people."""

    name: str
    outcome: Outcome
    test: Callable[[Evidence], object]
    message: Callable[[Evidence], str]


DATA_RULES = (
    Rule("missing features", "alert", lambda e: e.reported.get("missing"),
         lambda e: "; ".join(f"no feature {name} was served" for name in e.reported["missing"])),
    Rule("null features", "alert", lambda e: e.reported.get("all null"),
         lambda e: "; ".join(f"feature {name} is null throughout" for name in e.reported["all null"])),
    Rule("lost values", "alert", lambda e: e.profile.lost > e.reference.lost + e.limits.broken_share,
         lambda e: f"{e.profile.lost:.1%} of the events lack a value, {e.reference.lost:.1%} did before"),
    Rule("repeated events", "alert", lambda e: e.profile.twice > e.reference.twice + e.limits.broken_share,
         lambda e: f"{e.profile.twice:.1%} of the events came twice, {e.reference.twice:.1%} did before"),
    Rule("old events", "alert", lambda e: e.profile.behind,
         lambda e: f"the newest event is of {e.profile.newest}, and the model knows all until {e.profile.behind}"),
    Rule("vanished types", "alert", lambda e: e.vanished_types,
         lambda e: "; ".join(f"{kind} is {e.profile.mix.get(kind, 0.0):.2%} of the events, "
                             f"{e.reference.mix[kind]:.2%} before" for kind in e.vanished_types)),
    Rule("new types", "alert", lambda e: e.new_types,
         lambda e: "; ".join(f"{kind}, a type of event that was not there before, is {e.profile.mix[kind]:.1%} of the "
                             "events" for kind in e.new_types)),
    Rule("poorest day", "alert",
         lambda e: e.profile.least_a_day is not None
         and e.profile.least_a_day < e.usual_day * e.limits.vanished_share,
         lambda e: f"{e.profile.least_a_day:,} events came on the poorest whole day, {e.usual_day:,.0f} did before"),
    Rule("fewer events", "alert",
         lambda e: e.profile.days >= 1
         and (e.profile.per_day or 0.0) < (e.reference.per_day or 0.0) * e.limits.vanished_share,
         lambda e: f"{e.profile.per_day:,.0f} events a day came, {e.reference.per_day:,.0f} before"),
    Rule("robots", "alert",
         lambda e: (e.profile.robots or 0.0) > (e.reference.robots or 0.0) + e.limits.robot_share,
         lambda e: f"{e.profile.robots:.1%} of the sessions are robots, {e.reference.robots:.1%} were before"),
)  # fmt: skip
# ids that are given, but do not distinguish sessions or items as they did
ID_RULES = (
    Rule("session ids", "alert",
         lambda e: not e.limits.vanished_share < e.session_growth < 1 / e.limits.vanished_share,
         lambda e: f"sessions have {e.profile.per_session:.1f} events, {e.reference.per_session:.1f} before: "
                   "is each visitor's id his own, and kept?"),
    Rule("one item", "alert", lambda e: e.one_item_dominates,
         lambda e: f"{e.profile.top_share:.1%} of the events are of {e.profile.top_item!r} alone, "
                   f"{e.reference.top_share:.1%} of the most clicked item before"),
    Rule("unknown item", "alert", lambda e: e.unknown_item_dominates and not e.one_item_dominates,
         lambda e: f"{e.profile.unknown_share:.1%} of the events are of {e.profile.top_unknown!r}, which the model "
                   "does not know, and no item had so many before: is that an item?"),
)  # fmt: skip


def broken_data(evidence: Evidence) -> list[str]:
    """What is wrong with the data, in words. Without one of the columns nothing else can be checked."""
    if evidence.profile.missing:
        return [f"the events have no column {', '.join(evidence.profile.missing)}"]
    rules = (*DATA_RULES, *ID_RULES) if evidence.profile.events >= ENOUGH_EVENTS else DATA_RULES
    return [rule.message(evidence) for rule in rules if rule.test(evidence)]


def broken_service(service: ServiceReport | None, limits: Monitoring) -> list[str]:
    """What is wrong with the answers, in words."""
    if service is None:
        return []
    if not service.lists:
        return ["events came, and no list was served"]
    wrong = [
        f"{share:.1%} of the lists were degraded ({reason})"
        for reason, share in service.degraded.items()
        if share > limits.degraded_share
    ]
    if (service.unknown_clicks or 0.0) > limits.degraded_share:
        wrong.append(f"{service.unknown_clicks:.1%} of the lists did not know a click that came a minute before")
    return wrong


RULES = (
    Rule("empty", "alert", lambda e: not e.profile.events,
         lambda e: "No events came in this window: see whether the tracker runs."),
    Rule("data", "alert", lambda e: broken_data(e),
         lambda e: f"Fix the data: {'; '.join(broken_data(e))}. "
                   "A model that is trained on this would learn the fault."),
    Rule("service", "alert", lambda e: broken_service(e.service, e.limits),
         lambda e: f"Mend the service: {'; '.join(broken_service(e.service, e.limits))}. "
                   "What its lists hit says nothing of the model."),
    Rule("skew", "alert", lambda e: e.skewed,
         lambda e: f"Fix the serving: {', '.join(e.skewed)} differ from the training's at the same time."),
    Rule("too few", "hold", lambda e: e.profile.sessions < e.limits.sessions,
         lambda e: f"{e.profile.sessions} sessions came, fewer than {e.limits.sessions}: too few to judge."),
    Rule("age", "retrain", lambda e: e.age_days > e.limits.age_days,
         lambda e: f"The model knows nothing of the last {e.age_days:.0f} days."),
    Rule("new items", "retrain",
         lambda e: (e.profile.new_items or 0.0) > (e.reference.new_items or 0.0) + e.limits.new_items,
         lambda e: f"{e.profile.new_items:.1%} of the events are of unknown items, "
                   f"{e.reference.new_items:.1%} before."),
    Rule("labels", "hold", lambda e: not e.performance.complete,
         lambda e: "The clicks on the last lists are not all in: the window is not judged yet."),
    Rule("performance", "retrain",
         lambda e: e.performance.interval and e.min_allowed is not None and e.performance.interval[1] < e.min_allowed,
         lambda e: f"{e.measured}, wholly below {e.min_allowed:.4f}, the least allowed."
                   + (f" {e.moved}." if e.drift is not None else "")),
    Rule("performance", "hold", lambda e: e.performance.interval and e.min_allowed is not None,
         lambda e: f"{e.measured}, not beyond chance below the {e.min_allowed:.4f} that is called for."
                   + (f" {e.moved}; it did no harm." if round(e.drift or 0, 2) else "")),
    Rule("no lists", "hold", lambda e: e.drift is None,
         lambda e: "No list of this bundle, as long as those of the promise, could be judged: nothing was compared."),
    Rule("drift", "retrain", lambda e: (e.drift or 0.0) > e.limits.drift_share,
         lambda e: f"Nothing tells of hits, and {e.moved}."),
    Rule("no sign", "hold", lambda e: True, lambda e: f"Nothing tells of hits, and {e.moved} beyond chance."),
)  # fmt: skip


def decide(evidence: Evidence) -> Decision:
    """The decision of the first rule that applies."""
    rule = next(rule for rule in RULES if rule.test(evidence))
    return Decision(outcome=rule.outcome, rule=rule.name, words=rule.message(evidence))


def weighted_drift(table: pd.DataFrame, importance: dict[str, float]) -> float:
    """The share, 0 to 1, of the ranker's importance that lies in features that drifted. table: see `column_drift`."""
    weights = table["column"].map(importance).fillna(0.0)
    return float(weights[table["drifted"]].sum() / weights.sum()) if weights.sum() > 0 else 0.0
