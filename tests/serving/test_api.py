"""The routes without a network: what fits is answered as described, what does not is refused without a word of the
inside."""

import asyncio
import json
import re
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from nextclick.events.session_state import Click, advance_all
from nextclick.params import Params
from nextclick.serving import admission, schema
from nextclick.serving.admission import MAX_BODY_BYTES, Traffic
from nextclick.serving.api import _click, app
from nextclick.serving.runtime import Runtime


@pytest.fixture
def open_api(shop, monkeypatch):
    """open_api(**serving params): a client of the API on the shop."""
    opened = []

    def make(key: str | None = None, **serving) -> TestClient:
        if key:
            monkeypatch.setenv("NEXTCLICK_API_KEY", key)
        params = Params.read(shop / "params.yaml")
        params = params.model_copy(update={"serving": params.serving.model_copy(update=serving)})
        opened.append(Runtime.open(shop, params))
        app.state.runtime = opened[-1]
        return TestClient(Traffic(app, app, app.state))

    yield make
    for runtime in opened:
        runtime.close()


@pytest.fixture
def api(open_api) -> TestClient:
    return open_api()


def event(n: int, item: str, **changes) -> dict:
    import time

    return {
        "event_id": f"e{n}",
        "session_id": "s",
        "item_id": item,
        "event_type": "view",
        "timestamp": time.time_ns() // 1_000_000,
    } | changes


def test_a_click_that_was_accepted_changes_the_next_list(api):
    before = api.post("/recommend", json={"session_id": "s"}).json()
    receipt = api.post("/events", json=event(1, "i03")).json()
    after = api.post("/recommend", json={"session_id": "s"}).json()
    assert receipt == {"accepted": 1, "late": 0, "quarantined": []}
    assert [item["item_id"] for item in before["items"]] != [item["item_id"] for item in after["items"]]
    assert (before["clicks"], after["clicks"]) == (0, 1)
    assert 0 <= after["state_age_ms"] < 60_000


def test_given_clicks_of_one_moment_have_the_place_of_their_position_or_their_place_in_the_list():
    now = 1_767_225_600_000

    def click(place: int, **given) -> Click:
        told = schema.GivenClick(item_id="i03", timestamp=now, **given)
        return _click(told, place, SimpleNamespace(event_types=["view"]), now)

    stored = Click(now, now * 10**6, "stored", "i03", 0)  # by the time of its arrival in ns, as without a broker
    later = [click(place, event_id=one) for place, one in enumerate(["z", "a", "m"])]
    assert [one.event_id for one in advance_all((stored,), reversed(later))] == ["stored", "z", "a", "m"]
    assert click(0, event_id="a", position=3) < stored


def test_bad_events_are_named_and_the_good_ones_beside_them_count(api):
    sent = [event(1, "i03"), event(2, ""), 7, event(3, "i04", event_type="stare"), event(4, "i05")]
    receipt = api.post("/events", json=sent).json()
    assert receipt["accepted"] == 2
    assert [bad["place"] for bad in receipt["quarantined"]] == [1, 2, 3]
    assert [bad["field"] for bad in receipt["quarantined"]][::2] == ["item_id", "event_type"]
    assert all(bad["reason"] for bad in receipt["quarantined"])
    assert api.post("/recommend", json={"session_id": "s"}).json()["clicks"] == 2


def test_answers_are_what_the_description_says(api):
    recommendations = api.post("/recommend", json={"session_id": "s", "k": 5, "clicks": [{"item_id": "i08"}]})
    schema.Recommendations.model_validate_json(recommendations.content, strict=True)
    batch = api.post("/recommend_batch", json={"requests": [{"session_id": "a"}, {"session_id": "b", "k": 3}]})
    results = schema.BatchRecommendations.model_validate_json(batch.content, strict=True).results
    assert [len(result.items) for result in results] == [20, 3]
    similar = api.get("/items/i03/similar?k=4")
    found = schema.SimilarItems.model_validate_json(similar.content, strict=True).items
    assert len(found) == 4
    assert "i03" not in {item.item_id for item in found}
    page = api.get("/items?limit=7&category=Home/Light")
    shown = schema.ItemPage.model_validate_json(page.content, strict=True)
    assert {item.category for item in shown.items} == {"Home/Light"}
    assert set(shown.categories) == {"Home", "Home/Kitchen", "Home/Kitchen/Pans", "Home/Light"}


