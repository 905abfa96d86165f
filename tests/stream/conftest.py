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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

import pandas as pd
import pytest
import yaml

from nextclick.features.store.connect import connect
from nextclick.features.store.offline import states_of
from nextclick.features.store.online import OnlineStates
from nextclick.params import Params

ROOT = Path(__file__).parents[2]
START = ROOT / "scripts/kafka/start.sh"
# a broker of the tests is started more often than it works hard
QUICK_START = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
# beside the usual listener one that asks for a password over TLS; and tests need not wait for Kafka's own 6 s until a
# consumer counts as gone, nor for 9 s until a broker that was killed does, and may start again
MORE = """
listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{secured},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{secured}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  username="shop" password="{password}" user_shop="{password}";
group.min.session.timeout.ms=1000
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def wait_until(reached: Callable[[], object], patience: float = 120, every: float = 0.05) -> None:
    """Ask again and again until it is so."""
    deadline = time.monotonic() + patience
    while not reached():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(every)


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_certificates(folder: Path) -> None:
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for name in ("ca", "other-ca"):
        about = ["-subj", f"/CN={name}", "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        openssl(folder, "req", "-x509", *key, *about)
    openssl(folder, "req", *key, "-subj", "/CN=broker", "-keyout", "key", "-out", "request")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-extfile", "names", "-out", "certificate"]
    openssl(folder, "x509", "-req", "-in", "request", *signed)
    whole = "".join((folder / name).read_text() for name in ("key", "certificate", "ca.pem"))
    (folder / "broker.pem").write_text(whole)


class Kafka:
    """A broker of the tests' own on free ports, that can be killed and started again.

    folder: with ca.pem, the certificate of the authority that signed its own, and that of another, other-ca.pem.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self._secured, self._controller = folder, free_port(), free_port(), free_port()
        self.password = token_hex(8)
        make_certificates(folder)
        more = MORE.format(
            folder=folder, port=self.port, secured=self._secured, controller=self._controller, password=self.password
        )
        (folder / "more.properties").write_text(more)
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def secured_address(self) -> str:
        """Where user shop comes in with `password`, over TLS."""
        return f"127.0.0.1:{self._secured}"

    def start(self) -> None:
        command = [START, self.folder, str(self.port), str(self._controller)]
        self.process = subprocess.Popen(
            command, env=os.environ | QUICK_START, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(lambda: answers(self.port))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def is_alive(self) -> bool:
        return self.process.poll() is None


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


@pytest.fixture(scope="session")
def the_mortal_broker(kafka) -> Kafka:
    return kafka()


@pytest.fixture
def mortal_broker(the_mortal_broker) -> Kafka:
    """Another one, which tests kill; it runs when the next of them begins."""
    if not the_mortal_broker.is_alive():
        the_mortal_broker.start()
    return the_mortal_broker


# consumers are forked from a process that has imported all they need, which takes many times as long as they live
WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(["nextclick.cli", "nextclick.stream.consumer", "nextclick.stream.metrics"])
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
            "LOG": self.said_by(len(self.consumers)),
            "ENVIRONMENT": self.environment,
            "ARGUMENTS": arguments,
        }
        process = WARM.Process(target=runpy.run_path, args=(str(CONSUMER), about, "__main__"), daemon=True)
        process.start()
        self.consumers.append(process)
        return process

    def said_by(self, number: int) -> Path:
        return self.root / f"consumer-{number}.log"

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
        "group": topic,  # else a test waits until Kafka has found out that the last one's consumers were killed
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
    wait_until(lambda: [row.state for row in online.read(list(expected))] == list(expected.values()))
