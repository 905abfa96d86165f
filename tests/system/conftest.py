"""Clones of the project as it lies here, on a small simulated shop."""

import json
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
IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Test"), ("EMAIL", "test@localhost"))
}
OUTSIDE = {name: value for name, value in os.environ.items() if name not in NOT_FOR_CLONES}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(1800))  # the first waits for a whole run, however busy the machine


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

    def metric(self, stage: str) -> dict:
        """The figures of a stage."""
        return json.loads((self.root / f"reports/metrics/{stage}.json").read_text())


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
    for arguments in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "Small params")):
        subprocess.run(["git", *arguments], cwd=root, env=OUTSIDE | IDENTITY, check=True)
    return root


@pytest.fixture(scope="session")
def clone(origin, tmp_path_factory):
    """clone(name) makes a clean clone; with borrowed=True it uses this environment's libraries on its own source, and
    with compiled=True the functions that Numba has compiled here."""

    clones = []

    def make(name: str, borrowed: bool = True, compiled: bool = True) -> Clone:
        root = tmp_path_factory.mktemp(name) / "nextclick"
        subprocess.run(["git", "clone", "-q", origin, root], check=True)
        made = Clone(root, OUTSIDE | IDENTITY | ({"PYTHONPATH": str(root / "src")} if borrowed else {}))
        clones.append(made)
        if compiled:
            shutil.copytree(ROOT / "src", root / "src", dirs_exist_ok=True)  # files keep their times, as Numba asks
        if borrowed:
            (root / ".venv").mkdir()
            (root / ".venv/bin").symlink_to(ROOT / ".venv/bin")
            where = made.run(".venv/bin/python", "-c", "import nextclick; print(nextclick.__path__[0])")
            assert where.startswith(str(root))
        return made

    yield make
    # after a failure, something may still run that nobody waited for
    for process in (process for made in clones for process in made.started if process.poll() is None):
        os.killpg(process.pid, signal.SIGKILL)


@dataclass(frozen=True)
class Made:
    """A clean clone that `make` has set up and taken through the whole pipeline: its output, and dvc.lock after it."""

    clone: Clone
    output: str
    lock: bytes


@pytest.fixture(scope="session")
def made(clone) -> Made:
    cloned = clone("made", borrowed=False)
    output = cloned.run("make")
    cloned.run("git", "commit", "-qam", "The lock of a small shop")
    return Made(cloned, output, cloned.lock)
