"""What happens to a shop is told apart, week by week; and monitors with a bug are found out by the same judge.

One small shop, for every day; `python benchmarks/monitoring.py` has many, at the strengths that it states.
"""

import importlib.util
import sys
from dataclasses import replace

import pandas as pd
import pytest

from nextclick.monitoring import drift, monitor, policy
from nextclick.monitoring.policy import Decision
from nextclick.params import Ranker

from ..conftest import ROOT

RIGHT = {"none": "hold", "taste_shift": "retrain", "tracking_bug": "alert", "bot_attack": "alert"}


@pytest.fixture(scope="module")
def plays():
    """The same shop with nothing and with one thing happening to it. What is drawn of a window day by day decides
    nothing and is left out; a quarter of the resamples is enough for limits that chance passes once in two years."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drift, "RESAMPLES", 250)
        patch.setattr(monitor, "profile_by_day", lambda *_: {})
        patch.setattr(monitor, "by_day", lambda *_: pd.DataFrame())
        yield played()


def played():
    spec = importlib.util.spec_from_file_location("monitoring_benchmark", ROOT / "benchmarks/monitoring.py")
    benchmark = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.SHOP = benchmark.SHOP.model_copy(update={"sessions": 4000, "items": 200, "users": 400})
    small = {
        "simulator": benchmark.SHOP,
        "ranker": Ranker(rounds=30, max_depth=3, negatives=10),
        "retrieval": benchmark.PARAMS.retrieval.model_copy(update={"encoder_min_steps": 100}),
    }
    benchmark.PARAMS = benchmark.PARAMS.model_copy(update=small)
    same = benchmark.Play("none", 0.0, 1)
    return {kind: same if kind == "none" else benchmark.Play(kind, benchmark.STRENGTH[kind], 1, same) for kind in RIGHT}


def wrong(plays) -> set[str]:
    return {kind for kind, play in plays.items() if any(play.decision(week) != RIGHT[kind] for week in (0, 1))}


def test_each_week_is_judged_rightly(plays):
    assert wrong(plays) == set()


def always(outcome):
    return lambda *_: Decision(outcome=outcome, rule="planted", words="planted")


def test_a_monitor_that_always_holds_is_found_out(plays, monkeypatch):
    monkeypatch.setattr(monitor, "decide", always("hold"))
    assert wrong(plays) == set(RIGHT) - {"none"}


def test_a_monitor_that_always_retrains_is_found_out(plays, monkeypatch):
    monkeypatch.setattr(monitor, "decide", always("retrain"))
    assert wrong(plays) == set(RIGHT) - {"taste_shift"}


def test_a_monitor_that_does_not_look_at_the_data_is_found_out(plays, monkeypatch):
    monkeypatch.setattr(policy, "broken_data", lambda *_: [])
    assert wrong(plays) == {"tracking_bug", "bot_attack"}


def test_a_monitor_that_forgets_what_was_promised_is_found_out(plays, monkeypatch):
    for play in plays.values():
        reference = play.monitor.reference
        forgotten = reference.about.model_copy(update={"promised": 0.0})
        monkeypatch.setattr(play.monitor, "reference", replace(reference, about=forgotten))
    assert wrong(plays) == {"taste_shift"}
