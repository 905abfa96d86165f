"""Real Kafka brokers, and projects whose events go through them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

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

    def __init__(self, folder: Path) -> None:
        self._folder, self.port, self._controller = folder, free_port(), free_port()
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
    """kafka() starts a broker; they end with the tests."""
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if missing:
        say = pytest.fail if os.environ.get("NEXTCLICK_REQUIRE_SERVICES") else pytest.skip
        say(f"{' and '.join(missing)}, which a broker needs, not installed")
    subprocess.run([START, "--jars"], check=True, timeout=300)
    started = []

    def start() -> Kafka:
        started.append(Kafka(tmp_path_factory.mktemp("kafka")))
        return started[-1]

    yield start
    for broker in started:
        broker.kill()


@pytest.fixture(scope="session")
def broker(kafka) -> Kafka:
    """One that tests share, each with topics of its own, and leave running."""
    return kafka()


@dataclass
class Live:
    """A project with a params.yaml, and the consumers that work in it."""

    root: Path
    environment: dict[str, str]
    consumers: list[subprocess.Popen] = field(default_factory=list)

    def consume(self, *arguments: str) -> subprocess.Popen:
        """Start a consumer; what it says goes to consumer-<n>.log."""
        with (self.root / f"consumer-{len(self.consumers)}.log").open("w") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "nextclick.cli", "stream", *arguments],
                cwd=self.root,
                env=os.environ | self.environment,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )
        self.consumers.append(process)
        return process

    def stop(self) -> None:
        for process in self.consumers:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()


@pytest.fixture
def live(tmp_path, broker, redis_server, monkeypatch):
    """A project on Redis and the shared broker, with a topic of its own."""
    made = make_live(tmp_path, broker.address, redis_server().address, tmp_path.name)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    made.stop()


def make_live(root: Path, kafka: str, redis: str, topic: str, **stream: float) -> Live:
    (root / "dvc.yaml").touch()
    settings = {"topic": topic, "partitions": 3, "log_seconds": 0.3, "lateness_minutes": 10, **stream}
    params = {"features": {"online_store": "redis"}, "stream": settings}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    return Live(root, {"NEXTCLICK_KAFKA": kafka, "NEXTCLICK_REDIS": redis})
