"""The way of the live window: lists of the real engine and events of the real log, judged by the command's code."""

import json
import shutil
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from nextclick.cli import app
from nextclick.events.state import Click, advance_all
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.online import OnlineStates
from nextclick.monitoring.commands import drift_live
from nextclick.monitoring.served import served_features
from nextclick.serving.deployment import Deployment
from nextclick.serving.engine import Engine, Query
from nextclick.serving.prediction_log import PredictionLog
from nextclick.serving.shop import Filters
from nextclick.serving.states import States
from nextclick.stream.log import LOG, EventLog
from nextclick.stream.validation import EVENTS

from .conftest import PARAMS, TYPES


@pytest.fixture(scope="module")
def live(watched, tmp_path_factory):
    """A project whose engine answered before each next click of the test sessions, and whose log holds the clicks."""
    root = tmp_path_factory.mktemp("live") / "root"
    shutil.copytree(watched, root)
    events = pd.read_parquet(root / "data/split/test.parquet").sort_values(["timestamp", "event_id"])
    apply_definitions(root, PARAMS)
    deployment, states = Deployment(root, PARAMS.features), States(OnlineStates(connect(root, PARAMS)))
    predictions = PredictionLog(root, days=100_000)
    engine = Engine(deployment, states, predictions, budget_ms=1e6, max_staleness_hours=1e6)
    known: dict[str, tuple[Click, ...]] = {}
    answers = []
    for n, event in enumerate(events.itertuples()):
        now = int(event.timestamp.timestamp() * 1000)
        before = known.get(event.session_id, ())
        if before:
            filters = Filters((deployment.model.shop.ids.index(before[-1].item_id),)) if n % 3 == 0 else Filters()
            query = Query(f"r{n}", event.session_id, 5, deployment.model, before, filters)
            answers += [(now, answer) for answer in engine.recommend([query], now, time.perf_counter())]
        click = Click(now, event.event_id, event.item_id, TYPES.index(event.event_type))
        known[event.session_id] = advance_all(before, (click,))
    deployment.close()
    states.close()
    predictions.close()
    logged = events.assign(arrived=events["timestamp"], late=False).reindex(columns=EVENTS.names)
    rows = logged.replace({np.nan: None}).to_dict("records")
    EventLog(root / LOG).append(pa.Table.from_pylist(rows, EVENTS))
    return root, events, answers


def test_each_row_is_a_shown_item_with_its_own_score_also_of_lists_that_are_filtered(live):
    root, events, answers = live
    first, last = events["timestamp"].min(), events["timestamp"].max()
    found = served_features(root, first, last + pd.Timedelta(seconds=1), 10**6)
    shown = sorted(
        (now, answer.query.session_id, round(float(score), 5))
        for now, answer in answers
        for score in answer.scores
        if score == score
    )
    rows = zip(found["moment"], found["session"], found["score"].astype(float).round(5), strict=True)
    assert sorted((int(moment), session, round(score, 5)) for moment, session, score in rows) == shown


def test_a_window_is_thinned_after_it_is_cut(live):
    root, events, answers = live
    middle = events["timestamp"].median().floor("ms")
    until = events["timestamp"].max() + pd.Timedelta(seconds=1)
    within = sum(now >= middle.timestamp() * 1000 for now, _ in answers)
    thinned = served_features(root, middle, until, within // 2)
    assert (thinned["moment"] >= middle.timestamp() * 1000).all()
    assert within // 4 <= len(thinned[["session", "moment"]].drop_duplicates()) <= within // 2 + 1
    assert served_features(root, until, until + pd.Timedelta(days=1), 100).empty


def test_hits_come_from_the_clicks_that_followed_and_statistics_that_nobody_published_are_named_as_skew(live):
    root, events, _ = live
    since = events["timestamp"].min().floor("D").to_pydatetime()
    until = events["timestamp"].max().ceil("D").to_pydatetime()
    found = drift_live(root, since, until, PARAMS)
    assert (found["outcome"], found["rule"]) == ("alert", "skew")
    assert found["evidence"]["skewed"]
    assert all(name.startswith("item_") for name in found["evidence"]["skewed"])
    assert found["evidence"]["facts"]["events"] == len(events)
    assert found["evidence"]["performance"]["promised"] == 0.05
    low, high = found["evidence"]["performance"]["interval"]
    assert 0 <= low <= high <= 1
    assert json.loads((root / found["report"]).with_name("decision.json").read_text())["outcome"] == found["outcome"]


def test_the_command_says_that_a_window_is_empty_and_ends_with_what_to_do(live, monkeypatch):
    root, _, _ = live
    monkeypatch.chdir(root)
    ran = CliRunner().invoke(app, ["drift", "--since", "2027-01-01", "--until", "2027-01-02"])
    found = json.loads(ran.stdout)
    assert (ran.exit_code, found["outcome"], found["rule"]) == (20, "alert", "empty")
