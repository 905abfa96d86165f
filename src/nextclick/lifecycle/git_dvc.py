"""Calls Git, DVC and GTO by their commands; their messages go to stderr."""

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
    """The command's stdout. Raises InputError, with its last message, if it fails."""
    environment = {**os.environ, **({} if _has_identity(root) else AUTHOR)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        messages = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise InputError(f"{' '.join(command[-4:])}: {messages[-1] if messages else f'ended with {done.returncode}'}")
    return done.stdout


def stream(root: Path, command: list[str]) -> None:
    """Run a long command, whose output goes to stderr as it comes. Raises InputError if it fails."""
    done = subprocess.run(command, cwd=root, stdout=sys.stderr)
    if done.returncode:
        raise InputError(f"{' '.join(command)}: ended with {done.returncode}")


def _has_identity(root: Path) -> bool:
    return subprocess.run(["git", "config", "user.email"], cwd=root, capture_output=True).returncode == 0
