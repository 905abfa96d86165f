"""Events that cannot be taken in time are refused in our own form, and keep nothing from those that come later."""

import asyncio
import time
from threading import Event

import pytest
from confluent_kafka.admin import AdminClient

from nextclick.params import Params
from nextclick.serving import event_queue
from nextclick.serving.event_queue import MAX_WAITING, EventQueue
from nextclick.serving.schema import RequestRefusedError
from nextclick.stream.kafka import ensure_topics
from nextclick.stream.validation import MAX_DATES, Receipt

from .conftest import Service

DAY = 86_400_000


class HeldIntake:
    """An intake whose disk does not answer until it is let go."""

    def __init__(self) -> None:
        self.held, self.taken = Event(), 0

    def accept(self, messages) -> Receipt:
        assert self.held.wait(30)
        self.taken += 1
        return Receipt(len(messages), 0, [])

    def close(self) -> None: ...


@pytest.mark.fault(
    part="HTTP",
    wrong="more events come than can be taken, or the disk under them does not answer",
    noticed="the service: 429 or 503 with Retry-After, metric nextclick_shed{reason=events}",
    lost="nothing that was accepted; what was refused may be sent again",
    degraded="POST /events; lists go on",
    heals="by itself",
)
def test_more_than_can_wait_are_refused_at_once_and_those_that_wait_in_time(monkeypatch):
    monkeypatch.setattr(event_queue, "ANSWER_SECONDS", 0.3)

    async def play() -> tuple[list, list]:
        intake = HeldIntake()
        queue = EventQueue(intake)

        async def send() -> object:
            try:
                return (await queue.accept([b"{}"], time.perf_counter())).accepted
            except RequestRefusedError as refusal:
                return refusal.status, refusal.headers["retry-after"]

        held = await asyncio.gather(*(send() for _ in range(MAX_WAITING + 5)))
        still = await send()
        intake.held.set()
        while intake.taken < MAX_WAITING:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        return held, [still, await send()]

    held, later = asyncio.run(play())
    assert sorted(held) == [(429, "1")] * 5 + [(503, "1")] * MAX_WAITING
    assert later == [(429, "1"), 1], "those that were given up count until they have ended"


@pytest.mark.fault(
    part="HTTP",
    wrong="one request has events of a thousand dates, or of years ago",
    noticed="the service: 422, or quarantine with the reason",
    lost="nothing: history is brought as files",
    degraded="nothing",
    heals="nothing to heal",
)
def test_events_of_many_dates_are_refused_before_a_file_is_made(running):
    service, _, root = running
    now = time.time_ns() // 1_000_000
    event = {"session_id": "many", "item_id": "i03", "event_type": "view"}
    days = [event | {"event_id": f"d{i}", "timestamp": now - i * DAY} for i in range(MAX_DATES + 1)]
    answer = service.client.post("/events", json=days)
    assert answer.status_code == 422
    assert answer.json()["details"][0]["reason"].startswith(f"events of at most {MAX_DATES} dates at once")
    assert service.client.post("/events", json=days[:MAX_DATES]).json()["accepted"] == MAX_DATES
    old = [event | {"event_id": f"o{i}", "timestamp": now - (367 + i) * DAY} for i in range(100)]
    before = len(list((root / "data/live/events").glob("date=*")))
    told = service.client.post("/events", json=old).json()
    assert told["accepted"] == 0
    assert {one["field"] for one in told["quarantined"]} == {"timestamp"}
    assert len(list((root / "data/live/events").glob("date=*"))) == before


@pytest.mark.fault(
    part="Kafka",
    wrong="the topic is deleted under the service",
    noticed="whoever posts events: 503 with Retry-After",
    lost="nothing that was accepted",
    degraded="POST /events; lists go on",
    heals="by itself, once the topic is there again",
)
def test_without_the_topic_events_are_refused_in_our_form_until_it_is_there_again(
    mortal_broker, shop, services, monkeypatch
):
    service = services("broker", lambda: Service(shop, NEXTCLICK_KAFKA=mortal_broker.address))
    monkeypatch.setenv("NEXTCLICK_KAFKA", mortal_broker.address)
    stream = Params().stream
    event = {"event_id": "e", "session_id": "s", "item_id": "i03", "event_type": "view"}

    def send() -> tuple[int, str | None]:
        answer = service.client.post("/events", json=event | {"timestamp": time.time_ns() // 1_000_000})
        return answer.status_code, answer.headers.get("retry-after")

    assert send()[0] == 200
    admin = AdminClient({"bootstrap.servers": mortal_broker.address})
    admin.delete_topics([stream.topic])[stream.topic].result(30)
    seen = {send() for _ in range(5)}
    deadline = time.monotonic() + 60
    while (503, "1") not in seen:
        assert time.monotonic() < deadline
        seen.add(send())
    assert seen <= {(200, None), (503, "1")}
    ensure_topics(stream)
    while send()[0] != 200:
        assert time.monotonic() < deadline + 60
        time.sleep(0.2)
