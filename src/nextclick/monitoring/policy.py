"""Retrain, hold, or see to the data: decided by rules in an order, the first that holds; data comes before all."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import pandas as pd

from nextclick.params import Monitoring

Outcome = Literal["retrain", "hold", "alert"]
EXIT_CODES: dict[Outcome, int] = {"hold": 0, "retrain": 10, "alert": 20}  # 2 is a mistake in the input


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
    """What is wrong with the data, in words; facts: see `facts_of`, said: see `column_drift`."""
    if facts["missing"]:
        return [f"the events have no column {', '.join(facts['missing'])}"]
    wrong = [f"no feature {name} was served" for name in said.get("missing", [])]
    wrong += [f"feature {name} is null throughout" for name in said.get("all null", [])]
    for fact, text in (("lost", "of the events lack a value"), ("twice", "of the events came twice")):
        if facts[fact] > before[fact] + rules.broken_share:
            wrong.append(f"{facts[fact]:.1%} {text}, {before[fact]:.1%} did before")
    for kind, share in before["mix"].items():
        if facts["mix"].get(kind, 0.0) < share * rules.vanished_share:
            wrong.append(f"{kind} is {facts['mix'].get(kind, 0.0):.2%} of the events, {share:.2%} before")
    if (facts["per_day"] or 0) < before["per_day"] * rules.vanished_share:
        wrong.append(f"{facts['per_day'] or 0:,.0f} events a day came, {before['per_day']:,.0f} before")
    if (facts["robots"] or 0) > before["robots"] + rules.robot_share:
        wrong.append(f"{facts['robots']:.1%} of the sessions are robots, {before['robots']:.1%} were before")
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
) -> Decision:
    """skewed: features that are served other than they are trained, at the same time. drift: `weighted_drift`, None
    where nothing was served. performance: complete (whether all labels are in), interval (None: no figure), promised.
    """
    if not facts["events"]:
        return Decision("alert", "empty", "No events came in this window: see whether the tracker runs.")
    if wrong := broken_data(facts, before, said, rules):
        text = f"Fix the data: {'; '.join(wrong)}. A model that is trained on this would learn the fault."
        return Decision("alert", "data", text)
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
        moved = f" {drift:.0%} of the ranker's weight lies in features that moved; it did no harm." if drift else ""
        return Decision("hold", "performance", text + moved)
    if drift is not None and drift > rules.drift_share:
        text = f"Nothing tells of hits, and {drift:.0%} of the ranker's weight lies in features that moved."
        return Decision("retrain", "drift", text)
    return Decision("hold", "no sign", "Nothing has moved beyond chance.")
