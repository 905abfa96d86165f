"""What tests of different folders share: a small project, a shop's events, real Redis servers."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from selenium import webdriver

from nextclick.files import locked
from nextclick.params import Features, Ingest, Params

# where it is set, as in many containers, every import in each of the many processes takes twice as long
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
pytest_plugins = ["fault_promises", "ml_test_score", "side_by_side"]
ROOT = Path(__file__).parents[1]
TYPES = ["view", "cart", "purchase"]
START = pd.Timestamp("2026-01-06 10:30", tz="UTC")  # a Tuesday
SMALL = {
    "run": {"seed": 7, "threads": 2},
    # with less, no ranker is better than all baselines beyond chance
    "simulator": {"sessions": 3000, "items": 200, "users": 300, "days": 28},
    "retrieval": {"dimensions": 8, "encoder_epochs": 1, "encoder_min_steps": 100, "width": 40, "nearest": 20},
    "ranker": {"rounds": 30, "checkpoint_rounds": 10, "max_depth": 3},
    "diagnosis": {"groups": 300, "judged": 200, "rounds": 10},
}


@pytest.fixture(scope="session")
def small_params() -> str:
    """params.yaml, on so little that the whole pipeline takes a minute."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, values in SMALL.items():
        params[section].update(values)
    return yaml.safe_dump(params, sort_keys=False)


def _shop_events(n_sessions: int, seed: int) -> pd.DataFrame:
    """Sessions over 40 items, of up to 45 events: more than a state keeps."""
    random = np.random.default_rng(seed)
    rows = []
    for session in range(n_sessions):
        now = START + pd.Timedelta(minutes=session * 7)
        for _ in range(random.integers(2, 45 if session % 20 == 0 else 8)):
            now += pd.Timedelta(milliseconds=int(random.integers(0, 60_000)))
            kind = random.choice(TYPES, p=[0.8, 0.15, 0.05])
            ids = (f"e{len(rows):05d}", f"s{session:04d}", f"i{random.integers(0, 40):02d}")
            rows.append((*ids, kind, now, len(rows)))
    return pd.DataFrame(rows, columns=["event_id", "session_id", "item_id", "event_type", "timestamp", "position"])


@pytest.fixture(scope="session")
def shop_events():
    """shop_events(n_sessions, seed): canonical events of a shop of 40 items."""
    return _shop_events


@pytest.fixture
def shop(tmp_path, shop_events) -> pd.DataFrame:
    """The training events of the project at tmp_path."""
    events = shop_events(120, 3)
    users = events["session_id"].str[-1].map(lambda digit: f"u{digit}" if digit < "7" else None)
    return events.assign(user_id=users)


@pytest.fixture
def project(tmp_path, shop) -> Path:
    for folder in ("split", "interim"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    shop.to_parquet(tmp_path / "data/split/train.parquet")
    pd.DataFrame({"item_id": ["i00", "i01"], "price": [1.5, 2.5]}).to_parquet(tmp_path / "data/interim/items.parquet")
    return tmp_path


@pytest.fixture(scope="session")
def made_once(tmp_path_factory, worker_id) -> Callable[[str, Callable[[Path], None]], Path]:
    """made_once(name, make): a folder that make(folder) has filled once in this run of the tests, for all processes.

    What is in it is only read.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent

    def folder(name: str, make: Callable[[Path], None]) -> Path:
        made = shared / name
        with locked(shared / f"{name}.lock"):
            if not made.exists():
                begun = shared / f"{name}.begun"
                shutil.rmtree(begun, ignore_errors=True)
                begun.mkdir()
                make(begun)
                begun.rename(made)
        return made

    return folder


class Redis:
    """A server of the test's own on a free port, that can be killed and started again."""

    def __init__(self, folder: Path, *options: str, plain: bool = True) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = ["redis-server", "--save", "", "--bind", "127.0.0.1", "--dir", str(folder), *options]
        self._command += ["--port", str(self.port)] if plain else ["--port", "0", "--tls-port", str(self.port)]
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError("redis-server did not start")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def _redis_servers(folder: Path):
    if shutil.which("redis-server") is None:
        if os.environ.get("NEXTCLICK_REQUIRE_SERVICES"):
            pytest.fail("redis-server is not installed")
        pytest.skip("redis-server is not installed")
    started = []

    def start(*options: str, plain: bool = True) -> Redis:
        started.append(Redis(folder, *options, plain=plain))
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def redis_server(tmp_path):
    """redis_server(*options) starts one; they end with the test."""
    yield from _redis_servers(tmp_path)


@pytest.fixture(scope="session")
def lasting_redis_server(tmp_path_factory):
    """The same; they end with the tests."""
    yield from _redis_servers(tmp_path_factory.mktemp("redis"))


@pytest.fixture(params=["sqlite", "redis"])
def params(request, monkeypatch) -> Params:
    """Params of a project, once for each online store."""
    if request.param == "redis":
        monkeypatch.setenv("NEXTCLICK_REDIS", request.getfixturevalue("redis_server")().address)
    return params_for(request.param)


def params_for(online: str) -> Params:
    return Params(
        features=Features(item_stats_every=2, online_store=online),
        ingest=Ingest(event_types=TYPES),
    )


@pytest.fixture
def redis_params() -> Params:
    return params_for("redis")


@pytest.fixture(scope="module")
def chromium():
    """Headless, and reaches nothing but this machine."""
    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(paths):
        if os.environ.get("NEXTCLICK_REQUIRE_SERVICES"):
            pytest.fail("chromium and chromedriver are not installed")
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-dev-shm-usage",
        "window-size=1400,1000",
        "host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(paths[1]))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium):
    """A Chromium with nothing in it from the test before, that keeps what its console says."""
    before = chromium.window_handles
    chromium.switch_to.new_window("tab")
    for window in before:
        chromium.switch_to.window(window)
        chromium.close()
    chromium.switch_to.window(chromium.window_handles[0])
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
    chromium.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": "*", "storageTypes": "all"})
    # a tab that was opened by a program has no focus, without which JupyterLab knows no current notebook
    chromium.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
    chromium.get_log("browser")  # what was said before
    return chromium
