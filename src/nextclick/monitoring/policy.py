"""Retrain, hold, or see to the data: decided by rules in an order, the first that holds; data comes before all."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import pandas as pd

from nextclick.params import Monitoring

Outcome = Literal["retrain", "hold", "alert"]
EXIT_CODES: dict[Outcome, int] = {"hold": 0, "retrain": 10, "alert": 20}  # 2 is a mistake in the input
ENOUGH_EVENTS = 100  # of which a share says something


class Decision(NamedTuple):
    """rule: the name of what decided. words: a paragraph."""

    outcome: Outcome
    rule: str
    words: str


def weighted_drift(table: pd.DataFrame, importance: dict[str, float]) -> float:
    """The share, 0 to 1, of the ranker's importance that lies in features that drifted. table: see `column_drift`."""
    weights = table["column"].map(importance).fillna(0.0)
    return float(weights[table["drifted"]].sum() / weights.sum()) if weights.sum() > 0 else 0.0


def broken_data(facts: dict, before: dict, said: dict[str, list[str]], rules: Monitoring) -> list[str]:
    """What is wrong with the data, in words; facts: see `facts_of`, with `behind` (the training's end) where no event
    is newer, said: see `column_drift`. Where a column is missing, nothing else can be looked at."""
    if facts["missing"]:
        return [f"the events have no column {', '.join(facts['missing'])}"]
    wrong = [f"no feature {name} was served" for name in said.get("missing", [])]
    wrong += [f"feature {name} is null throughout" for name in said.get("all null", [])]
    for fact, text in (("lost", "of the events lack a value"), ("twice", "of the events came twice")):
        if facts[fact] > before[fact] + rules.broken_share:
            wrong.append(f"{facts[fact]:.1%} {text}, {before[fact]:.1%} did before")
    if "behind" in facts:
        wrong.append(f"the newest event is of {facts['newest']}, and the model knows all until {facts['behind']}")
    for kind, share in before["mix"].items():
        if facts["mix"].get(kind, 0.0) < share * rules.vanished_share:
            wrong.append(f"{kind} is {facts['mix'].get(kind, 0.0):.2%} of the events, {share:.2%} before")
    for kind, share in facts["mix"].items():
        if kind != "(null)" and kind not in before["mix"] and share > rules.broken_share:
            wrong.append(f"{kind}, a type of event that was not there before, is {share:.1%} of the events")
    usual = before["per_day"] if before["least_a_day"] is None else before["least_a_day"]
    if facts["least_a_day"] is not None and facts["least_a_day"] < usual * rules.vanished_share:
        wrong.append(f"{facts['least_a_day']:,} events came on the poorest whole day, {usual:,.0f} did before")
    if (facts["days"] or 0) >= 1 and facts["per_day"] < before["per_day"] * rules.vanished_share:
        wrong.append(f"{facts['per_day']:,.0f} events a day came, {before['per_day']:,.0f} before")
    if (facts["robots"] or 0) > before["robots"] + rules.robot_share:
        wrong.append(f"{facts['robots']:.1%} of the sessions are robots, {before['robots']:.1%} were before")
    return wrong + (_mistaken_ids(facts, before, rules) if facts["events"] >= ENOUGH_EVENTS else [])


def _mistaken_ids(facts: dict, before: dict, rules: Monitoring) -> list[str]:
    """Of ids that are there, but do not tell sessions or items apart as they did."""
    wrong = []
    longer = (facts["per_session"] or before["per_session"]) / before["per_session"]
    if not rules.vanished_share < longer < 1 / rules.vanished_share:
        text = f"sessions have {facts['per_session']:.1f} events, {before['per_session']:.1f} before"
        wrong.append(f"{text}: is each visitor's id his own, and kept?")
    if facts["top_share"] and facts["top_share"] > before["top_share"] + rules.new_items:
        text = f"{facts['top_share']:.1%} of the events are of {facts['top_item']!r} alone"
        wrong.append(f"{text}, {before['top_share']:.1%} of the most clicked item before")
    elif facts["unknown_share"] > max(before["top_share"], (facts["new_items"] or 0) / 2):
        # more than any item had, and than all other new ones have: those of a new catalogue share the clicks
        text = f"{facts['unknown_share']:.1%} of the events are of {facts['top_unknown']!r}, which the model does"
        wrong.append(f"{text} not know, and no item had so many before: is that an item?")
    return wrong


