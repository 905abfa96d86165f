"""How fast the service answers: an open loop of requests, a real Redis, sessions of the test events in it.

    python benchmarks/serving.py [--rate 200] [--seconds 60] [--candidates 100] [--overload]

Needs the pipeline's bundle and split, and redis-server. Starts a Redis, a plain FastAPI echo (the limit of any such
server here) and the service; load generator and servers share the machine. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import yaml
from load import Answers, load, post

from nextclick.bundle.bundle import load_bundle, save_bundle
from nextclick.events.session_state import SessionState
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.offline import states_of
from nextclick.features.store.online import OnlineStates
from nextclick.params import Params, Retrieval
from nextclick.progress import progress_bar
from nextclick.project import project_root

SESSIONS, K, HELD_MS = 5000, 20, 50
ECHO = """
from fastapi import FastAPI, Request, Response
app = FastAPI()
@app.post("/recommend")
async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type="application/json")
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def process(command: list[str], **options) -> Iterator[subprocess.Popen]:
    started = subprocess.Popen(command, **options)
    try:
        yield started
    finally:
        # BentoML's workers are in sessions of their own
        alive = psutil.Process(started.pid).children(recursive=True) if started.poll() is None else []
        for one in (*alive, started):
            one.kill()
        started.wait()


def wait_for(url: str) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"{url} does not answer")


def percentiles(milliseconds: list[float]) -> dict[str, float]:
    return {f"p{p:g}_ms": round(float(np.percentile(milliseconds, p)), 3) for p in (50, 95, 99, 99.9)}


