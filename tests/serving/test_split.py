"""Two bundles at once: each session has one of them, always the same; a shadow is logged and shown to nobody."""

import json
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from prometheus_client import REGISTRY

from nextclick.bundle.pointer import DeployedBundle, Pointer, TrafficSplit, in_challenger_arm
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.online import OnlineStates
from nextclick.logs.prediction_log import SHADOW
from nextclick.params import Params
from nextclick.serving.deployment import Deployment
from nextclick.serving.item_catalogue import Filters
from nextclick.serving.prediction_writer import PredictionWriter
from nextclick.serving.query import Query
from nextclick.serving.runtime import RecommendationEngine
from nextclick.serving.session_reader import SessionReader
from nextclick.serving.shadow import Shadow

from .conftest import PARAMS

SESSIONS = [f"session-{n}" for n in range(20_000)]


@pytest.fixture
def second(bundles) -> dict:
    version = json.loads((bundles[1] / "manifest.json").read_text())["version"]
    return {"bundle": str(bundles[1]), "version": version}


@pytest.fixture
def engine(shop, deployed):
    params = Params.read(shop / "params.yaml")
    apply_definitions(shop, params)
    states = SessionReader(OnlineStates(connect(shop, params, timeout=5)))
    shown, unseen = PredictionWriter(shop, 10_000), PredictionWriter(shop, 10_000, SHADOW)
    limits = {"budget_ms": 1000, "max_staleness_ms": 36 * 3_600_000}
    shadow = Shadow(unseen, limits["max_staleness_ms"])
    engine = RecommendationEngine(deployed, states, shown, **limits, shadow=shadow)
    engine.logs = (shadow, shown, unseen)
    yield engine
    for one in (states, shadow, shown, unseen):
        one.close()


def test_a_share_is_that_large_sticky_and_grows_without_changing_sides():
    parts = {share: np.array([in_challenger_arm(s, "b", share) for s in SESSIONS]) for share in (0.05, 0.1, 0.5)}
    for share, part in parts.items():
        assert abs(part.mean() - share) < 4 * np.sqrt(share * (1 - share) / len(part))
    assert not (parts[0.05] & ~parts[0.1]).any()
    assert not (parts[0.1] & ~parts[0.5]).any()
    other = np.array([in_challenger_arm(s, "c", 0.5) for s in SESSIONS])
    assert abs((other & parts[0.5]).mean() - 0.25) < 0.02  # one experiment's sides say nothing of another's


def test_a_split_parts_sessions_and_a_batch_has_both_sides(shop, engine, second):
    Pointer(bundle="models/bundle", split=TrafficSplit(**second, share=0.5)).write(shop, "recommender")
    engine.deployment.poll()
    now = engine.deployment.now
    assert now.challenger.version == second["version"]
    queries = [Query("r", s, 5, now.bundle_for(s), filters=Filters(exclude=(3,))) for s in SESSIONS[:40]]
    answers = engine.recommend(queries, 1_767_700_000_000, time.perf_counter())
    assert [answer.query for answer in answers] == queries
    versions = [answer.query.bundle.version for answer in answers]
    assert versions == [
        second["version"] if in_challenger_arm(s, second["version"], 0.5) else now.champion.version
        for s in SESSIONS[:40]
    ]
    assert len(set(versions)) == 2
    alone = [engine.recommend([query], 1_767_700_000_000, time.perf_counter())[0].items for query in queries]
    assert [answer.items for answer in answers] == alone
    assert not any(3 in items for items in alone)


def told(stage: str) -> float:
    return REGISTRY.get_sample_value("nextclick_stage_seconds_count", {"stage": stage}) or 0


def test_the_times_of_both_sides_of_a_batch_are_told_and_logged(shop, engine, second):
    Pointer(bundle="models/bundle", split=TrafficSplit(**second, share=0.5)).write(shop, "recommender")
    engine.deployment.poll()
    queries = [Query("r", s, 5, engine.deployment.now.bundle_for(s)) for s in SESSIONS[:8]]
    before = {stage: told(stage) for stage in ("retrieval", "features", "ranker", "total")}
    answers = engine.recommend(queries, 1_767_700_000_000, time.perf_counter())
    assert len({answer.query.bundle.version for answer in answers}) == 2
    counted = {stage: told(stage) - before[stage] for stage in before}
    assert counted == {"retrieval": 2, "features": 2, "ranker": 2, "total": 1}  # they waited for both together
    assert {tuple(answer.milliseconds) for answer in answers} == {("retrieval", "features", "ranker", "store", "total")}
    for one in engine.logs:
        one.close()
    files = list((shop / "data/predictions").glob("date=*/*.parquet"))
    logged = [took for file in files for took in pq.read_table(file)["milliseconds"].to_pylist()]
    assert len(logged) == 8
    assert None not in logged


def test_a_shadow_is_logged_apart_and_changes_no_list(shop, engine, second):
    champion = engine.deployment.now.champion
    query = Query("r1", "s", 5, champion, filters=Filters(exclude=(3, 4)))
    before = engine.recommend([query], 1_767_700_000_000, time.perf_counter())[0].items
    Pointer(bundle="models/bundle", shadow=DeployedBundle(**second)).write(shop, "recommender")
    engine.deployment.poll()
    assert engine.deployment.now.champion is champion  # it was not loaded again
    assert engine.recommend([query], 1_767_700_000_000, time.perf_counter())[0].items == before
    for one in engine.logs:
        one.close()
    (shown,) = (pq.read_table(file) for file in (shop / "data/predictions").glob("date=*/*.parquet"))
    (unseen,) = (pq.read_table(file) for file in (shop / "data/shadow").glob("date=*/*.parquet"))
    assert set(shown["model_version"].to_pylist()) == {champion.version}
    assert unseen["model_version"].to_pylist() == [second["version"]]
    assert unseen["request_id"].to_pylist() == ["r1"]
    assert len(unseen["shown"].to_pylist()[0]) == 5
    assert not {"i03", "i04"} & set(unseen["shown"].to_pylist()[0])


def test_a_broken_challenger_changes_nothing(shop, deployed, second, caplog):
    before = deployed.now
    Pointer(bundle="models/bundle", split=TrafficSplit(bundle="models/nowhere", share=0.5)).write(shop, "recommender")
    deployed.poll()
    assert deployed.now is before
    assert "nowhere" in caplog.records[-1].reason


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_a_share_is_between_none_and_all(share, second):
    with pytest.raises(ValueError, match="share"):
        TrafficSplit(**second, share=share)


def test_recommenders_stand_side_by_side(shop, second, monkeypatch):
    Pointer(**second).write(shop, "other")
    monkeypatch.setenv("NEXTCLICK_RECOMMENDER", "other")
    made = Deployment(shop, PARAMS.features)
    assert made.champion.version == second["version"]
    made.close()
    monkeypatch.delenv("NEXTCLICK_RECOMMENDER")
    made = Deployment(shop, PARAMS.features)
    assert made.champion.version != second["version"]
    made.close()
