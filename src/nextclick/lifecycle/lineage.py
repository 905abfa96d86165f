"""From an answer back to everything that made it, and from a version to the same version made again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from nextclick.bundle.bundle import load_bundle
from nextclick.errors import InputError
from nextclick.lifecycle.git_dvc import DVC, dvc, git
from nextclick.lifecycle.records import read_records
from nextclick.lifecycle.registry import Registry, Version
from nextclick.logs.prediction_log import PREDICTIONS, SHADOW, logged_answers


def lineage(registry: Registry, request_id: str, session_id: str | None = None) -> dict[str, Any]:
    """Of one answer: the newest of that id, with all `others` of it where there are some, since the answers of a batch
    have one id and a client may send the same again. session_id: asks for those of one session only.

    Raises InputError where the prediction log does not hold it, or its bundle is no version.
    """
    found = logged_answers(registry.root, PREDICTIONS, request_id, session_id)
    if not found:
        of = f" of session {session_id}" if session_id else ""
        raise InputError(f"{registry.root / PREDICTIONS}: holds no answer {request_id}{of}")
    newest, *others = found
    shadows = [
        row.bundle
        for row in logged_answers(registry.root, SHADOW, request_id, newest.session_id)
        if row.moment == newest.moment
    ]
    answer: dict[str, Any] = {
        "request_id": request_id,
        "session_id": newest.session_id,
        "moment": newest.moment,
        "shown": newest.shown,
        "degraded": newest.degraded,
        "logged": str(Path(newest.file).relative_to(registry.root)),
        "shadows": shadows,
    }
    if others:
        answer["others"] = [{"session_id": other.session_id, "moment": other.moment} for other in others]
    version = registry.of_bundle(newest.bundle)
    if version is None:
        raise InputError(
            f"{request_id}: bundle {newest.bundle} is no version of {registry.name}; `nextclick register` names one"
        )
    return {**answer, **made_of(registry, version)}


def made_of(registry: Registry, version: Version) -> dict[str, Any]:
    """What a version was made of: commit, params, and the hash of every file that its stages read and wrote."""
    lock = yaml.safe_load(git(registry.root, "show", f"{version.commit}:dvc.lock"))
    params = yaml.safe_load(git(registry.root, "show", f"{version.commit}:params.yaml"))
    hashes = {
        part["path"]: part["md5"]
        for stage in lock["stages"].values()
        for part in (*stage.get("deps", []), *stage.get("outs", []))
        if "md5" in part
    }
    mine = [
        record["file"]
        for record in read_records(registry.root, "gate", "promote", "rollback", "retrain", "shadow", "split", "forget")
        if version.bundle in (record.get("bundle"), record.get("challenger"))
        or f"{registry.name}@{version.number}" in record.get("versions", [])
    ]
    return {
        "recommender": registry.name,
        "version": version.number,
        "bundle": version.bundle,
        "commit": version.commit,
        "params": params,
        "data": {path: md5 for path, md5 in hashes.items() if path.startswith("data/")},
        "code": {path: md5 for path, md5 in hashes.items() if path.startswith(("src/", "notebooks/"))},
        "decisions": mine,
    }


def reproduce(registry: Registry, version: Version) -> dict[str, Any]:
    """Make a version again, in a clean clone at its commit, from raw data on, and compare every file of the bundle."""
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
    kept = load_bundle(registry.bundle(version))[1]
    differing = sorted(name for name in kept["files"] if kept["files"][name] != made["files"].get(name))
    return {
        "recommender": registry.name,
        "version": version.number,
        "commit": version.commit,
        "bundle": kept["version"],
        "made": made["version"],
        "same": made == kept,
        "differing": differing,
    }
