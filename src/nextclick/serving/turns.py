"""One request at a time is computed, in the order of arrival; when they wait too long, new ones are refused."""

from __future__ import annotations

import asyncio
import time

from nextclick.serving.metrics import SHED
from nextclick.serving.refusal import RequestRefusedError


class Turns:
    """The event loop is the one that computes: a request that took another thread would wait for the interpreter."""

    def __init__(self, max_wait_ms: float) -> None:
        self._lock = asyncio.Lock()
        self._most = max_wait_ms / 1e3
        self._waiting = 0
        self._waited = 0.0  # of the one whose turn came last

    async def take(self) -> float:
        """Wait for the turn; returns when the wait began, by `time.perf_counter`.

        Raises RequestRefusedError (429) where those before waited too long already.
        """
        arrived = time.perf_counter()
        if self._waiting and self._waited > self._most:
            SHED.labels("busy").inc()
            raise RequestRefusedError(429, "too busy: try again", retry_after=1)
        self._waiting += 1
        try:
            await self._lock.acquire()
        finally:
            self._waiting -= 1
        await asyncio.sleep(0)  # others that have arrived take their place in the line, so that their wait counts
        self._waited = time.perf_counter() - arrived
        return arrived

    def give_back(self) -> None:
        self._lock.release()
