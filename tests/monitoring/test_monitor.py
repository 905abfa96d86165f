"""Whatever a window holds, it is judged in words: a decision record and a report that a browser shows."""

import json
import os
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from selenium.webdriver.support.ui import WebDriverWait
from typer.testing import CliRunner
from warm_python import COLD

from nextclick.cli import app
from nextclick.monitoring import monitor as monitor_module
from nextclick.monitoring.drift_report import load_monitor, replay_usable

from .conftest import PARAMS

SCREENSHOT = "NEXTCLICK_SCREENSHOT"  # where to keep a picture of the report


@pytest.fixture(scope="module")
def monitor(watched):
    recommender, monitor, _ = load_monitor(watched / "models/bundle", PARAMS)
    before = pd.read_parquet(watched / "data/split/train.parquet")

    def judged(events, change=lambda served: served):
        seen = replay_usable(recommender, events, before, PARAMS)
        features = seen.served.drop(columns=["session", "moment"])
        pair = change(features), features
        return monitor.evaluate(events, change(seen.served), monitor.performance(seen.predictions), pair=pair).to_dict()

    return judged


def test_the_reference_itself_has_not_drifted(monitor, events):
    found = monitor(events)
    assert found["decision"]["outcome"] == "hold"
    assert found["drift"] == 0
    assert found["skewed"] == []
    assert max(row["distance"] for row in found["columns"]) < 1e-6


@pytest.mark.parametrize(
    ("odd", "outcome"),
    [
        (lambda e: e[:0], "alert"),
        (lambda e: e[:1], "alert"),
        (lambda e: e.assign(item_id=None), "alert"),
        (lambda e: e.drop(columns="event_type"), "alert"),
        (lambda e: e.assign(event_type=e["event_type"].replace("cart", "basket")), "alert"),
        (lambda e: e.assign(item_id="new-" + e["item_id"]), "retrain"),
        (lambda e: e.assign(timestamp=e["timestamp"] - pd.Timedelta(days=900)), "alert"),
    ],
    ids=["empty", "one row", "null items", "no types", "a new type", "new items", "old clocks"],
)
def test_odd_windows_are_judged_in_words(monitor, events, odd, outcome):
    found = monitor(odd(events))["decision"]
    assert found["outcome"] == outcome
    assert len(found["words"]) > 20


def test_a_feature_that_is_served_otherwise_is_named_as_skew(monitor, events):
    found = monitor(events, lambda served: served.assign(item_clicks_1d=served["item_clicks_1d"] * 3 + 50))
    assert found["skewed"] == ["item_clicks_1d"]
    assert found["decision"]["rule"] == "skew"


def test_a_feature_that_only_ages_is_shown_and_decides_nothing(monitor, events, monkeypatch):
    """Items are older in every later window. Planted: without the exemption the same window has a drifted column."""

    def older(served):
        return served.assign(item_hours_known=served["item_hours_known"] + 3)

    found = monitor(events, older)
    (row,) = (row for row in found["columns"] if row["column"] == "item_hours_known")
    assert row["distance"] > 0.5
    assert not row["drifted"]
    assert found["drift"] == 0
    assert not {"item_hours_known", "weekday"} & set(found["map"])
    monkeypatch.setattr(monitor_module, "AGEING", ())
    assert [row["column"] for row in monitor(events, older)["columns"] if row["drifted"]] == ["item_hours_known"]


def test_missing_and_null_features_are_named(monitor, events):
    found = monitor(events, lambda s: s.drop(columns="item_clicks_1d").assign(session_items=np.nan))
    assert found["said"] == {"missing": ["item_clicks_1d"], "all null": ["session_items"], "new": []}
    assert found["decision"]["outcome"] == "alert"


@pytest.fixture(scope="module")
def ran(watched, warm):
    """nextclick drift on the test days with a broken tracker; its result and exit code."""
    table = pd.read_parquet(watched / "data/split/test.parquet")
    table.assign(item_id=table["item_id"].mask(np.arange(len(table)) % 5 == 0)).to_parquet(watched / "broken.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(watched)
        patch.setattr(sys, "executable", warm.python)
        return CliRunner().invoke(app, ["drift", "--events", "broken.parquet"])


def test_the_command_prints_its_record_and_ends_with_the_decision(watched, ran):
    assert ran.exit_code == 20, ran.output
    found = json.loads(ran.stdout)
    assert found["outcome"] == "alert"
    assert found["words"].startswith("Fix the data: 20.0% of the events lack a value")
    kept = json.loads((watched / found["report"]).with_name("decision.json").read_text())
    assert kept == {name: value for name, value in found.items() if name != "report"}
    assert set(kept["inputs"]) == {"bundle", "reference", "events", "monitoring"}


def test_the_report_opens_in_a_browser_that_reaches_nothing(watched, ran, browser):
    report = watched / json.loads(ran.stdout)["report"]
    browser.set_window_size(1200, 1400)
    browser.get(report.absolute().as_uri())
    WebDriverWait(browser, 60).until(lambda b: "Jensen-Shannon" in b.find_element("tag name", "body").text)
    assert "Data Drift Summary" in browser.find_element("tag name", "body").text
    assert browser.find_element("tag name", "h1").text == "Alert"
    assert "Fix the data: 20.0% of the events lack a value" in browser.find_element("tag name", "body").text
    if os.environ.get(SCREENSHOT):
        browser.save_screenshot(os.environ[SCREENSHOT])


def test_the_same_window_gives_the_same_bytes(watched, ran, tmp_path, monkeypatch):
    """Elsewhere, and in a kernel that is a fresh Python as in one that was forked."""
    root, report = tmp_path / watched.name, json.loads(ran.stdout)["report"]
    shutil.copytree(watched, root, ignore=shutil.ignore_patterns("reports", "drift"))
    monkeypatch.chdir(root)
    monkeypatch.setenv(COLD, "1")
    assert CliRunner().invoke(app, ["drift", "--events", "broken.parquet"]).stdout == ran.stdout
    for name in ("report.html", "06_drift.ipynb", "drift.json"):
        assert (root / report).with_name(name).read_bytes() == (watched / report).with_name(name).read_bytes()
    assert "srcdoc" in (root / report).with_name("06_drift.ipynb").read_text()
