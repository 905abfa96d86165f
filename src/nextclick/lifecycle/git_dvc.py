"""Git, DVC and GTO as a person would call them; what they say goes to stderr."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from nextclick.errors import InputError

DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")
AUTHOR = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in (
    ("NAME", "nextclick"), ("EMAIL", "nextclick@localhost"))}  # fmt: skip


def git(root: Path, *arguments: str) -> str:
    return _run(root, ["git", *arguments])


def dvc(root: Path, *arguments: str) -> str:
    return _run(root, [*DVC, *arguments])


def gto(root: Path, *arguments: str) -> str:
    return _run(root, [str(Path(sys.executable).with_name("gto")), *arguments])


def _run(root: Path, command: list[str]) -> str:
    """What it says on stdout. Raises InputError, with the last it said, where it fails."""
    environment = {**os.environ, **({} if _has_identity(root) else AUTHOR)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise InputError(f"{' '.join(command[-4:])}: {said[-1] if said else f'ended with {done.returncode}'}")
    return done.stdout


def stream(root: Path, command: list[str]) -> None:
    """Run something long; all that it says goes to stderr as it comes. Raises InputError where it fails."""
    done = subprocess.run(command, cwd=root, stdout=sys.stderr)
    if done.returncode:
        raise InputError(f"{' '.join(command)}: ended with {done.returncode}")


def _has_identity(root: Path) -> bool:
    asked = subprocess.run(["git", "config", "user.email"], cwd=root, capture_output=True)
    return asked.returncode == 0
