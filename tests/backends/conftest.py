"""One Ray cluster of two workers for all tests, a small shop to learn from, and the rankers learned from it.

Ray is an extra: where it is not installed these tests are skipped, unless services are required.
"""

import importlib.util
import os
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress

import pandas as pd
import psutil
import pytest

from nextclick.backends.backend import Backend, backend_of
from nextclick.events.sessions import SessionLog
from nextclick.params import Features, Pipeline, Ranker, Retrieval
from nextclick.ranking import recommender as ranking
from nextclick.ranking.ranker import hold_out
from nextclick.ranking.recommender import example_snapshot

os.environ.pop("RAY_ADDRESS", None)
os.environ["RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES"] = str(80 * 2**20)  # the least: more goes to disk soon
os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"  # how often it looks whether workers have died, or are done
if importlib.util.find_spec("ray") is not None:
    import nextclick.backends.ray_cluster  # noqa: F401  before Ray itself, as nextclick does
elif not os.environ.get("NEXTCLICK_REQUIRE_SERVICES"):
    collect_ignore = ["test_contract.py", "test_on_ray.py", "test_failures.py"]

TYPES = ["view", "cart", "purchase"]
RANKER = Ranker(rounds=120, checkpoint_rounds=10, max_depth=3, min_child_weight=1, negatives=10)
RETRIEVAL = Retrieval(dimensions=8, encoder_epochs=1, encoder_min_steps=100, width=30, nearest=10)


@pytest.fixture
def on_ray() -> Backend:
    """On the cluster that the first of these tests has started; it ends with the process."""
    return backend_of(Pipeline(engine="ray", workers=2))


@pytest.fixture(scope="session")
def event_types() -> list[str]:
    return TYPES


@pytest.fixture(scope="session")
def ranker_params() -> Ranker:
    return RANKER


@pytest.fixture(scope="module")
def events(shop_events) -> pd.DataFrame:
    return shop_events(400, 3)


@pytest.fixture(scope="session")
def log(shop_events) -> SessionLog:
    return SessionLog.from_events(shop_events(400, 3), TYPES)


@pytest.fixture(autouse=True)
def _several_chunks(monkeypatch):
    monkeypatch.setattr(ranking, "CHUNK", 150)


@pytest.fixture(scope="session")
def seen(log):
    """A snapshot, and the predictions to learn from."""
    return example_snapshot(log, RETRIEVAL, RANKER, Features(item_stats_every=6), 0, event_types=TYPES)


@pytest.fixture(scope="session")
def parts(seen):
    """The examples to learn from, and those held out."""
    return hold_out(Backend().examples(*seen, 10, 0), 0.2)


@pytest.fixture(scope="session")
def trained(parts, tmp_path_factory):
    """A booster by who trained it, and what listened meanwhile: (name of the process, address).

    Where a single group is held out, one of the two workers trains.
    """
    folder = tmp_path_factory.mktemp("checkpoints")
    learned, held_out = parts
    on_ray = backend_of(Pipeline(engine="ray", workers=2))
    runs = {
        "local": (Backend(), held_out),
        "one": (on_ray, held_out.take_groups(0, 1)),
        "two": (on_ray, held_out),
    }
    boosters, heard = {}, set()
    with ThreadPoolExecutor(1) as pool:
        for name, (engine, watched) in runs.items():
            training = pool.submit(engine.train, learned, RANKER, 1, 1, held_out=watched, checkpoints=folder / name)
            while not training.done():
                heard |= _listening()
                wait([training], timeout=0.2)
            boosters[name], curves = training.result()
            assert len(curves["held_out"]) == boosters[name].num_boosted_rounds() == RANKER.rounds
    assert not list(folder.glob("*/ray-*")), "what was only for the workers stayed behind"
    return boosters, heard


def _listening() -> set[tuple[str, str]]:
    """What Ray started from here listens on: (name of the process, address)."""
    heard = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # a worker that has just ended
            name = process.name()
            heard |= {(name, c.laddr.ip) for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    return heard
