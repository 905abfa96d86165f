"""A simulated shop of two weeks, its window, and bundles to be judged on it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner
from warm_python import WarmPython

from nextclick.bundle.bundle import _version_of, save_bundle
from nextclick.cli import app
from nextclick.events.ingest import ingest
from nextclick.events.sessions import SessionLog
from nextclick.events.simulator import simulate
from nextclick.events.split import split
from nextclick.files import sha256_of
from nextclick.lifecycle import git_dvc, lineage, retrain
from nextclick.lifecycle.candidate import Window
from nextclick.lifecycle.registry import Registry, Version
from nextclick.params import Params
from nextclick.ranking.recommender import Recommender, train_recommender

ROOT = Path(__file__).parents[2]
SIZES = {
    "run": {"seed": 7, "threads": 1},  # of two, on so little, each waits for the other, and for what else runs
    "simulator": {"sessions": 3000, "items": 200, "users": 300, "days": 14},
    "split": {"test_days": 4},
    "retrieval": {"dimensions": 8, "encoder_epochs": 1, "encoder_min_steps": 100, "width": 40, "nearest": 20},
    "ranker": {"rounds": 30, "checkpoint_rounds": 10, "max_depth": 3},
    "gate": {"parity_moments": 20},
}


@dataclass(frozen=True)
class Shop:
    """root: of a project through ingest and split."""

    root: Path
    params: Params
    window: Window
    items: pd.DataFrame

    @property
    def types(self) -> list[str]:
        return self.params.ingest.event_types

    def log(self, events: pd.DataFrame) -> SessionLog:
        return SessionLog.from_events(events, self.types)

    def train(self, events: pd.DataFrame, **about) -> Recommender:
        params = self.params.model_copy(update=about)
        return train_recommender(self.log(events), params, event_types=self.types, items=self.items)[0]

    def save(self, recommender: Recommender, folder: Path, until: pd.Timestamp) -> Path:
        about = {"params": self.params, "trained_until": until.isoformat(), "metrics": {}, "items": self.items}
        save_bundle(recommender, folder, **about)
        return folder

    def bundle(self, folder: Path, events: pd.DataFrame | None = None, until: pd.Timestamp | None = None) -> Path:
        """Trained on the window's training events, unless on others."""
        events = self.window.train if events is None else events
        return self.save(self.train(events), folder, until or events["timestamp"].max())


WARM = (
    *("dvc.cli.parser", "dvc.repo.artifacts", "dvc.repo.datasets", "dvc.repo.graph", "dvc.repo.index", "networkx"),
    *(
        "dvc.repo.metrics",
        "dvc.repo.open_repo",
        "dvc.repo.params",
        "dvc.repo.plots",
        "dvc.repo.stage",
        "dvc.data_cloud",
    ),
    *("dvc.repo.trie", "dvc.rwlock", "dvc.scm", "dvc_data.hashfile.status", "dvc_render", "zc.lockfile", "gto.cli"),
    *("nextclick.cli", "nextclick.events.ingest", "nextclick.events.split", "nextclick.lifecycle.retrain"),
    *(
        "dvc.repo.brancher",
        "dvc.repo.experiments",
        "dvc.repo.worktree",
        "dvc_data.index.push",
        "aiohttp_retry",
        "pygit2",
    ),
    *("matplotlib.backends.backend_agg", "ipykernel.kernelapp", "ipykernel.ipkernel", "bentoml_cli.cli"),
    *("feast.repo_operations", "feast.infra.passthrough_provider", "feast.infra.compute_engines.local.compute"),
    *("feast.infra.offline_stores.dask", "feast.infra.registry.file", "sklearn.decomposition"),
)


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmPython]:
    made = WarmPython(*WARM)
    yield made
    made.stop()


