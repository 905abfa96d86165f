"""A proxy before a Redis that holds each of its answers back, as a store does that is ill and not dead."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress


class SlowProxy:
    """delay: seconds by which each answer is held back. asked: how often something was asked."""

    def __init__(self, port: int) -> None:
        self.delay, self.asked, self._behind = 0.0, 0, port
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(10)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._ended.wait()
        server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_redis, to_redis = await asyncio.open_connection("127.0.0.1", self._behind)

        async def questions() -> None:
            while data := await reader.read(65536):
                self.asked += 1
                to_redis.write(data)
                await to_redis.drain()

        async def answers() -> None:
            while data := await from_redis.read(65536):
                await asyncio.sleep(self.delay)
                writer.write(data)
                await writer.drain()

        try:
            with suppress(OSError, asyncio.CancelledError):
                await asyncio.gather(questions(), answers())
        finally:
            writer.close()
            to_redis.close()
