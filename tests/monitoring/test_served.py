"""The way of the live window: lists of the real engine and events of the real log, judged by the command's code."""

import json
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from nextclick.cli import app
from nextclick.errors import InputError
from nextclick.events.session_state import Click, advance_all
from nextclick.events.tables import lock_of, parquet_files
from nextclick.features.statistics_versions import publication_times
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.online import OnlineStates
from nextclick.files import locked
from nextclick.logs.event_log import EVENT_SCHEMA, LIVE_EVENTS, EventLog, live_events
from nextclick.logs.prediction_log import served_lists
from nextclick.monitoring import drift_report
from nextclick.monitoring.drift_report import drift_live, evaluate_logs
from nextclick.serving.deployment import Deployment
from nextclick.serving.item_catalogue import Filters
from nextclick.serving.prediction_writer import PredictionWriter
from nextclick.serving.query import Query
from nextclick.serving.runtime import RecommendationEngine
from nextclick.serving.session_reader import SessionReader
from nextclick.stream.publish_statistics import publish_due

from .conftest import PARAMS, TYPES


def serve(root, events, *, publishing: bool = True) -> list:
    """The real engine answers before each next event of the sessions, and the log holds the events; a version of the
    item statistics is published whenever it is due."""
    (root / "data/interim").mkdir(exist_ok=True)
    train = pd.read_parquet(root / "data/split/train.parquet").assign(user_id=None)
    train.to_parquet(root / "data/interim/events.parquet")
    shutil.rmtree(root / "data/live", ignore_errors=True)
    shutil.rmtree(root / "data/predictions", ignore_errors=True)
    logged = events.assign(arrived=events["timestamp"], late=False).reindex(columns=EVENT_SCHEMA.names)
    rows = logged.replace({np.nan: None}).to_dict("records")
    EventLog(root / LIVE_EVENTS).append(pa.Table.from_pylist(rows, EVENT_SCHEMA))
    apply_definitions(root, PARAMS)
    store = connect(root, PARAMS, timeout=5)
    deployment, states = Deployment(root, PARAMS.features), SessionReader(OnlineStates(store))
    predictions = PredictionWriter(root, days=100_000)
    engine = RecommendationEngine(deployment, states, predictions, budget_ms=1e6, max_staleness_ms=1e12)
    known: dict[str, tuple[Click, ...]] = {}
    answers, published = [], None
    for n, event in enumerate(events.itertuples()):
        now = int(event.timestamp.timestamp() * 1000)
        due = int(publication_times(PARAMS.features, now, now)[-1])
        if publishing and due != published and publish_due(root, PARAMS, store, now):
            deployment.poll()
        published = due
        before = known.get(event.session_id, ())
        if before:
            filters = (
                Filters((deployment.champion.catalogue.ids.index(before[-1].item_id),)) if n % 3 == 0 else Filters()
            )
            query = Query(f"r{n}", event.session_id, 5, deployment.champion, before, filters)
            answers += [(now, answer) for answer in engine.recommend([query], now, time.perf_counter())]
        click = Click(now, event.position, event.event_id, event.item_id, TYPES.index(event.event_type))
        known[event.session_id] = advance_all(before, (click,))
    deployment.close()
    states.close()
    predictions.close()
    return answers


@pytest.fixture(scope="module")
def live(watched, tmp_path_factory):
    """A project that served the test sessions, with item statistics as new as they should be."""
    root = tmp_path_factory.mktemp("live") / "root"
    shutil.copytree(watched, root)
    events = pd.read_parquet(root / "data/split/test.parquet").sort_values(["timestamp", "position", "event_id"])
    return root, events, serve(root, events)


@pytest.fixture
def copied(live, tmp_path):
    """The same, to be changed."""
    shutil.copytree(live[0], tmp_path / "root")
    return tmp_path / "root"


def hours(events) -> tuple[datetime, datetime]:
    """All of the events."""
    return events["timestamp"].min().floor("h").to_pydatetime(), events["timestamp"].max().ceil("h").to_pydatetime()


