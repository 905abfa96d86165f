"""Retraining without anyone watching: new data, `dvc repro`, the gate, and only then the service; at every step it may
be killed, and run again it ends the same."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any

from nextclick.errors import InputError
from nextclick.files import locked, write_json
from nextclick.lifecycle.gate import gate
from nextclick.lifecycle.git_dvc import DVC, dvc, git, stream
from nextclick.lifecycle.promotion import allowed_by, champion, promote, withdrawn
from nextclick.lifecycle.records import FOLDER as RECORDS
from nextclick.lifecycle.records import write_record
from nextclick.lifecycle.registry import Registry, Version
from nextclick.lifecycle.training_window import FOLDER as WINDOW
from nextclick.lifecycle.training_window import cut_window
from nextclick.logs.event_log import newest_day
from nextclick.params import Params

JOURNAL, LOCK = Path("models/retrain.json"), Path("models/.retrain.lock")
LEFT_SECONDS = 10  # after which a lock of git is taken for one that was left
MADE = ("dvc.lock", "reports", f"{WINDOW}.dvc")  # what a retraining commits


def retrain(registry: Registry, params: Params) -> dict[str, Any]:
    """One round; returns its record: `promoted`, `held`, `rejected`, or `unchanged` where nothing new was learned.

    Raises InputError where another one runs, or where code or params are not committed.
    """
    root = registry.root
    with _alone(root):
        _recover(root)
        _refuse_changes(root)
        _commit(root, "Decisions so far", str(RECORDS))
        begun = _begin(registry, params)
        if begun["until"]:
            cut_window(root, params.lifecycle.window_days, date.fromisoformat(begun["until"]))
            dvc(root, "add", str(WINDOW))
        stream(root, [*DVC, "repro"])
        _commit(root, "The pipeline run on new data")
        version = registry.register()
        outcome = _decide(registry, params, version, begun["champion"])
        if outcome["outcome"] != "unchanged":
            write_record(root, "retrain", {"recommender": registry.name, **begun, **outcome}, version.number)
            _commit(root, f"{registry.name} {version.number}: {outcome['outcome']}")
        (root / JOURNAL).unlink()
    return outcome


def _decide(registry: Registry, params: Params, version: Version, before: str | None) -> dict[str, Any]:
    """before: the champion when the round began, by its bundle: who was judged, also where it was replaced since."""
    about = {"version": version.number, "bundle": version.bundle}
    if version.bundle == before:
        return {**about, "outcome": "unchanged"}
    if withdrawn(registry, version):
        return {**about, "outcome": "held", "reason": "was rolled back, and the pipeline made the same again"}
    against = registry.bundle(registry.version(before)) if before else None
    judged = gate(registry.root, params, registry.bundle(version), against, registry.name)
    about |= {"gate": judged["file"], "reason": judged["reason"]}
    if judged["verdict"] != "promote":
        return {**about, "outcome": {"hold": "held", "reject": "rejected"}[judged["verdict"]]}
    present = champion(registry)
    if (present.bundle if present else None) not in (before, version.bundle):
        return {**about, "outcome": "held", "reason": "another champion took over meanwhile"}
    promoted = promote(registry, version, allowed_by(judged))
    return {**about, "outcome": "promoted", "promotion": promoted["record"], "bento": bento(registry.root, version)}


def bento(root: Path, version: Version) -> str | None:
    """Build the bento of the bundle that the pipeline just made, tagged with its version; once. None where the extra
    `serve` is not installed."""
    if importlib.util.find_spec("bentoml") is None:
        return None
    tag = f"nextclick:{version.number}"
    there = subprocess.run([sys.executable, "-m", "bentoml", "get", tag], cwd=root, capture_output=True)
    if there.returncode:
        if not (root / "build/requirements.txt").is_file():
            stream(root, ["make", "build/requirements.txt"])
        stream(root, [sys.executable, "-m", "bentoml", "build", "--version", version.number])
    return tag


def _begin(registry: Registry, params: Params) -> dict[str, Any]:
    """What the round goes by: the window's end, and the champion. A round that was killed goes on by its own."""
    journal = registry.root / JOURNAL
    if not journal.is_file():
        present = champion(registry)
        live = Path(params.ingest.path) == WINDOW
        begun = {
            "until": newest_day(registry.root).isoformat() if live else None,
            "champion": present.bundle if present else None,
        }
        write_json(journal, begun)
    return json.loads(journal.read_text())


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(locked(root / LOCK, blocking=False))
        except BlockingIOError:
            raise InputError(f"{root / LOCK}: another retraining runs") from None
        yield


def _recover(root: Path) -> None:
    """What a killed round left half-written goes: locks of git and DVC, and the files that DVC writes in place. Nothing
    is lost: the stages that had ended are in DVC's run cache."""
    if not (root / JOURNAL).is_file():
        return
    while locks := [*root.glob(".git/*.lock"), *root.glob(".git/refs/**/*.lock")]:
        for lock in locks:
            with suppress(FileNotFoundError):
                if time.time() - lock.stat().st_mtime > LEFT_SECONDS:  # who else holds it has time to end
                    lock.unlink()
        time.sleep(0.5)
    reads = root / ".dvc/tmp/rwlock"
    try:
        json.loads(reads.read_text())
    except FileNotFoundError:
        pass
    except ValueError:
        reads.unlink()
    for name in ("dvc.lock", f"{WINDOW}.dvc"):
        if git(root, "ls-tree", "--name-only", "HEAD", "--", name).strip():
            git(root, "checkout", "HEAD", "--", name)
        else:
            (root / name).unlink(missing_ok=True)


def _refuse_changes(root: Path) -> None:
    """What a version was made of has to be in a commit."""
    changed = [line[3:] for line in git(root, "status", "--porcelain", "--untracked-files=no").splitlines()]
    strange = [name for name in changed if not name.startswith(MADE)]
    if strange:
        raise InputError(f"{', '.join(strange[:5])}: commit or undo these changes first")


def _commit(root: Path, message: str, *names: str) -> None:
    """names: the files and folders that are committed, where they changed; the default: MADE."""
    there = [name for name in names or MADE if (root / name).exists()]
    if there and git(root, "status", "--porcelain", "--", *there).strip():
        git(root, "add", "--", *there)
        git(root, "commit", "--quiet", "-m", message)
