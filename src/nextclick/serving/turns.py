"""One request at a time is computed, in the order of arrival; when they wait too long, new ones are refused."""

from __future__ import annotations

import asyncio
import time

from nextclick.serving.metrics import SHED
from nextclick.serving.refusal import AGAIN, RequestRefusedError

SMOOTHING = 0.05  # weight of the newest in the usual length of a turn


class Turns:
    """The event loop is the one that computes: a request that took another thread would wait for the interpreter."""

    def __init__(self, max_wait_ms: float) -> None:
        self._lock = asyncio.Lock()
        self._most = max_wait_ms / 1e3
        self._waiting = 0
        self._usual = 0.002  # seconds from one turn to the next while others wait, HTTP among them
        self._began = 0.0

    async def take(self) -> None:
        """Wait for the turn.

        Raises RequestRefusedError (429) where those before will take too long. It looks ahead, not at how long the last
        one waited: after a stall the line is soon gone, and refusing would only cost lists.
        """
        if self._waiting * self._usual > self._most:
            SHED.labels("busy").inc()
            raise RequestRefusedError(429, "too busy: try again", headers=AGAIN)
        waits = self._lock.locked()
        self._waiting += 1
        try:
            await self._lock.acquire()
        finally:
            self._waiting -= 1
        try:
            await asyncio.sleep(0)  # others that have arrived take their place in the line, so that they are counted
        except asyncio.CancelledError:
            self._lock.release()
            raise
        now = time.perf_counter()
        if waits:
            self._usual += SMOOTHING * (now - self._began - self._usual)
        self._began = now

    def give_back(self) -> None:
        self._lock.release()