@contextmanager
def starting(warm: WarmPython) -> Iterator[None]:
    """What this process starts with `sys.executable` is warm."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", warm.python)
        patch.setattr(git_dvc, "DVC", (warm.python, *git_dvc.DVC[1:]))
        for module in (lineage, retrain):
            patch.setattr(module, "DVC", git_dvc.DVC)
        yield


@pytest.fixture(autouse=True)
def _started_warm(warm) -> Iterator[None]:
    with starting(warm):
        yield


@pytest.fixture(scope="session")
def simulated(made_once) -> Shop:
    def make(root: Path) -> None:
        (root / "dvc.yaml").write_text("")
        (root / "params.yaml").write_text(yaml.safe_dump(SIZES))
        params = Params.read(root / "params.yaml")
        simulate(params.simulator, params.run.seed, root / "data/raw/simulated")
        ingest(params.ingest, root, root / "data/interim")
        split(root / "data/interim/events.parquet", params.split, root / "data/split")

    root = made_once("lifecycle-simulated", make)
    items = pd.read_parquet(root / "data/interim/items.parquet")
    return Shop(root, Params.read(root / "params.yaml"), Window.read(root), items)


@pytest.fixture(scope="session")
def champion(simulated, made_once) -> Path:
    return made_once("lifecycle-champion", lambda folder: simulated.bundle(folder / "bundle")) / "bundle"


def rewritten(folder: Path, **changes) -> None:
    """A manifest that says otherwise, as if it had been bundled so."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["version"]
    manifest |= changes
    manifest["files"] = {name: sha256_of(folder / name) for name in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps({"version": _version_of(manifest), **manifest}))


PIPELINE = {
    "stages": {
        "split": {"cmd": "cp given/$(cat which).parquet data/split/train.parquet", "deps": ["which"],
                  "outs": ["data/split/train.parquet"]},
        "train": {"cmd": "mkdir -p models && rm -rf models/bundle && cp -r given/$(cat which) models/bundle",
                  "deps": ["which"], "outs": ["models/bundle"]},
        "evaluate": {"cmd": "rm -rf models/reference && mkdir models/reference && cp which models/reference",
                     "deps": ["models/bundle", "which"], "outs": ["models/reference"]},
    },
    "artifacts": {"recommender": {"path": "models/bundle", "type": "model"}},
}  # fmt: skip


@dataclass(frozen=True)
class Project:
    """A git and DVC project whose pipeline makes the bundle that the file `which` names. first: a version that knows a
    week less than second."""

    root: Path
    params: Params
    warm: WarmPython
    first: Version | None = None
    second: Version | None = None

    @property
    def registry(self) -> Registry:
        return Registry(self.root, "recommender")

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"PATH": f"{self.warm.bin}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}

    def begin(self, bundles: dict[str, Path], events: dict[str, pd.DataFrame], remote: Path) -> None:
        for folder in ("given", "data/split", "models"):
            (self.root / folder).mkdir(parents=True)
        for name, bundle in bundles.items():
            shutil.copytree(bundle, self.root / "given" / name)
            events[name].to_parquet(self.root / "given" / f"{name}.parquet")
        (self.root / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
        (self.root / "params.yaml").write_text(yaml.safe_dump(json.loads(self.params.model_dump_json())))
        (self.root / ".gitignore").write_text("/data/\n/models/\n/given/\n.feast/\n")
        self.run("git", "init", "-q")
        self.run("git", "config", "user.name", "Test")
        self.run("git", "config", "user.email", "test@localhost")
        self.run("dvc", "init", "-q")
        # DVC looks for a version where the configuration of its commit says
        self.run("dvc", "remote", "add", "-d", "store", str(remote))

    def run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def nextclick(self, *arguments: str) -> dict:
        """What a command says; in this process, which has imported all that it needs."""
        with chdir(self.root):
            done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.stderr or done.exception
        return json.loads(done.stdout.splitlines()[-1])

    def make(self, which: str) -> Version:
        """Run the pipeline for another bundle, commit, register."""
        (self.root / "which").write_text(which)
        self.run("dvc", "repro", "-q")
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", f"The bundle {which}")
        return self.registry.register()


def early(events: pd.DataFrame) -> pd.DataFrame:
    """The events that were known a week before the last of them."""
    ends = events.groupby("session_id")["timestamp"].transform("max")
    return events[ends < events["timestamp"].max() - pd.Timedelta(days=7)]


@pytest.fixture(scope="session")
def older(simulated, made_once) -> Path:
    """A bundle that knows a week less than the champion."""
    train = early(simulated.window.train)
    return made_once("lifecycle-older", lambda folder: simulated.bundle(folder / "bundle", train)) / "bundle"


@pytest.fixture(scope="session")
def made(simulated, champion, older, warm, tmp_path_factory) -> Project:
    train = simulated.window.train
    project = Project(tmp_path_factory.mktemp("made"), simulated.params, warm)
    remote = tmp_path_factory.mktemp("remote")
    with starting(warm):
        project.begin({"old": older, "new": champion}, {"old": early(train), "new": train}, remote)
        return replace(project, first=project.make("old"), second=project.make("new"))


@pytest.fixture
def project(made, tmp_path) -> Project:
    """A copy with two versions, of which none is promoted yet."""
    return replace(made, root=shutil.copytree(made.root, tmp_path / "project", symlinks=True))
