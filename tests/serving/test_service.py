"""The service as it runs: BentoML, a real Redis, requests while things are swapped, killed and ended."""

import json
import logging
import os
import pickle
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

import bentoml
import psutil
import pyarrow.parquet as pq
import pytest
from load import load, post

from nextclick.bundle.pointer import Pointer
from nextclick.events.session_state import Click, prefixes_of
from nextclick.serving import service as module
from nextclick.serving.loaded_bundle import LoadedBundle
from nextclick.serving.service import NextClick

from .conftest import Service

RATE = 60  # requests a second: little enough for a busy machine
MOMENT = 1_767_700_000_000  # of the given clicks, so that an answer depends on its request and the bundle alone
ASKED = [
    post(
        "/recommend",
        {
            "session_id": f"s{n % 40}",
            "k": 5,
            "clicks": [{"item_id": f"i{n % 40:02d}", "event_id": "e", "timestamp": MOMENT}],
        },
    )
    for n in range(3000)
]


class Load(threading.Thread):
    """Requests that go on while the test does something."""

    def __init__(self, port: int, **options) -> None:
        super().__init__()
        self._port, self._options, self._ended = port, options, threading.Event()

    def run(self) -> None:
        stop = self._options.pop("stop", self._ended.is_set)
        self.answers = load(self._port, ASKED * 20, RATE, stop=stop, keep=True, **self._options)

    def __enter__(self):
        self.start()
        time.sleep(1)
        return self

    def __exit__(self, *_) -> None:
        time.sleep(1)
        self._ended.set()
        self.join()


@pytest.mark.fault(
    part="Redis",
    wrong="Redis dies under the service, and comes back",
    noticed="the service: `degraded: store`, metric nextclick_fallbacks",
    lost="nothing",
    degraded="lists are made of the last known states; events are refused (503)",
    heals="by itself",
)
def test_redis_dies_and_comes_back_without_a_failed_request(running):
    service, redis, _ = running
    event = {"event_id": "e", "session_id": "s", "item_id": "i03", "event_type": "view"}
    now = time.time_ns() // 1_000_000
    before = service.recommend("s")
    assert service.client.post("/events", json=event | {"timestamp": now}).json()["accepted"] == 1
    after = service.recommend("s")
    assert after["clicks"] == 1
    assert after["items"] != before["items"]
    with Load(service.port) as requests:
        redis.kill()
        time.sleep(1)
        gone = service.recommend("s")
        assert (gone["degraded_reason"], gone["clicks"]) == ("store", 1)  # its last state
        refused = service.client.post("/events", json=event | {"event_id": "e2", "timestamp": now})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        redis.start()
        since = time.monotonic()
        while service.recommend("s")["degraded"]:
            assert time.monotonic() - since < 10
    assert set(requests.answers.statuses) == {200}, requests.answers.problems
    degraded = [json.loads(body)["degraded"] for body in requests.answers.bodies]
    assert any(degraded)
    assert not degraded[-1]
    assert 'nextclick_fallbacks_total{reason="store"}' in service.metrics()


def counted(service: Service, name: str) -> str:
    (line,) = [line for line in service.metrics().splitlines() if line.startswith(f"{name} ")]
    return line.split()[1]


