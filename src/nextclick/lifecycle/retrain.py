"""Unattended retraining: new data, `dvc repro`, the gate, and only then the service. It may be killed at
every step: the next run continues the round and ends the same."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from nextclick.errors import InputError
from nextclick.files import locked, write_json
from nextclick.lifecycle.gate import gate
from nextclick.lifecycle.git_dvc import DVC, dvc, git, stream
from nextclick.lifecycle.promotion import allowed_by, champion, promote, withdrawn
from nextclick.lifecycle.records import RECORDS, Record, write_record
from nextclick.lifecycle.registry import Registry, Version
from nextclick.lifecycle.training_window import TRAINING_WINDOW, cut_window
from nextclick.logs.event_log import newest_day
from nextclick.params import Params
from nextclick.result import Result

JOURNAL, LOCK = Path("models/retrain.json"), Path("models/.retrain.lock")
STALE_LOCK_SECONDS = 10  # after which a lock of git counts as left behind
# what git keeps in its folder while a person has something begun
UNFINISHED = {
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
    "BISECT_LOG": "a bisect",
}
COMMITTED = ("dvc.lock", "reports", f"{TRAINING_WINDOW}.dvc")  # what a retraining commits


class Round(Result):
    """What a round of retraining starts from. until: the end of its window (ISO date), None if ingest.path is no live
    window. champion: the bundle of the champion, None if there is none."""

    until: str | None = None
    champion: str | None = None


@dataclass(frozen=True)
class RetrainResult:
    """outcome: promoted, held, rejected, or `unchanged` if nothing new was learned. gate, promotion: where their
    records lie. bento: the tag of the bento that was built."""

    version: Version
    outcome: str
    reason: str | None = None
    gate: str | None = None
    promotion: str | None = None
    bento: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        about: dict[str, str | None] = {"version": self.version.number, "bundle": self.version.bundle}
        if self.gate is None:
            return {**about, "outcome": self.outcome, **({"reason": self.reason} if self.reason else {})}
        about |= {"gate": self.gate, "reason": self.reason, "outcome": self.outcome}
        return {**about, "promotion": self.promotion, "bento": self.bento} if self.promotion else about


def retrain(registry: Registry, params: Params) -> RetrainResult:
    """Run one round. Raises InputError if another one runs, or if code or params are not committed."""
    root = registry.root
    with _alone(root):
        _refuse_unfinished(root)
        _recover(root)
        _refuse_changes(root)
        _commit(root, "Decisions so far", str(RECORDS))
        begun = _begin(registry, params)
        if begun.until:
            cut_window(root, params.lifecycle.window_days, date.fromisoformat(begun.until))
            dvc(root, "add", str(TRAINING_WINDOW))
        stream(root, [*DVC, "repro"])
        _commit(root, "The pipeline run on new data")
        version = registry.register()
        result = _decide(registry, params, version, begun.champion)
        if result.outcome != "unchanged":
            about = {"recommender": registry.name, **begun.to_dict(), **result.to_dict()}
            write_record(root, "retrain", Record.model_validate(about), version.number)
            _commit(root, f"{registry.name} {version.number}: {result.outcome}")
        (root / JOURNAL).unlink()
    return result


def _decide(registry: Registry, params: Params, version: Version, before: str | None) -> RetrainResult:
    """before: the bundle of the champion when the round began, which the challenger is compared with even if it was
    replaced since."""
    if version.bundle == before:
        return RetrainResult(version, "unchanged")
    if withdrawn(registry, version):
        return RetrainResult(version, "held", "was rolled back, and the pipeline made the same again")
    against = registry.bundle(registry.version(before)) if before else None
    record = gate(registry.root, params, registry.bundle(version), against, registry.name)
    if record.verdict != "promote":
        outcome = "held" if record.verdict == "hold" else "rejected"
        return RetrainResult(version, outcome, record.reason, gate=record.file)
    present = champion(registry)
    if (present.bundle if present else None) not in (before, version.bundle):
        return RetrainResult(version, "held", "another champion took over meanwhile", gate=record.file)
    promotion = promote(registry, version, allowed_by(record)).record
    return RetrainResult(
        version, "promoted", record.reason, gate=record.file, promotion=promotion, bento=bento(registry.root, version)
    )


def bento(root: Path, version: Version) -> str | None:
    """Build the bento of the bundle that the pipeline just made, unless it exists; returns its tag, which is the
    version's. None if the extra `serve` is not installed."""
    if importlib.util.find_spec("bentoml") is None:
        return None
    tag = f"nextclick:{version.number}"
    existing = subprocess.run([sys.executable, "-m", "bentoml", "get", tag], cwd=root, capture_output=True)
    if existing.returncode:
        if not (root / "build/requirements.txt").is_file():
            stream(root, ["make", "build/requirements.txt"])
        stream(root, [sys.executable, "-m", "bentoml", "build", "--version", version.number])
    return tag


