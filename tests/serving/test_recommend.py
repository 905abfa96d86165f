"""Whatever is asked, and whatever fails, there is a sensible list; and it is the one that the recommender makes."""

import sqlite3
import time
from contextlib import closing

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from nextclick.errors import InputError, StoreUnavailableError
from nextclick.events.session_state import Click, prefixes_of
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.online import OnlineStates
from nextclick.params import Params
from nextclick.ranking.recommender import Recommender
from nextclick.serving.deployment import Deployment
from nextclick.serving.item_catalogue import Filters
from nextclick.serving.prediction_writer import PredictionWriter
from nextclick.serving.query import Query
from nextclick.serving.runtime import RecommendationEngine
from nextclick.serving.session_reader import SessionReader

from .conftest import PARAMS

NOW = 1_767_700_000_000
HOUR = 3_600_000  # ms


class Online:
    """The real online store, that can be made to fail."""

    def __init__(self, real: OnlineStates) -> None:
        self.real, self.fails = real, False

    def read(self, *arguments):
        if self.fails:
            raise StoreUnavailableError("session_state: gone")
        return self.real.read(*arguments)


@pytest.fixture
def online(shop) -> Online:
    params = Params.read(shop / "params.yaml")
    apply_definitions(shop, params)
    return Online(OnlineStates(connect(shop, params)))


@pytest.fixture
def engine(shop, online):
    predictions = PredictionWriter(shop, days=30)
    engine = RecommendationEngine(
        Deployment(shop, PARAMS.features),
        SessionReader(online),
        predictions,
        budget_ms=1000,
        max_staleness_ms=36 * HOUR,
    )
    yield engine
    engine.deployment.close()
    engine.sessions.close()
    predictions.close()


def clicks(*items: str, before: int = 0) -> tuple[Click, ...]:
    return tuple(Click(NOW - 60_000 - before + n, n, f"e{n}-{item}", item, 0) for n, item in enumerate(items))


def ask(engine, session="s", k=10, began=None, **about):
    began = time.perf_counter() if began is None else began
    return engine.recommend([Query("r", session, k, engine.deployment.champion, **about)], NOW, began)[0]


def fallbacks(reason: str) -> float:
    return REGISTRY.get_sample_value("nextclick_fallbacks_total", {"reason": reason}) or 0


def test_the_list_is_the_recommenders_own_for_the_state_in_the_store(engine, online):
    state = clicks("i03", "i07", "i03", "i11")
    online.real.write({"s": state})
    model = engine.deployment.champion
    expected = model.recommender.recommend(prefixes_of([state], model.recommender.snapshot.vocabulary), 10)[0]
    answer = ask(engine)
    assert answer.items == expected.tolist()
    assert (len(answer.state), answer.state_age_ms, answer.degraded) == (4, 60_000 - 3, None)


def test_clicks_that_come_with_the_request_join_those_of_the_store_and_count_once(engine, online):
    state = clicks("i03", "i07", "i11")
    online.real.write({"s": state[:2]})
    given = ask(engine, clicks=state[1:])
    online.real.write({"s": state})
    assert given.items == ask(engine).items
    assert len(given.state) == 3


def test_a_batch_equals_one_by_one(engine, online):
    online.real.write({f"s{n}": clicks(f"i{n:02d}", f"i{2 * n:02d}") for n in range(1, 8)})
    queries = [Query("r", f"s{n}", n + 1, engine.deployment.champion) for n in range(9)]
    together = engine.recommend(queries, NOW, time.perf_counter())
    assert [a.items for a in together] == [ask(engine, q.session_id, q.k).items for q in queries]


