"""A small shop with a bundle and its reference, and events to judge."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from warm_python import WarmPython

from nextclick.bundle.bundle import load_bundle, save_bundle
from nextclick.events.sessions import SessionLog
from nextclick.monitoring import monitor
from nextclick.monitoring.reference import REFERENCE, Reference
from nextclick.params import Evaluation, Features, Monitoring, Params, Ranker, Retrieval
from nextclick.ranking.recommender import train_recommender

ROOT = Path(__file__).parents[2]
TYPES = ["view", "cart", "purchase"]
PARAMS = Params(
    features=Features(online_store="sqlite"),
    retrieval=Retrieval(dimensions=8, encoder_epochs=1, encoder_min_steps=100, width=30, nearest=10),
    ranker=Ranker(rounds=20, max_depth=3, negatives=10, min_child_weight=1),
    evaluation=Evaluation(k=5, reference=500),
    monitoring=Monitoring(sessions=20),
)


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmPython]:
    kernel = ("matplotlib.backends.backend_agg", "ipykernel.kernelapp", "ipykernel.ipkernel")
    made = WarmPython(*kernel, "nextclick.monitoring.reference", "evidently.presets", threads=2)
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def _kernels_start_warm(warm, monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", warm.python)


@pytest.fixture(scope="session")
def known_thresholds():
    """The limits of windows of one size against one reference, which are always the same, are found once."""
    real, known = monitor.thresholds, {}

    def thresholds(frame, columns, sessions, *about):
        key = (pd.util.hash_pandas_object(frame).sum(), *about)
        if key not in known:
            known[key] = real(frame, columns, sessions, *about)
        return known[key]

    return thresholds


@pytest.fixture(autouse=True)
def _known_thresholds(known_thresholds, monkeypatch) -> None:
    monkeypatch.setattr(monitor, "thresholds", known_thresholds)


@pytest.fixture(scope="session")
def watched(tmp_path_factory, shop_events) -> Path:
    """The root of a project with models/bundle, models/reference, data/split and notebooks."""
    root = tmp_path_factory.mktemp("watched")
    events = shop_events(400, 3)
    late = events["session_id"] >= "s0300"
    (root / "data/split").mkdir(parents=True)
    events[~late].to_parquet(root / "data/split/train.parquet")
    events[late].to_parquet(root / "data/split/test.parquet")
    log = SessionLog.from_events(events[~late], TYPES)
    recommender, _ = train_recommender(log, PARAMS, event_types=TYPES)
    until = events[~late]["timestamp"].max().isoformat()
    save_bundle(recommender, root / "models/bundle", params=PARAMS, trained_until=until, metrics={})
    recommender, manifest = load_bundle(root / "models/bundle")
    Reference.of(recommender, manifest, events[late], events[~late], 0.05, PARAMS).save(root / REFERENCE)
    (root / "dvc.yaml").write_text("")
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS.model_dump(mode="json")))
    (root / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks/06_drift.py", root / "notebooks")
    return root


@pytest.fixture
def events(watched) -> pd.DataFrame:
    return pd.read_parquet(watched / "data/split/test.parquet")