def broken_service(service: dict[str, Any], rules: Monitoring) -> list[str]:
    """What is wrong with the answers, in words; service: see `service_facts`."""
    if not service["lists"]:
        return ["events came, and no list was served"]
    wrong = [
        f"{share:.1%} of the lists were degraded ({reason})"
        for reason, share in service["degraded"].items()
        if share > rules.degraded_share
    ]
    if (service["unknown_clicks"] or 0) > rules.degraded_share:
        wrong.append(f"{service['unknown_clicks']:.1%} of the lists did not know a click that came a minute before")
    return wrong


def decide(
    facts: dict,
    before: dict,
    said: dict[str, list[str]],
    skewed: list[str],
    drift: float | None,
    performance: dict[str, Any],
    age_days: float,
    rules: Monitoring,
    service: dict[str, Any] | None = None,
) -> Decision:
    """skewed: features that are served other than they are trained, at the same time. drift: `weighted_drift`, None
    where nothing was served. performance: complete (whether all labels are in), interval (None: no figure), promised.
    service: see `service_facts`, None where events are only replayed.
    """
    if not facts["events"]:
        return Decision("alert", "empty", "No events came in this window: see whether the tracker runs.")
    if wrong := broken_data(facts, before, said, rules):
        text = f"Fix the data: {'; '.join(wrong)}. A model that is trained on this would learn the fault."
        return Decision("alert", "data", text)
    if service and (wrong := broken_service(service, rules)):
        text = f"Mend the service: {'; '.join(wrong)}. What its lists hit says nothing of the model."
        return Decision("alert", "service", text)
    if skewed:
        text = f"Fix the serving: {', '.join(skewed)} differ from the training's at the same time."
        return Decision("alert", "skew", text)
    if facts["sessions"] < rules.sessions:
        text = f"{facts['sessions']} sessions came, fewer than {rules.sessions}: too few to judge."
        return Decision("hold", "too few", text)
    if age_days > rules.age_days:
        return Decision("retrain", "age", f"The model knows nothing of the last {age_days:.0f} days.")
    new_items = facts["new_items"] or 0.0
    if new_items > before["new_items"] + rules.new_items:
        text = f"{new_items:.1%} of the events are of unknown items, {before['new_items']:.1%} before."
        return Decision("retrain", "new items", text)
    if not performance["complete"]:
        return Decision("hold", "labels", "The clicks on the last lists are not all in: the window is not judged yet.")
    least = performance["promised"] * (1 - rules.promise_loss) if performance["promised"] is not None else None
    if performance["interval"] is not None and least is not None:
        low, high = performance["interval"]
        if high < least:
            text = f"The lists hit {low:.4f} to {high:.4f}, wholly below {least:.4f}, the least allowed."
            cause = f" {drift:.0%} of the ranker's weight lies in features that moved." if drift is not None else ""
            return Decision("retrain", "performance", text + cause)
        text = f"The lists hit {low:.4f} to {high:.4f}, not beyond chance below the {least:.4f} that is called for."
        moved = (
            f" {drift:.0%} of the ranker's weight lies in features that moved; it did no harm."
            if round(drift or 0, 2)
            else ""
        )
        return Decision("hold", "performance", text + moved)
    if drift is None:
        text = "No list of this bundle, as long as those of the promise, could be judged: nothing was compared."
        return Decision("hold", "no lists", text)
    if drift > rules.drift_share:
        text = f"Nothing tells of hits, and {drift:.0%} of the ranker's weight lies in features that moved."
        return Decision("retrain", "drift", text)
    text = f"Nothing tells of hits, and {drift:.0%} of the ranker's weight lies in features that moved beyond chance."
    return Decision("hold", "no sign", text)