def _begin(registry: Registry, params: Params) -> Round:
    """What the round starts from; a round that was killed continues from its own journal."""
    journal = registry.root / JOURNAL
    if not journal.is_file():
        present = champion(registry)
        live = Path(params.ingest.path) == TRAINING_WINDOW
        begun = Round(
            until=newest_day(registry.root).isoformat() if live else None,
            champion=present.bundle if present else None,
        )
        write_json(journal, begun.to_dict())
    try:
        return Round.from_dict(json.loads(journal.read_text()))
    except ValueError as error:
        raise InputError(
            f"{journal}: expected the JSON of the round that it says is under way, got {journal.read_text()[:40]!r}. "
            "Remove it, and the next `nextclick retrain` begins a new round"
        ) from error


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(locked(root / LOCK, blocking=False))
        except BlockingIOError:
            raise InputError(f"{root / LOCK}: another retraining runs") from None
        yield


def _recover(root: Path) -> None:
    """Delete what a killed round left half-written: locks of git and DVC, and the files that DVC writes in place.
    Nothing is lost: the stages that had ended are in DVC's run cache."""
    if not (root / JOURNAL).is_file():
        return
    while locks := [*root.glob(".git/*.lock"), *root.glob(".git/refs/**/*.lock")]:
        for lock in locks:
            with suppress(FileNotFoundError):
                if time.time() - lock.stat().st_mtime > STALE_LOCK_SECONDS:  # another owner has had time to end
                    lock.unlink()
        time.sleep(0.5)
    reads = root / ".dvc/tmp/rwlock"
    try:
        json.loads(reads.read_text())
    except FileNotFoundError:
        pass
    except ValueError:
        reads.unlink()
    for name in ("dvc.lock", f"{TRAINING_WINDOW}.dvc"):
        if git(root, "ls-tree", "--name-only", "HEAD", "--", name).strip():
            git(root, "checkout", "HEAD", "--", name)
        else:
            (root / name).unlink(missing_ok=True)


def _refuse_unfinished(root: Path) -> None:
    """Raises InputError if a commit now would conclude what a person began, or would be on no branch."""
    folder = Path(git(root, "rev-parse", "--absolute-git-dir").strip())
    for name, said in UNFINISHED.items():
        if (folder / name).exists():
            raise InputError(f"{root}: {said} is under way; conclude or abort it first, then run this again")
    if git(root, "branch", "--show-current").strip() == "":
        raise InputError(f"{root}: no branch is checked out, so commits would be lost; run `git switch` to one first")


def _refuse_changes(root: Path) -> None:
    """Raises InputError if something that a version is made of is in no commit."""
    changed = [line[3:] for line in git(root, "status", "--porcelain", "--untracked-files=no").splitlines()]
    uncommitted = [name for name in changed if not name.startswith(COMMITTED)]
    if uncommitted:
        raise InputError(f"{', '.join(uncommitted[:5])}: commit or undo these changes first")


def _commit(root: Path, message: str, *names: str) -> None:
    """Commit those of the files and folders that changed; the default: COMMITTED."""
    existing = [name for name in names or COMMITTED if (root / name).exists()]
    if existing and git(root, "status", "--porcelain", "--", *existing).strip():
        git(root, "add", "--", *existing)
        git(root, "commit", "--quiet", "-m", message)
