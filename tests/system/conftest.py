"""Clones of the project as it lies here, on a small simulated shop."""

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).parents[2]
# what this environment says to Python is not for the clones' own
NOT_FOR_CLONES = ("PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")
OUTSIDE = {name: value for name, value in os.environ.items() if name not in NOT_FOR_CLONES}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(1800))  # the first waits for two whole runs, however busy the machine


@dataclass(frozen=True)
class Clone:
    root: Path
    environment: dict[str, str]
    started: list[subprocess.Popen] = field(default_factory=list)

    def start(self, *command: str, output: int | IO[str] = subprocess.PIPE) -> subprocess.Popen:
        """Run a command in the clone, in a process group of its own. output: where what it says goes."""
        process = subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, *command: str) -> str:
        """What a command says; it has to succeed."""
        return self.wait(self.start(*command))

    def wait(self, process: subprocess.Popen) -> str:
        """What a command that was started said; it has to succeed."""
        output, _ = process.communicate()
        assert process.returncode == 0, output
        return output

    def dvc(self, *arguments: str) -> str:
        return self.run(".venv/bin/dvc", *arguments)

    @property
    def lock(self) -> bytes:
        return (self.root / "dvc.lock").read_bytes()


@dataclass(frozen=True)
class Runs:
    """Two clean clones through the whole pipeline. made: by `make`, which installs; repeated: by `dvc repro`."""

    made: Clone
    made_said: str
    made_lock: bytes
    repeated: Clone
    repeated_lock: bytes


@pytest.fixture(scope="session")
def origin(tmp_path_factory, small_params) -> Path:
    """A git repository of what a commit of this working tree would hold, but for the params, which are small."""
    root = tmp_path_factory.mktemp("origin")
    listed = subprocess.check_output(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, text=True
    )
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    (root / "params.yaml").write_text(small_params)
    identity = ("-c", "user.name=Test", "-c", "user.email=test@localhost")
    for arguments in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-q", "-m", "Small params")):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    return root


@pytest.fixture(scope="session")
def clone(origin, tmp_path_factory):
    """clone(name) makes a clean clone; with borrowed=True it uses this environment's libraries on its own source, and
    the functions that Numba has compiled here."""

    clones = []

    def make(name: str, borrowed: bool = True) -> Clone:
        root = tmp_path_factory.mktemp(name) / "nextclick"
        subprocess.run(["git", "clone", "-q", origin, root], check=True)
        made = Clone(root, OUTSIDE | ({"PYTHONPATH": str(root / "src")} if borrowed else {}))
        clones.append(made)
        if borrowed:
            (root / ".venv").mkdir()
            (root / ".venv/bin").symlink_to(ROOT / ".venv/bin")
            shutil.copytree(ROOT / "src", root / "src", dirs_exist_ok=True)  # files keep their times, as Numba asks
            where = made.run(".venv/bin/python", "-c", "import nextclick; print(nextclick.__path__[0])")
            assert where.startswith(str(root))
        return made

    yield make
    # after a failure, something may still run that nobody waited for
    for process in (process for made in clones for process in made.started if process.poll() is None):
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def runs(clone) -> Runs:
    made, repeated = clone("made", borrowed=False), clone("repeated")
    making = made.start("make")
    repeated.dvc("repro")
    return Runs(made, made.wait(making), made.lock, repeated, repeated.lock)