@pytest.mark.fault(
    part="HTTP",
    wrong="a request breaks the schema",
    noticed="the client: 400 or 422 that names the field",
    lost="nothing",
    degraded="nothing",
    heals="nothing to heal",
)
@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, None),
        (b"\xff\xfe", 400, None),
        (b"[]", 422, "body"),
        (b"{}", 422, "session_id"),
        (b'{"session_id": ""}', 422, "session_id"),
        (b'{"session_id": "\\ud800"}', 422, "session_id"),
        (json.dumps({"session_id": "x" * 257}).encode(), 422, "session_id"),
        (b'{"session_id": "s", "k": 0}', 422, "k"),
        (b'{"session_id": "s", "k": 101}', 422, "k"),
        (b'{"session_id": "s", "k": "5"}', 422, "k"),
        (b'{"session_id": "s", "k": true}', 422, "k"),
        (b'{"session_id": "s", "more": 1}', 422, "more"),
        (b'{"session_id": "s", "price_min": NaN}', 422, "price_min"),
        (b'{"session_id": "s", "price_min": 9, "price_max": 3}', 422, "price_max"),
        (b'{"session_id": "s", "clicks": [{"item_id": "i", "event_type": "stare"}]}', 422, "clicks.0.event_type"),
        (b'{"session_id": "s", "clicks": [{"item_id": "i", "timestamp": 99999999999999}]}', 422, "clicks.0.timestamp"),
        (b'{"session_id": "s", "clicks": [{"item_id": "i", "timestamp": 1}]}', 422, "clicks.0.timestamp"),
    ],
)
def test_what_does_not_fit_is_named(api, body, status, field):
    answer = api.post("/recommend", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    refusal = schema.Error.model_validate_json(answer.content)
    assert refusal.request_id == answer.headers["x-request-id"]
    if field:
        assert [detail.field for detail in refusal.details] == [field]


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"9" * 5000])
def test_events_that_are_no_json_are_refused_or_quarantined(api, body):
    answer = api.post("/events", content=body)
    assert answer.status_code == 400 or answer.json()["accepted"] == 0


@pytest.mark.fault(
    part="HTTP",
    wrong="a body of more than 1 MiB",
    noticed="the client: 413",
    lost="nothing",
    degraded="nothing",
    heals="nothing to heal",
)
def test_too_much_is_refused_unread(api):
    assert api.post("/recommend", content=b" " * (MAX_BODY_BYTES + 1)).status_code == 413
    chunks = (b" " * 2**16 for _ in range(2**6))
    assert api.post("/events", content=chunks).status_code == 413
    more = (b" " * 2**16 for _ in range(2**6))
    assert api.post("/recommend", content=more, headers={"content-type": "application/json"}).status_code == 413
    many = api.post("/events", json=[event(n, "i03") for n in range(1001)])
    assert many.status_code == 422


def test_unknown_items_and_routes_are_not_found(api):
    assert api.get("/items/no%2Fsuch/similar").status_code == 404
    assert api.get("/nowhere").status_code == 404
    assert api.get("/recommend").headers["allow"] == "POST"
    assert api.get("/recommend").status_code == 405


def test_an_error_inside_shows_nothing_of_it(api, monkeypatch):
    monkeypatch.setattr(app.state.runtime.queue, "acquire", lambda: 1 / 0)
    answer = api.post("/recommend", json={"session_id": "s"})
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error", "details": [], "request_id": answer.headers["x-request-id"]}


def test_the_key_is_asked_for_everywhere_but_on_the_page(open_api):
    api = open_api(key="s3cret")
    asked = {"session_id": "s"}
    assert api.post("/recommend", json=asked).status_code == 401
    assert api.post("/recommend", json=asked, headers={"x-api-key": "s3cre"}).status_code == 401
    assert api.post("/recommend", json=asked, headers={"x-api-key": "s3cret"}).status_code == 200
    assert api.post("/events", json=event(1, "i03")).status_code == 401
    assert api.get("/items").status_code == 401
    for path in ("/", "/page/shop.js", "/openapi.json"):
        assert api.get(path).status_code == 200


