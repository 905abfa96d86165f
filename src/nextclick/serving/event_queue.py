"""The events that are being taken: so many requests at a time, and each for so long, since BentoML ends a request after
5 s with an answer that is not ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from nextclick.serving.observability import SHED
from nextclick.serving.schema import RETRY_LATER, RequestRefusedError
from nextclick.stream.intake import Intake
from nextclick.stream.validation import Receipt

MAX_WAITING = 32  # requests; more would be refused for taking too long, after they had cost as much
ANSWER_SECONDS = 4.5  # after a request came


class EventQueue:
    """Gives requests to an `Intake`, in threads."""

    def __init__(self, intake: Intake) -> None:
        self._intake, self._waiting = intake, 0

    async def accept(self, messages: Sequence[bytes], began: float) -> Receipt:
        """See `Intake.accept`. began: when the request came, by `time.perf_counter`.

        Raises RequestRefusedError also where too many wait (429), or where it takes too long (503); in that case the
        events may have been taken, and may be sent again.
        """
        if self._waiting >= MAX_WAITING:
            SHED.labels("events").inc()
            raise RequestRefusedError(429, "too many events at once: try again", headers=RETRY_LATER)
        self._waiting += 1
        work = asyncio.ensure_future(asyncio.to_thread(self._intake.accept, messages))
        work.add_done_callback(self._ended)
        done, _ = await asyncio.wait({work}, timeout=max(0, began + ANSWER_SECONDS - time.perf_counter()))
        if not done:
            SHED.labels("events").inc()
            raise RequestRefusedError(503, "the events were not taken in time: send them again", headers=RETRY_LATER)
        return work.result()

    def _ended(self, work: asyncio.Future[Receipt]) -> None:
        self._waiting -= 1
        if not work.cancelled():
            work.exception()  # nobody may be waiting for it any more
