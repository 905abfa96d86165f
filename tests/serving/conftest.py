"""A small shop with a bundle, the engine on it, and the service as BentoML runs it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from stream.conftest import kafka as kafka

from nextclick.events.sessions import SessionLog
from nextclick.params import Features, Params, Ranker, Retrieval
from nextclick.ranking.bundle import save_bundle
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
def bundles(tmp_path_factory, shop_events) -> list[Path]:
    """Two bundles of the same shop, trained on different sessions."""
    folders = []
    for seed in (3, 4):
        log = SessionLog.from_events(shop_events(300, seed), TYPES)
        recommender, _ = train_recommender(log, PARAMS, event_types=TYPES, items=items())
        folders.append(tmp_path_factory.mktemp("bundles") / f"bundle-{seed}")
        save_bundle(
            recommender, folders[-1], params=PARAMS, trained_until="2026-01-07", metrics={"seed": seed}, items=items()
        )
    return folders


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
    monkeypatch.setattr(deployment, "EVERY", 3600)  # the test itself looks
    made = Deployment(shop, PARAMS.features)
    yield made
    made.close()


def write_params(root: Path, params: Params) -> None:
    (root / "params.yaml").write_text(yaml.safe_dump(json.loads(params.model_dump_json())))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Service:
    """`bentoml serve`, and how to ask it."""

    def __init__(self, root: Path, **environment: str) -> None:
        self.port, self.metrics_port = free_port(), free_port()
        self.log = root / f"service-{self.port}.log"
        self.process = subprocess.Popen(
            [ROOT / ".venv/bin/bentoml", "serve", "nextclick.serving.service:NextClick", "--port", str(self.port)],
            cwd=root,
            env=os.environ | {"NEXTCLICK_METRICS": f"127.0.0.1:{self.metrics_port}", **environment},
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
