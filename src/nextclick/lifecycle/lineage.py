"""Traces an answer to everything that made it, and reproduces a version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from pydantic import Field

from nextclick.bundle.bundle import load_bundle
from nextclick.errors import InputError
from nextclick.lifecycle.git_dvc import DVC, dvc, git
from nextclick.lifecycle.records import Record, read_records
from nextclick.lifecycle.registry import Registry, Version
from nextclick.logs.prediction_log import PREDICTIONS, SHADOW, logged_answers
from nextclick.result import Result


class Provenance(Result):
    """What a version was made of. data, code: the hash of every file that its stages read and wrote, by path.
    decisions: the paths of the records that concern it."""

    recommender: str
    version: str
    bundle: str
    commit: str
    params: dict[str, Any]
    data: dict[str, str]
    code: dict[str, str]
    decisions: list[str]


class AnswerLineage(Result):
    """An answer, as the prediction log has it, and what made it. logged: the file that holds it. shadows: the bundles
    that computed the same answer unseen. others: further answers of the same request."""

    request_id: str
    session_id: str
    moment: str
    shown: list[str]
    degraded: str | None
    logged: str
    shadows: list[str]
    others: list[dict[str, str]] = Field(default_factory=list)
    made_of: Provenance

    def to_dict(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True, exclude={"made_of"}) | self.made_of.to_dict()


class Reproduction(Result):
    """A version beside the same version made once more. differing: the bundle's files that are not equal."""

    recommender: str
    version: str
    commit: str
    bundle: str
    made: str  # the new bundle's version
    same: bool
    differing: list[str]


def lineage(registry: Registry, request_id: str, session_id: str | None = None) -> AnswerLineage:
    """The lineage of the newest answer with that request id, of one session if `session_id` is given. A request may
    have several: a batch has one id for all its answers, and a client may use an id a second time.

    Raises InputError if the prediction log does not hold the answer, or if its bundle is no version.
    """
    answers = logged_answers(registry.root, PREDICTIONS, request_id, session_id)
    if not answers:
        of = f" of session {session_id}" if session_id else ""
        raise InputError(f"{registry.root / PREDICTIONS}: holds no answer {request_id}{of}")
    newest, *others = answers
    version = registry.of_bundle(newest.bundle)
    if version is None:
        raise InputError(
            f"{request_id}: bundle {newest.bundle} is no version of {registry.name}; `nextclick register` names one"
        )
    shadows = logged_answers(registry.root, SHADOW, request_id, newest.session_id)
    answer = AnswerLineage(
        request_id=request_id,
        session_id=newest.session_id,
        moment=newest.moment,
        shown=newest.shown,
        degraded=newest.degraded,
        logged=str(Path(newest.file).relative_to(registry.root)),
        shadows=[row.bundle for row in shadows if row.moment == newest.moment],
        made_of=made_of(registry, version),
    )
    same_request = [{"session_id": other.session_id, "moment": other.moment} for other in others]
    return answer.model_copy(update={"others": same_request}) if others else answer


def made_of(registry: Registry, version: Version) -> Provenance:
    """What a version was made of. Raises InputError if git does not have its commit."""
    lock = yaml.safe_load(git(registry.root, "show", f"{version.commit}:dvc.lock"))
    params = yaml.safe_load(git(registry.root, "show", f"{version.commit}:params.yaml"))
    hashes = {
        part["path"]: part["md5"]
        for stage in lock["stages"].values()
        for part in (*stage.get("deps", []), *stage.get("outs", []))
        if "md5" in part
    }
    kinds = ("gate", "promote", "rollback", "retrain", "shadow", "split", "forget")
    its_own = {version.bundle, f"{registry.name}@{version.number}"}
    return Provenance(
        recommender=registry.name,
        version=version.number,
        bundle=version.bundle,
        commit=version.commit,
        params=params,
        data={path: md5 for path, md5 in hashes.items() if path.startswith("data/")},
        code={path: md5 for path, md5 in hashes.items() if path.startswith(("src/", "notebooks/"))},
        decisions=[record.file for record in read_records(registry.root, Record, *kinds) if record.names & its_own],
    )


def reproduce(registry: Registry, version: Version) -> Reproduction:
    """Make a version once more, in a clean clone at its commit, from raw data on, and compare every file of the bundle.

    Raises InputError if the pipeline fails there."""
    artifact = registry.artifact
    with TemporaryDirectory(prefix="nextclick-reproduce-") as scratch:
        clone = Path(scratch) / "clone"
        git(registry.root, "clone", "--quiet", "--no-checkout", str(registry.root), str(clone))
        git(clone, "checkout", "--quiet", version.commit)
        # the same libraries, on the clone's own source
        (clone / ".venv").symlink_to(Path(sys.executable).parents[1])
        cache = dvc(registry.root, "cache", "dir").strip()
        dvc(clone, "config", "--local", "cache.dir", cache)
        raw = [str(path.relative_to(clone)) for path in clone.glob("data/raw/*.dvc")]
        if raw:
            dvc(clone, "checkout", *raw)
        environment = {**os.environ, "PYTHONPATH": str(clone / "src")}
        stages = yaml.safe_load((clone / "dvc.lock").read_text())["stages"]
        outs = {out["path"]: name for name, stage in stages.items() for out in stage.get("outs", [])}
        command = [*DVC, "repro", "--force", outs[str(artifact)]]
        done = subprocess.run(command, cwd=clone, env=environment, stdout=sys.stderr)
        if done.returncode:
            raise InputError(f"{registry.name} {version.number}: `dvc repro` ended with {done.returncode}")
        made = load_bundle(clone / artifact)[1]
    registered = load_bundle(registry.bundle(version))[1]
    files = registered["files"]
    return Reproduction(
        recommender=registry.name,
        version=version.number,
        commit=version.commit,
        bundle=registered["version"],
        made=made["version"],
        same=made == registered,
        differing=sorted(name for name in files if files[name] != made["files"].get(name)),
    )
