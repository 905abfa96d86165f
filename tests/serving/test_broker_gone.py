"""The service while Kafka is gone: events are refused in time, whatever they are and however many come; lists go on."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from nextclick.stream.kafka_intake import REFUSING

from .conftest import Service

IN_TIME = 4.5  # s; at 5 BentoML gives up, with an answer that is not ours
AT_ONCE = 24  # several times as many as there are threads that wait


@pytest.mark.fault(
    part="Kafka",
    wrong="the broker is gone under the service, and many post events",
    noticed="whoever posts: 503 with Retry-After, in time",
    lost="nothing that was accepted",
    degraded="POST /events; lists go on",
    heals="by itself",
)
@pytest.mark.timed
def test_each_request_gets_a_503_in_time_and_the_same_is_taken_once_kafka_is_back(mortal_broker, shop, services):
    broker = mortal_broker
    broken = {"event_id": "broken", "session_id": "s", "item_id": "i03", "event_type": "view"}  # without a moment
    good = broken | {"event_id": "good", "timestamp": time.time_ns() // 1_000_000}
    service = services("broker", lambda: Service(shop, NEXTCLICK_KAFKA=broker.address))

    def send(body: list[dict]) -> tuple[int, str | None, float]:
        began = time.monotonic()
        answer = service.client.post("/events", json=body)
        return answer.status_code, answer.headers.get("retry-after"), time.monotonic() - began

    assert send([good, broken])[0] == 200
    broker.kill()
    for body in ([good], [broken], [good, broken]):
        with ThreadPoolExecutor(AT_ONCE) as clients:
            refused = list(clients.map(send, [body] * AT_ONCE))
        assert {answer[:2] for answer in refused} == {(503, "1")}
        assert max(seconds for *_, seconds in refused) < IN_TIME
        time.sleep(REFUSING)
    assert service.recommend("s")["items"]
    broker.start()
    deadline = time.monotonic() + 60
    while send([good, broken])[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
