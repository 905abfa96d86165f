"""Who waits too long is refused at once; a single stall refuses nobody."""

import asyncio
import time

import pytest

from nextclick.serving.admission import AdmissionQueue
from nextclick.serving.schema import RequestRefusedError

pytestmark = pytest.mark.timed


async def slot(queue: AdmissionQueue, seconds: float, order: list[int], number: int) -> None:
    async with queue:
        time.sleep(seconds)  # as an answer does, it keeps the event loop
        order.append(number)


async def at_once(queue: AdmissionQueue, count: int, seconds: float) -> tuple[list[int], list[object]]:
    order: list[int] = []
    outcomes = await asyncio.gather(
        *(slot(queue, seconds, order, number) for number in range(count)), return_exceptions=True
    )
    return order, [outcome for outcome in outcomes if outcome]


def test_a_line_that_would_take_too_long_is_refused_with_the_time_to_try_again():
    order, refused = asyncio.run(at_once(AdmissionQueue(max_wait_ms=20), 100, 0.002))
    assert order == sorted(order)
    assert len(order) + len(refused) == 100
    assert 5 <= len(order) <= 20
    for refusal in refused:
        assert isinstance(refusal, RequestRefusedError)
        assert refusal.status == 429
        assert "retry-after" in {name.lower() for name in refusal.headers}


def test_one_who_leaves_at_his_slot_releases_it():
    async def left() -> None:
        queue = AdmissionQueue(1000)
        acquiring = asyncio.create_task(queue.acquire())
        await asyncio.sleep(0)  # it has the slot, and lets others come into the line
        acquiring.cancel()
        await asyncio.wait([acquiring])
        await asyncio.wait_for(queue.acquire(), 1)

    asyncio.run(left())


def test_a_stall_refuses_nobody_after_it():
    async def stalled() -> list[object]:
        queue = AdmissionQueue(max_wait_ms=20)
        _, first = await at_once(queue, 4, 0.05)
        _, then = await at_once(queue, 4, 0.001)
        return first + then

    assert asyncio.run(stalled()) == []


@pytest.mark.parametrize("slow", [0.01, 0.02])
def test_slower_answers_make_the_line_shorter(slow):
    async def shorter() -> int:
        queue = AdmissionQueue(max_wait_ms=20)
        for _ in range(30):
            await at_once(queue, 3, slow)
        order, _ = await at_once(queue, 50, slow)
        return len(order)

    assert asyncio.run(shorter()) <= 4