def judged(root, events) -> dict:
    return evaluate_logs(root, *hours(events), PARAMS).finding.to_dict()


def rewrite(root, change) -> None:
    """Change the rows of the prediction log."""
    for file in (root / "data/predictions").glob("date=*/*.parquet"):
        table = pq.read_table(file, partitioning=None)
        changed = pa.Table.from_pylist(change(table.to_pylist()), table.schema)
        pq.write_table(changed, file)


def version(root) -> str:
    return json.loads((root / "models/bundle/manifest.json").read_text())["version"]


def test_each_row_is_a_shown_item_with_its_own_score_also_of_lists_that_are_filtered(live):
    root, events, answers = live
    first, last = events["timestamp"].min(), events["timestamp"].max()
    found = served_lists(root, first, last + pd.Timedelta(seconds=1), 10**6, version(root)).features
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
    thinned = served_lists(root, middle, until, within // 2, version(root)).features
    assert (thinned["moment"] >= middle.timestamp() * 1000).all()
    assert within // 4 <= len(thinned[["session", "moment"]].drop_duplicates()) <= within // 2 + 1
    assert served_lists(root, until, until + pd.Timedelta(days=1), 100, version(root)).features.empty


def decided(found) -> tuple[str, str]:
    return found["decision"]["outcome"], found["decision"]["rule"]


@pytest.mark.ml_test("monitor-3")
def test_a_healthy_service_is_told_to_hold_by_its_hits(live):
    root, events, answers = live
    found = judged(root, events)
    assert decided(found) == ("hold", "performance"), found["decision"]["words"]
    assert found["skewed"] == []
    assert found["facts"]["events"] == len(events)
    assert found["performance"]["promised"] == 0.05
    low, high = found["performance"]["interval"]
    assert 0 <= low <= high <= 1
    took = found["service"].pop("milliseconds")
    assert 0 < took["p50"] <= took["p99"]
    healthy = {"versions": {version(root): len(answers)}, "degraded": {}, "stale": {}, "unknown_clicks": 0}
    assert found["service"] == {"lists": len(answers), **healthy}


def test_a_later_window_of_a_healthy_service_holds_too(live):
    root, events, _ = live
    found = judged(root, events[events["timestamp"] >= events["timestamp"].min().ceil("D") + pd.Timedelta(hours=3)])
    assert found["skewed"] == []
    assert decided(found)[0] == "hold", found["decision"]["words"]


def shortened(row: dict) -> dict:
    a_list = len(row["features"]) // len(row["shown"])
    return row | {"shown": row["shown"][:2], "features": row["features"][: 2 * a_list]}


def test_lists_that_the_promise_says_nothing_of_are_not_held_against_it(live, copied):
    root, events, _ = live
    before = judged(root, events)["performance"]
    rewrite(copied, lambda rows: [shortened(row) if n % 2 else row for n, row in enumerate(rows)])
    found = judged(copied, events)
    assert found["skewed"] == []
    assert found["performance"]["shorter"] > 0
    assert found["performance"]["predictions"] + found["performance"]["shorter"] == before["predictions"]
    rewrite(copied, lambda rows: [shortened(row) for row in rows])
    assert decided(judged(copied, events)) == ("hold", "no lists")
    rewrite(copied, lambda rows: [row | {"model_version": "another"} for row in rows])
    found = judged(copied, events)
    assert decided(found) == ("hold", "no lists")
    assert found["service"]["versions"] == {"another": found["service"]["lists"]}


def test_lists_of_a_batch_that_share_its_id_are_judged_one_by_one(live, copied):
    root, events, _ = live
    before = judged(root, events)
    rewrite(copied, lambda rows: [row | {"request_id": "batch"} for row in rows])
    found = judged(copied, events)
    assert found["performance"]["predictions"] == before["performance"]["predictions"]
    assert found["served"] == before["served"]  # of the lists that a click followed, no others


def test_events_that_are_compacted_meanwhile_are_all_read(live, copied):
    root, events, _ = live
    before = live_events(root, *hours(events))
    with ThreadPoolExecutor() as pool:
        with locked(lock_of(copied / LIVE_EVENTS)):  # as `compact` holds it
            asked = pool.submit(live_events, copied, *hours(events))
            time.sleep(1)
            for file in parquet_files(copied / LIVE_EVENTS):
                file.rename(file.with_name("once.parquet"))
        pd.testing.assert_frame_equal(asked.result(), before)


def test_what_the_notebook_draws_names_no_session(live, copied, monkeypatch):
    _, events, _ = live
    monkeypatch.setattr(drift_report, "run_notebook", lambda *_: None)  # it would only read
    drift_live(copied, *hours(events), PARAMS)
    drawn = pd.read_parquet(copied / "data/drift/served.parquet")
    assert drawn["session"].nunique() > 1
    for file in (copied / "data/drift").rglob("*.parquet"):
        for column, values in pd.read_parquet(file).items():
            assert not set(values) & set(events["session_id"]), (file, column)


def test_statistics_that_nobody_published_are_named_as_skew(live, copied):
    serve(copied, live[1], publishing=False)
    found = judged(copied, live[1])
    assert decided(found) == ("alert", "skew")
    assert found["skewed"]
    assert all(name == "score" or name.startswith("item_") for name in found["skewed"])


@pytest.mark.fault(
    part="process",
    wrong="the service answers with degraded lists, or none, for a window",
    noticed="`nextclick drift`: alert, and not retrain",
    lost="nothing",
    degraded="nothing",
    heals="when the service is mended",
)
@pytest.mark.parametrize(
    ("fault", "words"),
    [({"degraded": "store"}, r"33\.\d% of the lists were degraded \(store\)"), ({"state": []}, "did not know a click")],
    ids=["the store was away", "clicks did not reach it"],
)
def test_a_fault_of_the_service_is_not_the_models(live, copied, fault, words):
    rewrite(copied, lambda rows: [row | fault if n % 3 == 0 else row for n, row in enumerate(rows)])
    found = judged(copied, live[1])
    assert decided(found) == ("alert", "service")
    assert re.search(words, found["decision"]["words"])


@pytest.mark.fault(
    part="disk",
    wrong="a file of the event log or of the prediction log is torn",
    noticed="`nextclick drift`: one line that names the file",
    lost="nothing",
    degraded="that window is not judged",
    heals="when it is restored or moved away",
)
@pytest.mark.parametrize("folder", ["data/predictions", "data/live/events"])
@pytest.mark.parametrize("harm", ["truncated", "empty", "of something else"])
def test_a_broken_file_of_a_log_is_named(live, copied, folder, harm):
    file = next((copied / folder).rglob("*.parquet"))
    file.write_bytes(file.read_bytes()[:100] if harm == "truncated" else b"")
    if harm == "of something else":
        pd.DataFrame({"price": [1.5]}).to_parquet(file)
    with pytest.raises(InputError, match=str(folder)):
        judged(copied, live[1])


@pytest.mark.parametrize(("since", "until"), [("2026-01-08", "2026-01-07"), ("2126-01-01", "2126-01-02")])
def test_a_window_that_is_none_is_refused(live, since, until):
    moments = (pd.Timestamp(at, tz="UTC").to_pydatetime() for at in (since, until))
    with pytest.raises(InputError, match="the window"):
        drift_live(live[0], *moments, PARAMS)


@pytest.mark.parametrize("window", [["--since", "2025-01-01", "--until", "2025-01-02"], ["--days", "7"]])
def test_the_command_says_that_a_window_is_empty_and_ends_with_what_to_do(live, monkeypatch, window):
    root, _, _ = live
    monkeypatch.chdir(root)
    ran = CliRunner().invoke(app, ["drift", *window])
    found = json.loads(ran.stdout)
    assert (ran.exit_code, found["outcome"], found["rule"]) == (20, "alert", "empty")