def narrowed(bundle: Path, folder: Path, candidates: int) -> None:
    """Write the bundle with that many candidates a session, of which as large a share is nearest by the encoder."""
    recommender, manifest = load_bundle(bundle)
    was = Retrieval(**manifest["params"]["retrieval"])
    width = {"width": candidates, "nearest": was.nearest * candidates // was.width}
    params = Params(**manifest["params"] | {"retrieval": was.model_copy(update=width)})
    save_bundle(recommender, folder, params=params, trained_until=manifest["trained_until"], metrics={})


def live_states(root: Path, types: list[str]) -> dict[str, SessionState]:
    """States of test sessions, moved to now."""
    events = pd.read_parquet(root / "data/split/test.parquet")
    found = dict(list(states_of(events, "session_id", types))[:SESSIONS])
    now = time.time_ns() // 1_000_000
    return {
        session: tuple(click._replace(timestamp=click.timestamp + now - state[-1].timestamp) for click in state)
        for session, state in found.items()
    }


def without_http(root: Path, params: Params, sessions: list[str], times: int) -> dict:
    """The service's handler in this process: from a query to its answer, the store's read among it."""
    os.environ["NEXTCLICK_METRICS"] = "127.0.0.1:0"
    from nextclick.serving.query import Query
    from nextclick.serving.runtime import Runtime, freeze_heap

    runtime = Runtime.open(root, params)
    freeze_heap()
    stages: dict[str, list[float]] = {}
    for i in progress_bar(range(times + 200), desc="without HTTP", unit="answer"):
        query = Query("benchmark", sessions[i % len(sessions)], K, runtime.engine.deployment.champion)
        (answer,) = runtime.engine.recommend([query], time.time_ns() // 1_000_000, time.perf_counter())
        if i >= 200:
            for stage, taken in {**answer.milliseconds, "compute": answer.milliseconds["total"]}.items():
                stages.setdefault(stage, []).append(taken)
    stages["compute"] = [all_ - store for all_, store in zip(stages["total"], stages["store"], strict=True)]
    runtime.close()
    return {stage: percentiles(taken) for stage, taken in stages.items()}


def split(answers: Answers) -> dict:
    """The stages of the answers of a load, as the service reports them."""
    stages: dict[str, list[float]] = {}
    for body in answers.bodies:
        for stage, taken in json.loads(body).get("milliseconds", {}).items():
            stages.setdefault(stage, []).append(taken)
    return {stage: percentiles(taken) for stage, taken in stages.items()}


def highest(port: int, requests: list[bytes], start: float) -> tuple[float, dict]:
    """The highest rate, in steps of an eighth, with p99 at most HELD_MS and at most one in 1,000 refused."""
    best, figures, rate = 0.0, {}, start
    while True:
        found = load(port, requests[: int(rate * 8)], rate).summary()
        if found["statuses"].get("200", 0) < 0.999 * found["requests"] or found["p99_ms"] > HELD_MS:
            return best, figures
        best, figures, rate = rate, found, rate * 1.125


def click_to_change(port: int, items: list[str], times: int) -> dict:
    """From sending a click to an answer that knows it."""
    import httpx

    taken = []
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for n in progress_bar(range(times), desc="clicks", unit="click"):
            session, began = f"fresh-{n}", time.perf_counter()
            event = {"event_id": f"fresh-{n}", "session_id": session, "item_id": items[n % len(items)]}
            moment = {"event_type": "view", "timestamp": time.time_ns() // 1_000_000}
            assert client.post("/events", json=event | moment).json()["accepted"] == 1
            assert client.post("/recommend", json={"session_id": session}).json()["clicks"] == 1
            taken.append((time.perf_counter() - began) * 1e3)
    return percentiles(taken)


def redis_dies(
    port: int, requests: list[bytes], rate: float, die: Callable[[], None], live: Callable[[], None]
) -> dict:
    """Redis is killed under load and comes back empty after two seconds: what requests saw, and how long it took until
    answers were no longer degraded."""
    times: dict[str, float] = {}

    def faults() -> None:
        for name, fault in (("gone", die), ("back", live)):
            time.sleep(2)
            fault()
            times[name] = time.perf_counter() - began

    with ThreadPoolExecutor() as pool:
        began = time.perf_counter()
        waiting = pool.submit(faults)
        answers = load(port, requests[: int(rate * 10)], rate, keep=True)
        waiting.result()
    ended = [due + taken for due, taken in zip(answers.due, answers.seconds, strict=True)]
    degraded = [i for i, body in enumerate(answers.bodies) if b'"degraded":true' in body]
    return {
        **answers.summary(),
        "degraded": len(degraded),
        "degraded_ms": percentiles([answers.seconds[i] * 1e3 for i in degraded]),
        "recovery_seconds": round(max(ended[i] for i in degraded) - times["back"], 2),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rate", type=float, default=200)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--candidates", type=int, help="of a session; the default: the bundle's")
    options.add_argument("--overload", action="store_true", help="also at 1, 2, 5 and 10 times the highest rate")
    asked = options.parse_args()
    project = project_root()
    params = Params.read(project / "params.yaml")
    unlimited = {"requests_per_second": 1e9}
    params = params.model_copy(
        update={
            "features": params.features.model_copy(update={"online_store": "redis"}),
            "serving": params.serving.model_copy(update=unlimited),
        }
    )
    redis_port, port, echo_port = free_port(), free_port(), free_port()
    with ExitStack() as ends:
        root = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        (root / "models").mkdir()
        if asked.candidates:
            narrowed(project / "models/bundle", root / "models/bundle", asked.candidates)
        else:
            (root / "models/bundle").symlink_to(project / "models/bundle")
        (root / "dvc.yaml").touch()
        (root / "params.yaml").write_text(yaml.safe_dump(json.loads(params.model_dump_json())))
        (root / "echo.py").write_text(ECHO)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        redis = ["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", str(root)]
        redis_life = ends.enter_context(ExitStack())
        running = redis_life.enter_context(process(redis, **quiet))
        os.environ["NEXTCLICK_REDIS"] = f"127.0.0.1:{redis_port}"
        time.sleep(1)
        apply_definitions(root, params)
        states = live_states(project, params.ingest.event_types)
        OnlineStates(connect(root, params)).write(states)
        sessions = list(states)
        rng = np.random.default_rng(0)
        count = int(max(asked.rate * asked.seconds, 60_000))
        requests = [
            post("/recommend", {"session_id": sessions[n], "k": K}) for n in rng.integers(len(sessions), size=count)
        ]
        found: dict = {"without_http": without_http(root, params, sessions, 5000)}
        uvicorn = [sys.executable, "-m", "uvicorn", "echo:app", "--port", str(echo_port), "--no-access-log"]
        with process(uvicorn, cwd=root, **quiet):
            wait_for(f"http://127.0.0.1:{echo_port}/openapi.json")
            some = requests[: int(asked.rate * 20)]
            found["echo"] = load(echo_port, some, asked.rate).summary()
        service = ["bentoml", "serve", "nextclick.serving.service:NextClick", "--port", str(port)]
        bin_folder = Path(sys.executable).parent
        environment = os.environ | {"NEXTCLICK_METRICS": f"127.0.0.1:{free_port()}"}
        ends.enter_context(process([str(bin_folder / service[0]), *service[1:]], cwd=root, env=environment, **quiet))
        wait_for(f"http://127.0.0.1:{port}/readyz")
        load(port, requests[:1000], asked.rate)
        answers = load(port, requests[: int(asked.rate * asked.seconds)], asked.rate, keep=True)
        found["service"] = {"rate": asked.rate, **answers.summary(), "stages": split(answers)}
        found["click_to_change"] = click_to_change(port, [state[-1].item_id for state in states.values()], 500)
        found["redis_dies"] = redis_dies(
            port, requests, asked.rate, running.kill, lambda: redis_life.enter_context(process(redis, **quiet))
        )
        OnlineStates(connect(root, params)).write(states)
        best, figures = highest(port, requests, asked.rate)
        found["highest"] = {"rate": round(best, 1), **figures}
        if asked.overload:
            rate = best or asked.rate
            found["overload"] = {
                f"{times}x of {rate:.0f}/s": load(port, requests[: int(rate * times * 10)], rate * times).summary()
                for times in (1, 2, 5, 10)
            }
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
