"""A small shop with a bundle, the engine on it, and the service as BentoML runs it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from stream.conftest import kafka as kafka
from stream.conftest import mortal_broker as mortal_broker
from stream.conftest import the_mortal_broker as the_mortal_broker

from nextclick.bundle.bundle import _version_of, save_bundle
from nextclick.events.sessions import SessionLog
from nextclick.files import sha256_of
from nextclick.params import Features, Params, Ranker, Retrieval
from nextclick.ranking.recommender import train_recommender
from nextclick.serving import deployment
from nextclick.serving.deployment import Deployment

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))  # for its load generator
TYPES = ["view", "cart", "purchase"]
PARAMS = Params(
    features=Features(online_store="sqlite"),
    retrieval=Retrieval(dimensions=8, encoder_epochs=1, encoder_min_steps=100, width=30, nearest=10),
    ranker=Ranker(rounds=20, max_depth=3, negatives=10, min_child_weight=1),
)


def items() -> pd.DataFrame:
    """Of 40 items, some without a title, a category or a price."""
    names = [f"i{i:02d}" for i in range(40)]
    titles = [
        None if i % 9 == 8 else f"{'red' if i % 2 else 'blue'} {'pan' if i < 20 else 'lamp'} {i}" for i in range(40)
    ]
    categories = [None if i % 11 == 10 else f"Home/{'Kitchen/Pans' if i < 20 else 'Light'}" for i in range(40)]
    prices = [np.nan if i % 7 == 6 else 5.0 + i for i in range(40)]
    return pd.DataFrame({"item_id": names, "title": titles, "category": categories, "price": prices})


@pytest.fixture(scope="session")
def bundles(made_once, shop_events) -> list[Path]:
    """Two bundles of the same shop, trained on different sessions."""
    seeds = (3, 4)

    def make(folder: Path) -> None:
        for seed in seeds:
            log = SessionLog.from_events(shop_events(300, seed), TYPES)
            recommender, _ = train_recommender(log, PARAMS, event_types=TYPES, items=items())
            about = {"params": PARAMS, "trained_until": "2026-01-07", "metrics": {"seed": seed}, "items": items()}
            save_bundle(recommender, folder / f"bundle-{seed}", **about)

    folder = made_once("serving-bundles", make)
    return [folder / f"bundle-{seed}" for seed in seeds]


@pytest.fixture
def shop(tmp_path, bundles) -> Path:
    """The root of a project whose shop can be served."""
    shutil.copytree(bundles[0], tmp_path / "models/bundle")
    (tmp_path / "dvc.yaml").write_text("")
    write_params(tmp_path, PARAMS)
    return tmp_path


@pytest.fixture
def deployed(shop, monkeypatch):
    """What answers, with its bundle."""
    monkeypatch.setattr(deployment, "POLL_SECONDS", 3600)  # the test itself looks
    made = Deployment(shop, PARAMS.features)
    yield made
    made.close()


def write_params(root: Path, params: Params) -> None:
    (root / "params.yaml").write_text(yaml.safe_dump(json.loads(params.model_dump_json())))


def tampered(folder: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change an array of a bundle, and its manifest so that it fits."""
    file, about = folder / f"{name}.npy", folder / "manifest.json"
    np.save(file, change(np.load(file)), allow_pickle=False)
    manifest = json.loads(about.read_text())
    manifest["files"][file.name] = sha256_of(file)
    manifest.pop("version")
    about.write_text(json.dumps({"version": _version_of(manifest), **manifest}))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Service:
    """`bentoml serve`, and how to ask it."""

    def __init__(self, root: Path, **environment: str) -> None:
        self.port, self.metrics_port = free_port(), free_port()
        self.log = root / f"service-{self.port}.log"
        about = {"NEXTCLICK_METRICS": f"127.0.0.1:{self.metrics_port}"}
        # BentoML keeps the metrics of all services of one home in one folder, which each of them empties
        about["BENTOML_HOME"] = str(root / f"bentoml-{self.port}")
        self.process = subprocess.Popen(
            [ROOT / ".venv/bin/bentoml", "serve", "nextclick.serving.service:NextClick", "--port", str(self.port)],
            cwd=root,
            env=os.environ | about | environment,
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10)

    def wait(self) -> None:
        for _ in range(600):
            assert self.process.poll() is None, self.log.read_text()
            if self.ready():
                return
            time.sleep(0.1)
        raise AssertionError(f"not ready: {self.log.read_text()}")

    def ready(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def recommend(self, session: str = "s", **body) -> dict:
        answer = self.client.post("/recommend", json={"session_id": session, **body})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def metrics(self) -> str:
        return httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics").text

    def end(self) -> None:
        if self.process.poll() is None:
            # BentoML's workers are in sessions of their own
            for one in (*psutil.Process(self.process.pid).children(recursive=True), self.process):
                one.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def services():
    """services(name, start): the service of that name, which start() starts where it does not run; they end with the
    tests. services.any(start): one of those that run."""

    class Services(dict[str, Service]):
        def __call__(self, name: str, start: Callable[[], Service]) -> Service:
            if not self.running(name):
                self[name] = start()
                self[name].wait()
            return self[name]

        def running(self, name: str) -> bool:
            return name in self and self[name].process.poll() is None

        def any(self, start: Callable[[], Service]) -> Service:
            return self(next(filter(self.running, self), "any"), start)

    made = Services()
    yield made
    for service in made.values():
        service.end()


@pytest.fixture(scope="session")
def redis_shop(bundles, tmp_path_factory) -> Path:
    """The root of a project that keeps its states in Redis, and has two bundles."""
    root = tmp_path_factory.mktemp("shop")
    shutil.copytree(bundles[0], root / "models/bundle")
    shutil.copytree(bundles[1], root / "models/second")
    (root / "dvc.yaml").write_text("")
    redis = PARAMS.features.model_copy(update={"online_store": "redis"})
    patient = PARAMS.serving.model_copy(update={"max_wait_ms": 5000, "budget_ms": 2000, "drain_seconds": 2})
    write_params(root, PARAMS.model_copy(update={"features": redis, "serving": patient}))
    return root


@pytest.fixture(scope="session")
def lasting_redis(lasting_redis_server):
    return lasting_redis_server()


@pytest.fixture
def running(redis_shop, lasting_redis, services):
    """A service that tests share, its Redis, and its root. Who ends it gives the next one a new one."""
    if lasting_redis.process.poll() is not None:
        lasting_redis.start()
    return (
        services("shop", lambda: Service(redis_shop, NEXTCLICK_REDIS=lasting_redis.address)),
        lasting_redis,
        redis_shop,
    )


@pytest.fixture(scope="session")
def serve():
    """serve(root, **environment) starts a service and waits until it is ready; it ends with the `with`."""

    @contextmanager
    def started(root: Path, **environment: str):
        service = Service(root, **environment)
        try:
            service.wait()
            yield service
        finally:
            service.end()

    return started
