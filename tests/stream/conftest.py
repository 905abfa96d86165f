"""Real Kafka brokers, and projects whose events go through them."""

import multiprocessing
import multiprocessing.process
import os
import runpy
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
import yaml

from nextclick.features.store.connect import connect
from nextclick.features.store.offline import states_of
from nextclick.features.store.online import OnlineStates
from nextclick.params import Params

ROOT = Path(__file__).parents[2]
START = ROOT / "scripts/kafka/start.sh"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


class Kafka:
    """A broker of the tests' own on a free port, that can be killed and started again."""

    def __init__(self, folder: Path, properties: str = "", **about: object) -> None:
        self._folder, self.port, self._controller = folder, free_port(), free_port()
        more = properties.format(port=self.port, controller=self._controller, **about)
        (folder / "more.properties").write_text(more)
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [START, self._folder, str(self.port), str(self._controller)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            if answers(self.port):
                return
            time.sleep(0.1)
        raise RuntimeError("Kafka did not start")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    """kafka() starts a broker, kafka(properties, **about) one with more than the usual; they end with the tests."""
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if missing:
        say = pytest.fail if os.environ.get("NEXTCLICK_REQUIRE_SERVICES") else pytest.skip
        say(f"{' and '.join(missing)}, which a broker needs, not installed")
    subprocess.run([START, "--jars"], check=True, timeout=300)
    started = []

    def start(properties: str = "", **about: object) -> Kafka:
        started.append(Kafka(tmp_path_factory.mktemp("kafka"), properties, **about))
        return started[-1]

    yield start
    for broker in started:
        broker.kill()


@pytest.fixture(scope="session")
def broker(kafka) -> Kafka:
    """One that tests share, each with topics of its own, and leave running."""
    return kafka()


# consumers are forked from a process that has imported all they need, which takes many times as long as they live
WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(["nextclick.cli.live", "nextclick.stream.consumer", "nextclick.stream.metrics"])
CONSUMER = Path(__file__).with_name("consumer_process.py")


@dataclass
class Live:
    """A project with a params.yaml, and the consumers that work in it."""

    root: Path
    environment: dict[str, str]
    consumers: list[multiprocessing.process.BaseProcess] = field(default_factory=list)

    def consume(self, *arguments: str) -> multiprocessing.process.BaseProcess:
        """Start consumer_process.py in a process of its own; what it says goes to consumer-<n>.log."""
        about = {
            "ROOT": self.root,
            "LOG": self.root / f"consumer-{len(self.consumers)}.log",
            "ENVIRONMENT": self.environment,
            "ARGUMENTS": arguments,
        }
        process = WARM.Process(target=runpy.run_path, args=(str(CONSUMER), about, "__main__"), daemon=True)
        process.start()
        self.consumers.append(process)
        return process

    def signal(self, process: multiprocessing.process.BaseProcess, number: signal.Signals) -> None:
        if process.is_alive() and process.pid:
            os.kill(process.pid, number)

    def stop(self) -> None:
        for process in self.consumers:
            self.signal(process, signal.SIGCONT)
            process.kill()
            process.join()


@pytest.fixture
def redis(redis_server):
    """The server of `live`."""
    return redis_server()


@pytest.fixture
def live(tmp_path, broker, redis, make_live, monkeypatch):
    """A project on Redis and the shared broker, with a topic of its own."""
    made = make_live(tmp_path, broker.address, redis.address, tmp_path.name)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    made.stop()


@pytest.fixture
def make_live():
    """make_live(root, kafka, redis, topic, **stream) makes a project of the folder `root`."""
    return _make_live


def _make_live(root: Path, kafka: str, redis: str, topic: str, **stream: float) -> Live:
    (root / "dvc.yaml").touch()
    settings = {
        "topic": topic,
        "partitions": 3,
        "batch_events": 200,
        "log_seconds": 0.3,
        **stream,
    }
    params = {"features": {"online_store": "redis", "lateness_minutes": 10}, "stream": settings}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    return Live(root, {"NEXTCLICK_KAFKA": kafka, "NEXTCLICK_REDIS": redis})


@pytest.fixture
def stored():
    """stored(root, params, events) waits until the online states are those of the events."""
    return _wait_until_stored


def _wait_until_stored(root: Path, params: Params, events: pd.DataFrame) -> None:
    expected = dict(states_of(events, "session_id", params.ingest.event_types))
    online = OnlineStates(connect(root, params, timeout=5))
    for _ in range(300):
        if [row.state for row in online.read(list(expected))] == list(expected.values()):
            return
        time.sleep(0.2)
    raise AssertionError("the states are not those of the events")