def test_nothing_known_is_no_failure(engine):
    for answer in (ask(engine, "never seen"), ask(engine, clicks=clicks("no", "such", "items"))):
        assert len(answer.items) == len(set(answer.items)) == 10
        assert answer.degraded is None
        assert {why.kind for why in answer.reasons} == {"popular"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    k=st.integers(1, 40),
    seen=st.lists(st.integers(-1, 39), max_size=30),
    exclude=st.lists(st.integers(0, 39), max_size=40),
    category=st.sampled_from([None, "Home", "Home/Kitchen", "Home/Kitchen/Pans", "Home/Light", "nowhere"]),
    price_min=st.none() | st.floats(0, 50),
    price_max=st.none() | st.floats(0, 50),
)
def test_every_list_is_as_long_as_can_be_and_holds_only_what_was_asked_for(
    engine, k, seen, exclude, category, price_min, price_max
):
    catalogue = engine.deployment.champion.catalogue
    filters = Filters(tuple(exclude), category, price_min, price_max)
    fits = {
        item
        for item in range(40)
        if item not in exclude
        and (category is None or f"{catalogue.categories[item]}/".startswith(f"{category}/"))
        and (price_min is None or catalogue.prices[item] >= price_min)
        and (price_max is None or catalogue.prices[item] <= price_max)
    }
    answer = ask(engine, k=k, clicks=clicks(*(f"i{item:02d}" if item >= 0 else "?" for item in seen)), filters=filters)
    assert set(answer.items) <= fits
    assert len(answer.items) == len(set(answer.items)) == min(k, len(fits))
    assert len(answer.items) == len(answer.scores) == len(answer.reasons)
    ranked = [score for score in answer.scores if not np.isnan(score)]
    assert ranked == sorted(ranked, reverse=True)


