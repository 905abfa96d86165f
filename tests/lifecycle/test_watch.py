"""Splits and watches may be looked at all the time, and say so only when it is so."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import norm
from statsmodels.regression.linear_model import OLS

from nextclick.evaluation.statistics import anytime
from nextclick.evaluation.statistics.anytime import SessionMean, gain_interval, sample_ratio_p, sequence_interval
from nextclick.lifecycle.experiment import compared, results
from nextclick.lifecycle.promotion import champion, promote, split
from nextclick.lifecycle.records import DeploymentRecord, Grounds, read_records
from nextclick.lifecycle.registry import Version
from nextclick.lifecycle.watch import check_promise
from nextclick.logs.event_log import EVENT_SCHEMA, LIVE_EVENTS, EventLog
from nextclick.logs.prediction_log import CLICK
from nextclick.params import Params

LOOKS = np.arange(200, 4001, 100)
SHOWN = ["a", "b", *(f"z{n}" for n in range(18))]  # as many as the promise is of
STATE = [dict.fromkeys(CLICK.names) | {"item_id": "c"}]


def false_alarms(trials: int = 300) -> float:
    """How often an interval misses the mean at one of many looks."""
    random, missed = np.random.default_rng(0), 0
    for _ in range(trials):
        counts = random.integers(1, 6, LOOKS[-1])
        sums = random.binomial(counts, random.beta(2, 4, LOOKS[-1])).astype(float)
        bounds = [sequence_interval(SessionMean.of(sums[:n], counts[:n]), 0.05) for n in LOOKS]
        missed += any(low > 1 / 3 or high < 1 / 3 for low, high in bounds)
    return missed / trials


def test_looking_all_the_time_is_safe_and_an_ordinary_interval_would_not_be(monkeypatch):
    assert false_alarms() <= 0.05
    # the planted bug: the interval of a single look
    monkeypatch.setattr(
        anytime, "sequence_radius", lambda variance, n, alpha: norm.ppf(1 - alpha / 2) * np.sqrt(variance / n)
    )
    assert false_alarms() > 0.15


def test_the_variance_of_a_mean_over_sessions_is_that_of_statsmodels():
    random = np.random.default_rng(3)
    counts = random.integers(1, 6, 500)
    sessions = np.repeat(np.arange(500), counts)
    values = random.random(len(sessions)) * random.random(500)[sessions]
    by_session = OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": sessions, "use_correction": False}
    )
    mean = SessionMean.of(np.bincount(sessions, values), counts)
    assert mean.value == pytest.approx(by_session.params[0])
    assert np.sqrt(mean.variance / mean.n) == pytest.approx(by_session.bse[0], rel=0.002)


def test_two_arms_that_are_the_same_do_not_differ_and_two_that_are_not_do():
    random, wrong, right = np.random.default_rng(1), 0, 0
    for _ in range(200):
        arms = random.random(LOOKS[-1]) < 0.1
        counts = random.integers(1, 6, LOOKS[-1])
        sums = random.binomial(counts, 0.3).astype(float)
        better = np.where(arms, random.binomial(counts, 0.4), sums)
        for n in LOOKS:
            sides = [(values[:n], arms[:n]) for values in (sums, better)]
            bounds = [
                gain_interval(SessionMean.of(v[~a], counts[:n][~a]), SessionMean.of(v[a], counts[:n][a]), 0.05)
                for v, a in sides
            ]
            if bounds[0][0] > 0 or bounds[0][1] < 0:
                wrong += 1
                break
        right += bounds[1][0] > 0
    assert wrong <= 10
    assert right >= 190


def test_shares_that_were_not_asked_for_void_the_split():
    assert sample_ratio_p(9000, 1000, 0.1) > 0.9
    assert sample_ratio_p(9150, 850, 0.1) < 0.01
    assert sample_ratio_p(0, 0, 0.1) == 1


def served(root, rows, clicks, degraded=None, state=STATE, folder="data/predictions") -> None:
    """rows: request, session, moment, version, shown. clicks: session, moment, item."""
    folder = root / folder / "date=2026-01-01"
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "request_id": [row[0] for row in rows],
            "session_id": [row[1] for row in rows],
            "moment": pa.array([row[2] for row in rows], pa.timestamp("ms", "UTC")),
            "model_version": [row[3] for row in rows],
            "degraded": pa.array([degraded] * len(rows), pa.string()),
            "state": pa.array([state] * len(rows), pa.list_(CLICK)),
            "shown": pa.array([row[4] for row in rows], pa.list_(pa.string())),
        }
    )
    pq.write_table(table, folder / f"{len(list(folder.iterdir()))}.parquet")
    events = [
        {"event_id": f"{session}-{moment}", "session_id": session, "user_id": None, "item_id": item,
         "event_type": "view", "timestamp": moment, "position": 0, "arrived": moment, "late": False}
        for session, moment, item in clicks
    ]  # fmt: skip
    EventLog(root / LIVE_EVENTS).append(pa.Table.from_pylist(events, EVENT_SCHEMA))


def visit(
    root, version: str, since: datetime, sessions: int, hits: float, name: str = "s", shown=SHOWN, **about
) -> None:
    """Sessions of one list and one click, a share of which hits its first place. about: see `served`."""
    rows, clicks = [], []
    for n in range(sessions):
        moment = since + timedelta(milliseconds=n)
        rows.append((f"{name}{n}", f"{name}{n}", moment, version, shown))
        clicks.append((f"{name}{n}", moment + timedelta(seconds=1), "a" if n < hits * sessions else "x"))
    served(root, rows, clicks, **about)


@pytest.fixture
def watched(project):
    """A project in which v2 was promoted over v1, with a promise of 0.5."""
    first, second = project.first, project.second
    metric = project.params.evaluation.metric
    promote(project.registry, first, Grounds(promised=0.4, metric=metric))
    promote(project.registry, second, Grounds(promised=0.5, metric=metric))
    return project, first, second


@pytest.mark.ml_test("monitor-7")
@pytest.mark.parametrize(("hits", "verdict"), [(0.5, "watching"), (0.46, "watching"), (0.2, "rolled back")])
def test_a_promise_that_is_not_kept_is_rolled_back(watched, hits, verdict):
    project, first, second = watched
    now = datetime.now(UTC)
    visit(project.root, second.bundle, now, 1500, hits)
    seen = check_promise(project.registry, project.params, now + timedelta(hours=1)).to_dict()
    assert seen["verdict"] == verdict
    assert champion(project.registry) == (first if verdict == "rolled back" else second)
    if verdict == "rolled back":
        (record,) = read_records(project.root, DeploymentRecord, "rollback")
        assert record.evidence["sessions"] == 1500
        assert (record.before, record.version) == (second.number, first.number)
        # and the old one is not rolled back in turn
        assert check_promise(project.registry, project.params, now + timedelta(hours=1)).verdict == "kept"


def test_a_promise_of_another_metric_is_none(watched):
    project, _, second = watched
    now = datetime.now(UTC)
    visit(project.root, second.bundle, now, 1500, 0.0)
    params = project.params.model_copy(
        update={"evaluation": project.params.evaluation.model_copy(update={"decide_on": "hr"})}
    )
    assert check_promise(project.registry, params, now + timedelta(hours=1)).verdict == "kept"


def test_clicks_on_other_versions_few_clicks_and_a_time_that_is_over_change_nothing(watched):
    project, first, second = watched
    now = datetime.now(UTC)
    visit(project.root, first.bundle, now, 1500, 0.0)
    assert check_promise(project.registry, project.params, now + timedelta(hours=1)).verdict == "watching"
    visit(project.root, second.bundle, now, 10, 0.0, "t")
    assert check_promise(project.registry, project.params, now + timedelta(hours=1)).verdict == "watching"
    assert check_promise(project.registry, project.params, now + timedelta(hours=25)).verdict == "kept"
    assert champion(project.registry) == second


OTHERS = {
    "short": ({"shown": SHOWN[:12]}, "1500 of fewer than 20 items"),
    "degraded": ({"degraded": "store"}, "1500 were degraded"),
    "of the unknown": ({"state": []}, "1500 of a session without a known click"),
}


@pytest.mark.parametrize(("about", "why"), OTHERS.values(), ids=OTHERS)
def test_lists_that_the_promise_says_nothing_of_are_not_held_against_the_model(watched, about, why):
    project, _, second = watched
    now = datetime.now(UTC)
    visit(project.root, second.bundle, now, 1500, 0.0, **about)
    for hours, verdict in ((1, "watching"), (25, "kept")):
        seen = check_promise(project.registry, project.params, now + timedelta(hours=hours)).to_dict()
        assert (seen["verdict"], seen["sessions"]) == (verdict, 0)
        assert "nothing to watch by" in seen["reason"]
        assert why in seen["reason"]
    visit(project.root, second.bundle, now, 1500, 0.5, "t")
    seen = check_promise(project.registry, project.params, now + timedelta(hours=1)).to_dict()
    assert (seen["verdict"], seen["sessions"]) == ("watching", 1500)
    assert "reason" not in seen
    assert champion(project.registry) == second


def test_such_lists_do_not_hide_a_broken_promise_either(watched):
    project, first, second = watched
    now = datetime.now(UTC)
    visit(project.root, second.bundle, now, 1500, 1.0, degraded="store")
    visit(project.root, second.bundle, now, 1500, 0.2, "t")
    assert check_promise(project.registry, project.params, now + timedelta(hours=1)).verdict == "rolled back"
    assert champion(project.registry) == first


def test_a_watch_without_a_list_or_a_click_says_that(watched):
    project, first, _ = watched
    now = datetime.now(UTC)
    seen = check_promise(project.registry, project.params, now).to_dict()
    assert (seen["verdict"], seen["sessions"]) == ("watching", 0)
    assert "data/predictions: no Parquet files" in seen["reason"]
    visit(project.root, first.bundle, now, 10, 0.0)
    seen = check_promise(project.registry, project.params, now + timedelta(hours=1)).to_dict()
    assert "no click followed a list of this version" in seen["reason"]


def parted(project, share: float) -> tuple[Version, Version, datetime]:
    """A split of two versions, and when it began."""
    first, second = project.first, project.second
    promote(project.registry, first, Grounds())
    started = project.root / split(project.registry, second, share).record
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)
    started.write_text(json.dumps(json.loads(started.read_text()) | {"at": began.isoformat()}))
    return first, second, began


def test_a_running_split_is_read_from_what_was_served(project):
    first, second, now = parted(project, 0.25)
    visit(project.root, first.bundle, now, 3000, 0.3, "a")
    visit(project.root, second.bundle, now, 1000, 0.5, "b")
    found = json.loads(json.dumps(results(project.root, "recommender", project.params).to_dict()))
    assert found["verdict"] == "better"
    assert (found["champion"]["sessions"], found["challenger"]["sessions"]) == (3000, 1000)
    assert found["gain"][0] < 0.2 < found["gain"][1]
    visit(project.root, second.bundle, now, 400, 0.5, "c")
    assert results(project.root, "recommender", project.params).verdict.startswith("void")


def test_an_arm_whose_lists_fail_is_not_spared_them(project):
    first, second, now = parted(project, 0.5)
    visit(project.root, first.bundle, now, 1500, 0.5, "a", shown=SHOWN[:12])
    visit(project.root, second.bundle, now, 750, 0.5, "b", shown=SHOWN[:12])
    visit(project.root, second.bundle, now, 750, 0.0, "c", shown=SHOWN[:12], degraded="error")
    assert results(project.root, "recommender", project.params).verdict == "worse"


def lists_of(ranks: dict[str, list[int]]) -> pd.DataFrame:
    """Clicked lists of sessions, in the order of time: the rank of the clicked item in each."""
    rows = [(session, moment, rank) for session, of in ranks.items() for moment, rank in enumerate(of)]
    clicked = pd.DataFrame(rows, columns=["session_id", "moment", "rank"])
    return clicked.assign(request_id=clicked["moment"].astype(str))


def test_one_visitor_does_not_decide_a_split():
    sessions = {f"s{n}": [1, 0] for n in range(400)} | {"robot": [0] * 5000}
    arms = ["champion", "challenger"] * 200 + ["challenger"]
    exposed = pd.DataFrame({"session_id": list(sessions), "arm": arms, "arms": 1})
    found = compared(lists_of(sessions), exposed, 0.5, Params())
    assert found.challenger.value == pytest.approx(200 / (400 + Params().gate.per_session))
    assert found.verdict == "no difference yet"


def test_a_session_that_saw_both_arms_belongs_to_neither():
    judged = lists_of({"s": [1], "t": [1]})
    exposed = pd.DataFrame({"session_id": ["s", "t"], "arm": ["champion"] * 2, "arms": [1, 2]})
    found = compared(judged, exposed, 0.5, Params()).to_dict()
    assert (found["champion"]["sessions"], found["mixed"], found["verdict"]) == (1, 1, "unknown")
