"""Served lists meet the clicks that followed: each click once, the list that stood before it, only while it counts."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextclick.bundle.pointer import Pointer
from nextclick.errors import InputError
from nextclick.logs.event_log import EVENT_SCHEMA, LIVE_EVENTS, EventLog
from nextclick.logs.prediction_log import CLICK, service_report
from nextclick.monitoring.data_profile import DataProfile
from nextclick.monitoring.feedback import ListMetrics, as_promised, clicked_lists, feedback
from nextclick.monitoring.reference import REQUIRED, About, Reference, reference_of
from nextclick.params import Params

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = (START, START + timedelta(days=1))
PATIENCE = 30 * 60_000  # ms
WHOLE = ["a", "b", *(f"z{place}" for place in range(18))]  # as many as the promise is of


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def serve(
    root: Path, lists: list[tuple[str, str, float, list[str]]], version: str = "a", degraded=None, known=1
) -> None:
    """lists: request, session, minute, items. known: how many clicks."""
    table = pa.table(
        {
            "request_id": [row[0] for row in lists],
            "session_id": [row[1] for row in lists],
            "moment": pa.array([at(row[2]) for row in lists], pa.timestamp("ms", "UTC")),
            "model_version": [version] * len(lists),
            "degraded": pa.array([degraded] * len(lists), pa.string()),
            "stale": pa.array([[]] * len(lists), pa.list_(pa.string())),
            "state": pa.array([[dict.fromkeys(CLICK.names) | {"item_id": "b"}] * known] * len(lists), pa.list_(CLICK)),
            "shown": pa.array([row[3] for row in lists], pa.list_(pa.string())),
            "milliseconds": pa.array([2.0] * len(lists), pa.float32()),
        }
    )
    folder = root / "data/predictions/date=2026-03-01"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / f"{version}-{len(list(folder.iterdir()))}.parquet")


def click(root: Path, clicks: list[tuple[str, str, float, str]], kind: str = "view") -> None:
    """clicks: event, session, minute, item."""
    rows = [
        {
            "event_id": event,
            "session_id": session,
            "user_id": None,
            "item_id": item,
            "event_type": kind,
            "timestamp": at(minute),
            "position": 0,
            "arrived": at(minute),
            "late": False,
        }
        for event, session, minute, item in clicks
    ]
    EventLog(root / LIVE_EVENTS).append(pa.Table.from_pylist(rows, EVENT_SCHEMA))


def judged(root: Path) -> pd.DataFrame:
    return clicked_lists(root, *DAY, "view", PATIENCE)


def test_a_click_is_judged_by_the_newest_list_before_it_and_a_list_by_its_first_click(tmp_path):
    serve(tmp_path, [("r1", "s", 0, ["a", "b"]), ("r2", "s", 1, ["b", "c"]), ("r3", "s", 5, ["d"])])
    click(tmp_path, [("e1", "s", 2, "c"), ("e2", "s", 3, "b"), ("e3", "s", 6, "x"), ("e0", "s", 0, "a")])
    found = judged(tmp_path).set_index("request_id")
    assert found["rank"].to_dict() == {"r2": 2, "r3": 0}  # r1 was never acted on, e2 came after r2 had been answered
    assert found["clicked"].to_dict() == {"r2": "c", "r3": "x"}


def test_only_clicks_of_the_same_session_and_type_in_time_count_and_each_once(tmp_path):
    serve(tmp_path, [("r1", "s", 0, ["a"]), ("r2", "t", 0, ["a"]), ("r3", "u", 0, ["a"])])
    click(tmp_path, [("e1", "s", 31, "a"), ("e2", "other", 1, "a"), ("e3", "t", 1, "a"), ("e3", "t", 1, "a")])
    click(tmp_path, [("e4", "u", 1, "a")], kind="cart")
    assert judged(tmp_path)["request_id"].tolist() == ["r2"]


def test_lists_that_share_a_requests_id_are_told_apart(tmp_path):
    serve(tmp_path, [("batch", "s", 0, ["a"]), ("batch", "t", 0, ["a"]), ("batch", "s", 5, ["b"])])
    click(tmp_path, [("e1", "s", 1, "a"), ("e2", "t", 1, "x"), ("e3", "s", 6, "b"), ("e4", "s", 7, "x")])
    assert judged(tmp_path)[["session_id", "rank"]].to_numpy().tolist() == [["s", 1], ["t", 0], ["s", 1]]


def test_only_lists_made_as_the_promise_was_are_held_against_it(tmp_path):
    serve(tmp_path, [("whole", "s", 0, WHOLE), ("short", "t", 0, WHOLE[:12])])
    serve(tmp_path, [("degraded", "u", 0, WHOLE)], degraded="store")
    serve(tmp_path, [("unknown", "v", 0, WHOLE)], known=0)
    click(tmp_path, [(f"e{session}", session, 1, "x") for session in "stuv"])
    assert len(judged(tmp_path)) == 4
    assert as_promised(judged(tmp_path), 20)["request_id"].tolist() == ["whole"]


def test_the_window_is_that_of_the_list(tmp_path):
    serve(tmp_path, [("r0", "s", -1, ["a"]), ("r1", "t", 24 * 60 - 1, ["a"]), ("r2", "u", 24 * 60, ["a"])])
    click(tmp_path, [("e0", "s", 0, "a"), ("e1", "t", 24 * 60 + 5, "a"), ("e2", "u", 24 * 60 + 5, "a")])
    assert judged(tmp_path)["request_id"].tolist() == ["r1"]
    assert service_report(tmp_path, *DAY).lists == 1


@pytest.mark.ml_test("monitor-7")
def test_figures_are_those_of_the_evaluation_with_their_intervals(tmp_path):
    lists = [(f"r{n}", f"s{n}", 0.0, ["a", "b"]) for n in range(50)]
    serve(tmp_path, lists)
    click(tmp_path, [(f"e{n}", f"s{n}", 1.0, "a" if n < 20 else "b" if n < 30 else "x") for n in range(50)])
    found = ListMetrics.of(judged(tmp_path), 20, 0).to_dict()
    assert found["predictions"] == 50
    assert found["hr@20"] == pytest.approx(0.6)
    assert found["mrr@20"] == pytest.approx(0.5)
    low, high = found["hr@20_interval"]
    assert 0.4 < low < 0.6 < high < 0.8
    assert found["shorter"] == 1
    assert ListMetrics.of(judged(tmp_path).head(0), 20, 0).to_dict() == {"predictions": 0}


def test_versions_and_degraded_answers_are_told_apart(tmp_path):
    serve(tmp_path, [("r1", "s", 0, ["a"])], version="a")
    serve(tmp_path, [("r2", "t", 0, ["a"])], version="b", degraded="store")
    click(tmp_path, [("e1", "s", 1, "a"), ("e2", "t", 1, "a")])
    found = judged(tmp_path)
    assert found[["model_version", "degraded"]].to_numpy().tolist() == [["a", "no"], ["b", "store"]]
    report = service_report(tmp_path, *DAY)
    assert (report.versions, report.degraded) == ({"a": 1, "b": 1}, {"store": 0.5})


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match="data/predictions"):
        judged(tmp_path)
    serve(tmp_path, [("r1", "s", 0, ["a"])])
    with pytest.raises(InputError, match="data/live/events"):
        judged(tmp_path)


@pytest.mark.parametrize(
    ("promise", "verdict"), [(0.9, "below"), (0.5, "as promised"), (0.1, "above"), (None, "unknown")]
)
def test_only_an_interval_beside_the_promise_says_that_it_was_missed(tmp_path, promise, verdict):
    serve(tmp_path, [(f"r{n}", f"s{n}", 0.0, WHOLE) for n in range(50)])
    click(tmp_path, [(f"e{n}", f"s{n}", 1.0, "a" if n < 25 else "x") for n in range(50)])
    if promise:
        (tmp_path / "reports/metrics").mkdir(parents=True)
        (tmp_path / "reports/metrics/evaluate.json").write_text(json.dumps({"mrr@20": promise}))
    found = feedback(tmp_path, *DAY, Params()).to_dict()
    assert found["verdict"] == verdict
    assert (found["complete"], found["lists"], found["degraded"], found["stale"]) == (True, 50, {}, {})
    assert found["milliseconds"] == {"p50": 2, "p99": 2}
    assert found["by_slice"]["known events"]["1"]["predictions"] == 50
    assert found["by_slice"]["repeat"].keys() == {"no"}
    assert found["by_version"]["a"]["predictions"] == 50


def placed(root: Path, promise: float) -> None:
    """Bundle a is champion by this promise, and the pipeline's last run made another, b, by a higher one."""
    pointer = Pointer(bundle="models/registry/recommender/v1.0.0", version="a")
    pointer.write(root, "recommender")
    measured = {"days": 1.0, "mix": {}, "lost": 0.0, "twice": 0.0}
    profile = DataProfile(events=1, missing=[], **(dict.fromkeys(REQUIRED) | measured))
    about = About(
        bundle="a", trained_until=START.isoformat(), figure="mrr@20", promised=promise,
        facts=profile, days={}, importance={},
    )  # fmt: skip
    Reference(pd.DataFrame(), about).save(reference_of(root / pointer.bundle))
    (root / "reports/metrics").mkdir(parents=True)
    (root / "reports/metrics/evaluate.json").write_text(json.dumps({"mrr@20": 0.9}))