@pytest.mark.fault(
    part="Redis",
    wrong="the store does not answer a read",
    noticed="the answer: `degraded: store`",
    lost="nothing",
    degraded="that list, made of the last known state and the clicks given",
    heals="by itself",
)
def test_without_the_store_the_last_known_state_and_the_given_clicks_go_on(engine, online):
    state = clicks("i03", "i07")
    online.real.write({"s": state})
    before, counted = ask(engine), fallbacks("store")
    online.fails = True
    without = ask(engine)
    assert (without.items, without.degraded, len(without.state)) == (before.items, "store", 2)
    assert len(ask(engine, clicks=clicks("i05", before=-1000)).state) == 3
    assert ask(engine, "unknown").items
    assert fallbacks("store") == counted + 3
    online.fails = False
    deadline = time.monotonic() + 10
    while ask(engine).degraded:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.fault(
    part="disk",
    wrong="another process holds SQLite's file",
    noticed="the answer: `degraded: store`",
    lost="nothing",
    degraded="lists while it is held",
    heals="by itself",
)
def test_a_database_that_somebody_holds_costs_no_request_its_budget_nor_its_state(engine, online, shop):
    online.real.write({"s": clicks("i03", "i07")})
    before = ask(engine)
    with closing(sqlite3.connect(shop / ".feast/online.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        answer = ask(engine)
    assert (answer.items, answer.degraded, len(answer.state)) == (before.items, "store", 2)


@pytest.mark.fault(
    part="disk",
    wrong="SQLite's file or Feast's registry is damaged",
    noticed="whoever starts it: one line with the remedy",
    lost="the states that SQLite held",
    degraded="it does not start",
    heals="when the folder is removed",
)
@pytest.mark.parametrize("part", ["online.db", "registry.db"])
def test_a_damaged_store_is_named_with_the_way_out(online, shop, part):
    params = Params.read(shop / "params.yaml")
    (shop / ".feast" / part).write_bytes(b"no database" * 1000)
    with pytest.raises(InputError, match=r"\.feast: damaged.*Remove"):
        apply_definitions(shop, params)


def test_while_the_store_is_gone_no_request_waits_for_it(engine, online, monkeypatch):
    asked = []
    monkeypatch.setattr(online.real, "read", lambda keys, *_: asked.append(keys[0]))
    online.fails = True
    ask(engine)
    online.read = lambda keys, *_: (asked.append(keys[0]), (_ for _ in ()).throw(StoreUnavailableError("gone")))[0]
    for _ in range(20):
        ask(engine)
    assert "s" not in asked


@pytest.mark.fault(
    part="process",
    wrong="a ranking would take longer than the budget",
    noticed="the answer: `degraded: budget`, metric nextclick_fallbacks",
    lost="nothing",
    degraded="the list is what is popular",
    heals="by itself",
)
def test_what_would_exceed_the_budget_is_popular_and_counted(engine):
    counted = fallbacks("budget")
    answer = ask(engine, began=time.perf_counter() - 2, clicks=clicks("i03"))
    assert answer.degraded == "budget"
    assert len(answer.items) == 10
    assert fallbacks("budget") == counted + 1


def slow_ranking(monkeypatch, seconds: float) -> None:
    quick = Recommender.scores_of

    def slow(*given):
        time.sleep(seconds)
        return quick(*given)

    monkeypatch.setattr(Recommender, "scores_of", slow)


@pytest.mark.timed
def test_one_slow_ranking_costs_the_next_visitors_nothing(engine, monkeypatch):
    engine.budget.seconds = 0.05
    with monkeypatch.context() as paused:
        slow_ranking(paused, 25 * engine.budget.seconds)
        ask(engine)
    assert None in [ask(engine).degraded for _ in range(5)]


@pytest.mark.timed
def test_while_ranking_is_too_slow_few_wait_for_it_and_soon_after_all_are_ranked_again(engine, monkeypatch):
    engine.budget.seconds = 0.05
    with monkeypatch.context() as loaded:
        slow_ranking(loaded, 3 * engine.budget.seconds)
        reasons = [ask(engine).degraded for _ in range(120)]
    assert reasons[40:].count("budget") > 50
    assert None in reasons[40:]  # else nobody would see that it is quick again
    assert None in [ask(engine).degraded for _ in range(30)][-5:]


@pytest.mark.fault(
    part="process",
    wrong="the ranking raises an error",
    noticed="the service: a trace in the log, metric nextclick_fallbacks{reason=error}",
    lost="nothing",
    degraded="the list is what is popular",
    heals="with the next request",
)
def test_a_bug_costs_quality_not_the_list(engine, monkeypatch):
    counted = fallbacks("error")
    monkeypatch.setattr(Recommender, "scores_of", lambda *_: 1 / 0)
    answer = ask(engine)
    assert (answer.degraded, len(answer.items)) == ("error", 10)
    assert fallbacks("error") == counted + 1


def test_reasons_name_an_item_of_the_session_or_none(engine):
    answer = ask(engine, k=30, clicks=clicks("i03", "i07", "i11"))
    catalogue = engine.deployment.champion.catalogue
    kinds = {why.kind for why in answer.reasons}
    assert "seen" in kinds
    assert kinds & {"clicked_next", "similar_sessions", "similar_item"}
    for item, why in zip(answer.items, answer.reasons, strict=True):
        assert (why.kind == "seen") == (catalogue.ids[item] in {"i03", "i07", "i11"})
        if why.kind == "clicked_next":
            assert catalogue.ids[why.item] == "i11"
        elif why.item is not None:
            assert catalogue.ids[why.item] in {"i03", "i07", "i11"}
        assert why.text(catalogue)


def stale_reads(view: str) -> float:
    return REGISTRY.get_sample_value("nextclick_stale_reads_total", {"view": view}) or 0


@pytest.mark.ml_test("monitor-4")
@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_values_older_than_may_be_are_told_and_counted(shop, request, monkeypatch, store):
    if store == "redis":
        monkeypatch.setenv("NEXTCLICK_REDIS", request.getfixturevalue("redis_server")().address)
    params = Params.read(shop / "params.yaml")
    params = params.model_copy(update={"features": params.features.model_copy(update={"online_store": store})})
    apply_definitions(shop, params)
    states, predictions = OnlineStates(connect(shop, params, timeout=5)), PredictionWriter(shop, days=10_000)
    made = RecommendationEngine(
        Deployment(shop, PARAMS.features), SessionReader(states), predictions, budget_ms=1000, max_staleness_ms=2 * HOUR
    )
    try:
        newest = made.deployment.champion.statistics_at
        states.write({"s": (Click(newest, 0, "e", "i03", 0),)})
        counted = {view: stale_reads(view) for view in ("session_state", "item_statistics")}

        def ask_at(now: int, **about):
            return made.recommend([Query("r", "s", 5, made.deployment.champion, **about)], now, time.perf_counter())[0]

        limit = newest + 2 * HOUR
        just = ask_at(limit)
        assert (just.state_age_ms, just.statistics_age_ms, just.stale) == (7_200_000, 7_200_000, [])
        old = ask_at(limit + 1)
        assert (old.state_age_ms, old.statistics_age_ms) == (7_200_001, 7_200_001)
        assert old.stale == ["session_state", "item_statistics"]
        # a click that comes with the request is new, whatever the store says
        assert ask_at(limit + 1, clicks=(Click(limit, 0, "n", "i05", 0),)).stale == ["item_statistics"]
        assert stale_reads("session_state") == counted["session_state"] + 1
        assert stale_reads("item_statistics") == counted["item_statistics"] + 2
    finally:
        made.deployment.close()
        made.sessions.close()
        predictions.close()
    files = (shop / "data/predictions").glob("date=*/*.parquet")
    logged = [row["stale"] for file in files for row in pq.read_table(file).to_pylist()]
    assert logged == [[], ["session_state", "item_statistics"], ["item_statistics"]]
