"""An open-loop load generator: requests go out at their time whether or not earlier ones were answered, and each is
timed from when it was due, so that a server that stalls cannot hide it."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import uvloop

TIMEOUT = 10.0  # seconds that an answer may take


@dataclass
class Answers:
    """What came back. seconds, statuses and due: an entry for each request, in the order of the answers; status 0 means
    no answer. bodies: empty unless requested."""

    seconds: list[float] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    due: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    problems: Counter = field(default_factory=Counter)

    def summary(self) -> dict:
        taken = np.array([s for s, status in zip(self.seconds, self.statuses, strict=True) if status == 200])
        shown = {f"p{p:g}_ms": round(float(np.percentile(taken, p)) * 1e3, 2) for p in (50, 95, 99, 99.9) if len(taken)}
        statuses = {str(status): count for status, count in sorted(Counter(self.statuses).items())}
        return {"requests": len(self.statuses), "statuses": statuses, **shown}


class Connection(asyncio.Protocol):
    """One request at a time, kept alive."""

    def __init__(self) -> None:
        self.open = True
        self._received = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        self._received, self._answer = b"", asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or self._answer is None or self._answer.done():
            return
        lower = head.lower()
        length = int(lower.partition(b"content-length:")[2].partition(b"\r")[0])
        if len(body) >= length:
            if b"connection: close" in lower:
                self.open = False
                self.transport.close()
            self._answer.set_result((int(head[9:12]), body))

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("closed without an answer"))


def post(path: str, body: dict | list, headers: str = "") -> bytes:
    """A whole request."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: load\r\ncontent-type: application/json\r\n{headers}"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


async def send(
    port: int,
    requests: Sequence[bytes],
    rate: float,
    *,
    keep: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Answers:
    """Send all at `rate` a second, at random moments (a Poisson process), until `stop` says so."""
    loop, answers, idle = asyncio.get_running_loop(), Answers(), []
    gaps = np.random.default_rng(0).exponential(1 / rate, len(requests))
    began = time.perf_counter()
    tasks = set()

    async def one(request: bytes, due: float) -> None:
        status, body = 0, b""
        try:
            while idle and not idle[-1].open:
                idle.pop()
            connection = idle.pop() if idle else (await loop.create_connection(Connection, "127.0.0.1", port))[1]
            status, body = await asyncio.wait_for(connection.ask(request), TIMEOUT)
            if connection.open:
                idle.append(connection)
        except (OSError, TimeoutError) as error:
            answers.problems[repr(error)] += 1
        answers.seconds.append(time.perf_counter() - due)
        answers.statuses.append(status)
        answers.due.append(due - began)
        if keep:
            answers.bodies.append(body)

    for request, due in zip(requests, began + np.cumsum(gaps), strict=True):
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        if stop():
            break
        task = asyncio.ensure_future(one(request, due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    for connection in idle:
        connection.transport.close()
    return answers


def load(port: int, requests: Sequence[bytes], rate: float, **options) -> Answers:
    """`send`, from outside an event loop."""
    return uvloop.run(send(port, requests, rate, **options))