@pytest.mark.fault(
    part="registry",
    wrong="the pointer names a broken bundle while requests come",
    noticed="the service: metric nextclick_bundles_refused",
    lost="nothing",
    degraded="nothing: the bundle that answers goes on",
    heals="when the pointer is written again",
)
@pytest.mark.parametrize("swaps", [2, pytest.param(20, marks=pytest.mark.proof)])
def test_bundles_are_swapped_under_load_and_each_answer_is_its_bundles_own(running, swaps):
    """There and back, with a broken bundle between."""
    service, _, root = running
    versions = {
        name: json.loads((root / f"models/{name}/manifest.json").read_text())["version"]
        for name in ("bundle", "second")
    }
    shutil.copytree(root / "models/bundle", root / "models/broken", dirs_exist_ok=True)
    (root / "models/broken/ranker.ubj").write_bytes(b"")

    def deploy(name: str) -> None:
        Pointer(bundle=f"models/{name}").write(root, "recommender")

    def wait_until(true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def wait_for(version: str) -> None:
        wait_until(lambda: service.recommend("s")["model_version"] == version)

    def told(line: str) -> bool:
        return line in service.metrics()

    refused = int(float(counted(service, "nextclick_bundles_refused_total")))
    with Load(service.port) as requests:
        for turn in range(swaps):
            deploy("second")
            wait_for(versions["second"])
            deploy("broken")
            wait_until(partial(told, f"nextclick_bundles_refused_total {refused + turn + 1}.0"))
            deploy("bundle")
            wait_for(versions["bundle"])
    assert set(requests.answers.statuses) == {200}, requests.answers.problems
    bundles = (LoadedBundle.load(root / "models" / name) for name in ("bundle", "second"))
    by_version = {bundle.version: bundle for bundle in bundles}
    seen = set()
    for answer in map(json.loads, requests.answers.bodies):
        bundle, item = by_version[answer["model_version"]], f"i{int(answer['session_id'][1:]):02d}"
        prefixes = prefixes_of([(Click(MOMENT, 0, "e", item, 0),)], bundle.recommender.snapshot.vocabulary)
        alone = bundle.recommender.recommend(prefixes, 5)[0]
        assert [item["item_id"] for item in answer["items"]] == [bundle.catalogue.ids[item] for item in alone]
        seen.add(bundle.version)
    assert seen == set(versions.values())


def test_only_what_is_public_is_on_the_public_port(running):
    service, _, _ = running
    for elsewhere in ("/metrics", "/docs", "/docs.json", "/schema.json", "/nowhere"):
        refused = service.client.get(elsewhere)
        assert refused.status_code == 404
        assert refused.json()["request_id"] == refused.headers["x-request-id"]
    assert "nextclick_stage_seconds_bucket" in service.metrics()
    assert service.client.get("/readyz").status_code == 200
    assert service.client.get("/openapi.json").json()["info"]["title"] == "nextclick"
    assert service.client.get("/").headers["content-security-policy"].startswith("default-src 'self'")
    pickled = service.client.post(
        "/recommend",
        content=pickle.dumps({"session_id": "s"}),
        headers={"content-type": "application/vnd.bentoml+pickle"},
    )
    assert pickled.status_code in (400, 422)


def test_no_pickle_runs_code_in_the_process(tmp_path):
    """Neither by functions that were imported before, nor by pure Python; but Numba loads what it compiled before."""
    program = """
import importlib, io, pickle, dill, compiled
from pickle import loads, load
from nextclick.serving.no_pickle import PickleRefusedError, refuse_pickle
class Attack:
    def __reduce__(self):
        return print, ("unpickled",)
made = pickle.dumps(Attack())
compiled.double(2)
refuse_pickle()
for unpickle in (loads, pickle.loads, pickle._loads, dill.loads):
    try:
        unpickle(made)
    except PickleRefusedError:
        continue
    raise SystemExit("unpickled")
for unpickle in (load, pickle.load, pickle._load, dill.load):
    try:
        unpickle(io.BytesIO(made))
    except PickleRefusedError:
        continue
    raise SystemExit("unpickled")
assert loads(pickle.dumps({"s": [1, None]})) == {"s": [1, None]}, "plain values are no program"
assert importlib.reload(compiled).double(2) == 4
assert compiled.double.stats.cache_hits
"""
    (tmp_path / "compiled.py").write_text(
        "from numba import njit\n@njit(cache=True)\ndef double(x):\n    return 2 * x\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


@pytest.mark.fault(
    part="process",
    wrong="the service is asked to end while requests come",
    noticed="the balancer: /readyz",
    lost="nothing: it answers for serving.drain_seconds more",
    degraded="nothing",
    heals="nothing to heal",
)
def test_after_sigterm_it_still_answers_until_others_have_taken_over(running):
    service, _, root = running
    gone = threading.Event()
    with Load(service.port, stop=gone.is_set) as requests:
        os.kill(service.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while service.ready():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.5)  # a load balancer notices
        gone.set()
    assert set(requests.answers.statuses) == {200}, requests.answers.problems
    service.process.wait(timeout=30)
    written = pq.ParquetDataset(list((root / "data/predictions").glob("date=*/*.parquet"))).read(["request_id"])
    shown = {json.loads(body)["request_id"] for body in requests.answers.bodies}
    assert shown <= set(written["request_id"].to_pylist())


@pytest.mark.fault(
    part="process",
    wrong="BentoML's parent is killed and its workers stay",
    noticed="each worker, within a second",
    lost="nothing",
    degraded="nothing",
    heals="by itself: the workers end",
)
def test_a_worker_whose_parent_is_killed_leaves_its_port_to_the_next_service(shop, services):
    service = services.any(lambda: Service(shop))
    workers = psutil.Process(service.process.pid).children(recursive=True)
    assert workers
    service.process.kill()
    service.process.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    for worker in alive:
        worker.kill()
    assert not alive


FAULTS = {
    "no bundle": (lambda shop: shutil.rmtree(shop / "models"), {}, "no manifest of a bundle"),
    "no folder for the store": (lambda shop: (shop / ".feast").write_text("no folder"), {}, "cannot be made"),
    "a metrics port that is taken": (lambda _: None, {"NEXTCLICK_METRICS": "127.0.0.1:{taken}"}, "cannot listen on"),
    "a Redis for nothing": (
        lambda _: None,
        {"NEXTCLICK_REDIS": "127.0.0.1:6379"},
        "online_store is sqlite: set that to redis",
    ),
    "no number of workers": (lambda _: None, {"NEXTCLICK_WORKERS": "two"}, "NEXTCLICK_WORKERS: expected how many"),
}


@pytest.fixture
def fault(request, shop):
    """What the environment has to be, and the words that say what is wrong."""
    harm, environment, words = FAULTS[request.param]
    harm(shop)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        yield {name: value.replace("{taken}", port) for name, value in environment.items()}, words


@pytest.mark.fault(
    part="process",
    wrong="the bundle is missing, or a port is taken, when the service starts",
    noticed="whoever starts it: one line, and it ends",
    lost="nothing",
    degraded="it does not start",
    heals="at the next start",
)
@pytest.mark.parametrize(
    "fault",
    ["no bundle", *(pytest.param(name, marks=pytest.mark.proof) for name in FAULTS if name != "no bundle")],
    indirect=True,
)
def test_what_keeps_it_from_starting_is_said_once_and_it_ends(shop, fault):
    environment, words = fault
    service = Service(shop, **environment)
    try:
        service.process.wait(timeout=120)
    finally:
        service.end()
    said = service.log.read_text()
    assert said.count(words) == 1
    assert "Traceback" not in said


class EndedError(Exception):
    pass


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "no number of workers"], indirect=True)
def test_a_worker_that_cannot_start_says_why_once_and_ends_its_parent(shop, fault, monkeypatch, caplog):
    """The same without BentoML's processes, which take long to start."""
    environment, words = fault
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    killed: list[tuple[int, int]] = []

    def end(code: int) -> None:
        assert code
        raise EndedError

    monkeypatch.chdir(shop)
    monkeypatch.setattr(module, "log_as_json", lambda: None)
    monkeypatch.setattr(bentoml.server_context, "worker_index", 1)
    monkeypatch.setattr(os, "kill", lambda *asked: killed.append(asked))
    monkeypatch.setattr(os, "_exit", end)
    service = NextClick.inner.__new__(NextClick.inner)
    with pytest.raises(EndedError):
        service.__init__()
    if hasattr(service, "runtime"):
        service.runtime.close()
    (said,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert said.getMessage().count(words) == 1
    assert not said.exc_info
    assert killed == [(os.getppid(), signal.SIGTERM)]


@pytest.mark.parametrize("fault", ["no number of workers"], indirect=True)
def test_a_number_of_workers_that_is_none_ends_it_before_it_starts(fault, monkeypatch):
    environment, words = fault
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=words):
        runpy.run_path(module.__file__)