def test_the_description_holds_all_that_it_refers_to():
    described = app.openapi()
    named = set(re.findall(r'"#/([^"]+)"', json.dumps(described)))
    assert named
    for name in named:
        found = described
        for part in name.split("/"):
            assert part in found, name
            found = found[part]


@pytest.mark.fault(
    part="HTTP",
    wrong="one client asks more often than serving.requests_per_second",
    noticed="the client: 429; metric nextclick_shed{reason=rate}",
    lost="nothing",
    degraded="nothing for others",
    heals="by itself",
)
def test_a_client_that_asks_too_often_is_told_when_to_come_back(open_api):
    api = open_api(requests_per_second=3)
    answers = [api.post("/recommend", json={"session_id": "s"}) for _ in range(6)]
    assert [answer.status_code for answer in answers[:3]] == [200] * 3
    assert answers[-1].status_code == 429
    assert answers[-1].headers["retry-after"] == "1"


def test_guessing_keys_is_slowed_down_and_keeps_nobody_from_his_own(open_api):
    api = open_api(key="s3cret", requests_per_second=3)
    wrong = [api.post("/recommend", json={"session_id": "s"}, headers={"x-api-key": f"{n}"}) for n in range(6)]
    assert [answer.status_code for answer in wrong[:3]] == [401] * 3
    assert wrong[-1].status_code == 429
    assert api.post("/recommend", json={"session_id": "s"}, headers={"x-api-key": "s3cret"}).status_code == 200


@pytest.mark.fault(
    part="HTTP",
    wrong="a body does not come",
    noticed="the client, after 3 s: 408",
    lost="nothing",
    degraded="nothing",
    heals="nothing to heal",
)
def test_a_body_that_does_not_come_is_given_up(api, monkeypatch):
    monkeypatch.setattr(admission, "BODY_TIMEOUT", 0.05)

    async def asked() -> list[dict]:
        sent = []

        async def stalled() -> dict:
            await asyncio.sleep(30)
            return {}

        async def answer(message: dict) -> None:
            sent.append(message)

        headers = [(b"content-type", b"application/json"), (b"content-length", b"100")]
        scope = {"type": "http", "method": "POST", "path": "/recommend", "headers": headers, "query_string": b""}
        await api.app(scope, stalled, answer)
        return sent

    start, body = asyncio.run(asked())
    assert start["status"] == 408
    assert json.loads(body["body"])["error"].startswith("expected the whole body")


@pytest.mark.fault(
    part="HTTP",
    wrong="many times more requests come than can be answered",
    noticed="the clients: 429 with Retry-After; metric nextclick_shed{reason=busy}",
    lost="nothing",
    degraded="what is answered is answered in time, the rest refused before it is read",
    heals="by itself",
)
def test_a_full_queue_refuses_a_request_before_it_is_read(api, monkeypatch):
    monkeypatch.setattr(app.state.runtime.queue, "_waiting", 10**6)
    for path in ("/recommend", "/recommend_batch"):
        refused = api.post(path, content=b"no JSON", headers={"content-type": "application/json"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert api.get("/items").status_code == 200, "which waits for no slot"
    monkeypatch.undo()
    refused = api.post("/recommend", content=b"no JSON", headers={"content-type": "application/json"})
    assert refused.status_code == 400


def test_a_batch_lets_others_have_their_turn(api, monkeypatch):
    acquired = []
    acquire = app.state.runtime.queue.acquire

    async def counted():
        acquired.append(1)
        await acquire()

    monkeypatch.setattr(app.state.runtime.queue, "acquire", counted)
    found = api.post("/recommend_batch", json={"requests": [{"session_id": f"s{n}"} for n in range(20)]}).json()
    assert [result["session_id"] for result in found["results"]] == [f"s{n}" for n in range(20)]
    assert len(acquired) == 3


def test_request_ids_are_taken_over_or_made(api):
    asked = {"session_id": "s"}
    given = api.post("/recommend", json=asked, headers={"x-request-id": "order-17.b"})
    assert given.headers["x-request-id"] == given.json()["request_id"] == "order-17.b"
    made = api.post("/recommend", json=asked, headers={"x-request-id": "bad id\t"})
    assert len(made.headers["x-request-id"]) == 32


def test_other_sites_may_not_ask(api):
    answer = api.options("/recommend", headers={"origin": "https://elsewhere", "access-control-request-method": "POST"})
    assert "access-control-allow-origin" not in answer.headers
