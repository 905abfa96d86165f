"""Files that are whole or not there: made aside, then moved into place."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """The folder `path`, empty, and gone at the end; what a run that was killed left there goes first."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def move_files(names: tuple[str, ...], scratch: Path, out: Path) -> None:
    """Finished files from `scratch` to the folder `out`, each in one step."""
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        (scratch / name).replace(out / name)


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock file `path`, beside those who share it too, or alone, among all processes and threads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def mapped(path: Path) -> np.ndarray:
    """An .npy file as an array whose pages all processes that read it share.

    Copy-on-write, so that compiled kernels take it for an ordinary array instead of being compiled once more for a
    read-only one; the file itself is never changed.
    """
    return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
