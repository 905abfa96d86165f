"""How fresh recommendations are is measured without a broker too, and what keeps a click away is said."""

import pytest

from nextclick.errors import InputError, StoreUnavailableError
from nextclick.events.sessions import SessionLog
from nextclick.events.tables import parquet_files
from nextclick.features.store.connect import apply_definitions
from nextclick.logs.event_log import LIVE_EVENTS
from nextclick.logs.published_statistics import published_versions
from nextclick.params import Params, Ranker, Retrieval
from nextclick.ranking.recommender import Recommender, train_recommender
from nextclick.stream import freshness as module
from nextclick.stream.freshness import WATCHED, freshness

RATE, SECONDS, WARM_UP = 8, 2, 0.5
TYPES = ["view", "cart", "purchase"]


@pytest.fixture(scope="module")
def recommender(shop_events) -> Recommender:
    params = Params(
        retrieval=Retrieval(dimensions=8, encoder_epochs=1, encoder_min_steps=100, width=30, nearest=10),
        ranker=Ranker(rounds=10, max_depth=3, negatives=10, min_child_weight=1),
    )
    return train_recommender(SessionLog.from_events(shop_events(200, 3), TYPES), params, event_types=TYPES)[0]


def test_every_watched_click_is_seen_and_changes_a_list(project, params, recommender, monkeypatch):
    monkeypatch.delenv("NEXTCLICK_KAFKA", raising=False)
    monkeypatch.setattr(module, "WARM_UP", WARM_UP)
    apply_definitions(project, params)
    found = freshness(project, params, recommender, RATE, SECONDS)
    assert found["events"] == RATE * SECONDS
    # at so low a rate each click is watched, but for those of the warm-up
    assert RATE < WATCHED
    assert found["watched"] == RATE * (SECONDS - WARM_UP)
    assert 0 < found["recommended"] <= found["watched"]
    assert found["changed"] > 0.5
    assert 0 < found["p50_ms"] <= found["p90_ms"] <= found["p99_ms"] <= found["p100_ms"]
    assert found["p100_ms"] <= found["recommended_p100_ms"]
    # nobody is to learn from them
    assert parquet_files(project / LIVE_EVENTS) == []
    assert published_versions(project) == []
    left = {path.name.strip(".").removesuffix(".lock") for path in (project / "data/live").iterdir()}
    assert left <= {"events", "quarantine", "statistics"}


def test_a_click_that_is_late_for_too_long_is_an_error_that_says_what_may_help(
    project, params, recommender, monkeypatch
):
    monkeypatch.delenv("NEXTCLICK_KAFKA", raising=False)
    monkeypatch.setattr(module, "LOST_AFTER", 0.0)
    monkeypatch.setattr(module, "WARM_UP", 0.0)
    apply_definitions(project, params)
    with pytest.raises(InputError, match="the rate"):
        freshness(project, params, recommender, 50, SECONDS)


def test_a_store_that_dies_meanwhile_is_an_error(project, redis_params, redis_server, recommender, monkeypatch):
    monkeypatch.delenv("NEXTCLICK_KAFKA", raising=False)
    server = redis_server()
    monkeypatch.setenv("NEXTCLICK_REDIS", server.address)
    apply_definitions(project, redis_params)
    clicks = module._clicks

    def until_it_dies(*about):
        for number, click in enumerate(clicks(*about)):
            if number == 3:
                server.kill()
            yield click

    monkeypatch.setattr(module, "_clicks", until_it_dies)
    with pytest.raises(StoreUnavailableError):
        freshness(project, redis_params, recommender, 20, SECONDS)