def test_the_promise_is_the_champions_and_so_are_the_lists_that_are_held_against_it(tmp_path):
    placed(tmp_path, 0.5)
    serve(tmp_path, [(f"r{n}", f"s{n}", 0.0, WHOLE) for n in range(50)])
    serve(tmp_path, [(f"q{n}", f"t{n}", 0.0, WHOLE) for n in range(50)], version="b")
    serve(tmp_path, [(f"p{n}", f"u{n}", 0.0, WHOLE) for n in range(50)], degraded="store")
    clicks = [(f"e{n}", f"s{n}", 1.0, "a" if n < 25 else "x") for n in range(50)]
    click(tmp_path, clicks + [(f"f{session}{n}", f"{session}{n}", 1.0, "x") for session in "tu" for n in range(50)])
    found = feedback(tmp_path, *DAY, Params()).to_dict()
    assert (found["champion"], found["promised"], found["verdict"]) == ("a", {"mrr@20": 0.5}, "as promised")
    assert found["predictions"] == 150
    shutil.rmtree(tmp_path / "models/registry/recommender/v1.0.0-reference")
    found = feedback(tmp_path, *DAY, Params()).to_dict()
    assert (found["promised"], found["verdict"]) == ({"mrr@20": None}, "unknown")


moments = st.integers(0, 50)
served = st.lists(
    st.tuples(st.sampled_from("st"), moments, st.sampled_from("abc")), max_size=12, unique_by=lambda r: r[:2]
)
clicked = st.lists(
    st.tuples(st.sampled_from("st"), moments, st.sampled_from("abcd")), max_size=12, unique_by=lambda r: r[:2]
)


@settings(max_examples=30, deadline=None)
@given(served.filter(len), clicked.filter(len))
def test_the_join_is_that_of_a_plain_loop(tmp_path_factory, lists, clicks):
    root = tmp_path_factory.mktemp("shop")
    serve(root, [(f"{session}{minute}", session, minute, [item]) for session, minute, item in lists])
    click(root, [(f"e{session}{minute}", session, minute, item) for session, minute, item in clicks])
    expected = {}
    for session, minute, item in sorted(clicks, key=lambda row: row[1]):
        before = [row for row in lists if row[0] == session and row[1] < minute and minute - row[1] <= 30]
        if before:
            newest = max(before, key=lambda row: row[1])
            expected.setdefault(f"{session}{newest[1]}", int(newest[2] == item))
    assert judged(root).set_index("request_id")["rank"].to_dict() == expected
