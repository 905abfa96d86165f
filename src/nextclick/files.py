"""Files that are complete or absent: written aside, then moved into place; and their locks, hashes and memory maps."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic_core import to_jsonable_python

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """The folder `path`, empty at the start and deleted at the end, with what a killed run left in it."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def written_whole(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a scratch file for the new content of `path`, and move it there in one step if the block raises nothing.

    A reader of `path` sees the old content or the new one. The scratch file lies beside it, and its name begins with a
    dot, by which readers of a folder know that it is not finished; one that a killed process left is written over.
    Two processes that may write the same path at once need a lock. durable: wait until the content and the entries of
    the two folders above it, which may be new, are on disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}")
    try:
        yield scratch
        if durable:
            _sync(scratch)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    if durable:
        for folder in path.parents[:2]:
            _sync(folder)


def _sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move_files(names: tuple[str, ...], scratch: Path, out: Path) -> None:
    """Move finished files from the folder `scratch` to the folder `out`, each in one step."""
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        (scratch / name).replace(out / name)


def json_text(value: Any, indent: int | None = None) -> str:
    """`value` as JSON text, in which NaN and infinity are null, since JSON has neither."""
    return json.dumps(to_jsonable_python(value, inf_nan_mode="null"), indent=indent, allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as an indented JSON file, in one step, on disk when it returns; see `json_text`."""
    with written_whole(path, durable=True) as scratch:
        scratch.write_text(json_text(value, indent=1) + "\n")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table without its index as a CSV file, in one step."""
    with written_whole(path) as scratch:
        table.to_csv(scratch, index=False)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, *, shared: bool = False, blocking: bool = True) -> Iterator[None]:
    """Hold the lock file `path` among all processes and threads: alone, or `shared` with others that share it.

    Raises BlockingIOError if another holds it and `blocking` is false.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if blocking else fcntl.LOCK_NB))
        yield


def mapped(path: Path) -> np.ndarray:
    """An .npy file as an array whose pages are shared by all processes that read it.

    Copy-on-write, so that compiled kernels take it for an ordinary array instead of being compiled once more for a
    read-only one; the file itself is never changed.
    """
    return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
