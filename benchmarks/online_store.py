"""One session read and written through Feast on Redis, beside what Redis itself takes, and when Redis is gone.

    python benchmarks/online_store.py

Starts a redis-server of its own on a free port. Prints one JSON object of milliseconds, and the
bytes of a session.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import redis

from nextclick.errors import StoreUnavailableError
from nextclick.events.prefixes import KEPT_EVENTS
from nextclick.events.session_state import Click
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.online import OnlineStates
from nextclick.params import Params
from nextclick.progress import progress_bar

SESSIONS, TIMES, EVENTS = 5000, 5000, 10  # EVENTS a session


def percentiles(work: Callable[[int], object], times: int, name: str) -> dict[str, float]:
    """Percentiles of the time that a call takes, after a hundred to warm up."""
    for i in range(min(100, times)):
        work(i)
    milliseconds = np.empty(times)
    for i in progress_bar(range(times), desc=name, unit="call"):
        start = time.perf_counter()
        work(i)
        milliseconds[i] = (time.perf_counter() - start) * 1e3
    return {f"p{p}_ms": round(float(np.percentile(milliseconds, p)), 3) for p in (50, 99)}


def unanswered(work: Callable[[], object]) -> None:
    try:
        work()
    except StoreUnavailableError:
        return
    raise AssertionError("a store that is gone answered")


def row_bytes(client: redis.Redis, online: OnlineStates) -> dict[str, int]:
    """The bytes of a row in Redis by the clicks of its session; ids of events have 32 characters, those of items 7."""
    found = {}
    for n in (6, KEPT_EVENTS):
        before = client.info("memory")["used_memory"]
        clicks = tuple(Click(1_767_225_600_000 + e, e, f"{e:032x}", f"i{e:06d}", 0) for e in range(n))
        online.write({f"{n}-{s:010d}": clicks for s in range(1000)})
        found[f"bytes_of_{n}_clicks"] = (client.info("memory")["used_memory"] - before) // 1000
    return found


def main() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""], stdout=subprocess.DEVNULL
    )
    folder = tempfile.TemporaryDirectory()
    try:
        time.sleep(1)
        root = Path(folder.name)
        os.environ["NEXTCLICK_REDIS"] = f"127.0.0.1:{port}"
        params = Params()
        params = params.model_copy(update={"features": params.features.model_copy(update={"online_store": "redis"})})
        apply_definitions(root, params)
        online = OnlineStates(connect(root, params))
        states = {
            f"s{s:06d}": tuple(Click(1_767_225_600_000 + e, e, f"e{s}-{e}", f"i{s + e:06d}", 0) for e in range(EVENTS))
            for s in range(SESSIONS)
        }
        online.write(states)
        client, names = redis.Redis(port=port), list(states)
        keys = [bytes(key) for key in client.keys("*")]
        one_state = {"one": next(iter(states.values()))}
        found = {
            "hgetall": percentiles(lambda i: client.hgetall(keys[i % SESSIONS]), TIMES, "hgetall"),
            "read": percentiles(lambda i: online.read([names[i % SESSIONS]]), TIMES, "read"),
            "write": percentiles(lambda _: online.write(one_state), TIMES, "write"),
        }
        found["session"] = row_bytes(client, online)
        server.kill()
        server.wait()
        found["read_without_redis"] = percentiles(lambda _: unanswered(lambda: online.read(["one"])), 200, "gone")
        found["write_without_redis"] = percentiles(lambda _: unanswered(lambda: online.write(one_state)), 200, "gone")
        print(json.dumps(found))
    finally:
        server.kill()
        folder.cleanup()


if __name__ == "__main__":
    main()
