"""What the service is told: which version answers, which is only logged, which answers a share of the sessions.

The pointer is written first, since that is what visitors wait for; the tag and the record follow. Each step may be
repeated: one that was done already changes nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nextclick.errors import InputError
from nextclick.lifecycle.records import read_records, write_record
from nextclick.lifecycle.registry import Registry, Version
from nextclick.ranking.bundle import load_bundle
from nextclick.serving.pointer import Placed, Pointer, Split


def champion(registry: Registry) -> Version | None:
    """The version that answers; None while the service still runs on the pipeline's own bundle."""
    history = Pointer.read(registry.root, registry.name).history
    return registry.version(Path(history[-1][0]).name) if history else None


def promote(registry: Registry, version: Version, evidence: dict[str, Any]) -> dict[str, Any]:
    """Let a version take over. evidence: what the gate saw, or why a person does without."""
    history = Pointer.read(registry.root, registry.name).history
    return _take_over(registry, "promote", version, history, evidence)


def promotable(registry: Registry, version: Version) -> dict[str, Any]:
    """The gate's record that lets a version take the present champion's place.

    Raises InputError where there is none, or where its verdict is another.
    """
    present = champion(registry)
    against = present.bundle if present else None
    judged = [
        record
        for record in read_records(registry.root, "gate")
        if record["challenger"] == version.bundle and record["champion"] == against
    ]
    asked = f"{registry.name} {version.number} against {present.number if present else 'the baselines'}"
    if not judged:
        raise InputError(f"{asked}: no verdict yet; run `nextclick gate {version.number}`")
    if judged[-1]["verdict"] != "promote":
        raise InputError(f"{asked}: the gate says {judged[-1]['verdict']}: {judged[-1]['reason']}")
    return {"gate": judged[-1]["file"], "reason": judged[-1]["reason"], "promised": judged[-1]["metric"]["challenger"]}


def promise(root: Path, bundle: str | None) -> float | None:
    """The deciding metric that the gate saw when it let a bundle take over; None where a person did."""
    records = [record for record in read_records(root, "promote") if record["bundle"] == bundle]
    return records[-1].get("promised") if records else None


def rollback(registry: Registry, to: Version | None, evidence: dict[str, Any]) -> dict[str, Any]:
    """Back to the champion before the present one, or to a version of one's choice.

    Raises InputError where there is nothing to go back to.
    """
    history = Pointer.read(registry.root, registry.name).history
    if to is None:
        if len(history) < 2:
            raise InputError(f"{registry.name}: there was no champion before this one; name a version with --to")
        to, history = registry.version(Path(history[-2][0]).name), history[:-2]
    return _take_over(registry, "rollback", to, history, evidence)


def shadow(registry: Registry, version: Version | None) -> dict[str, Any]:
    """Let a version compute beside the champion, or none."""
    before = Pointer.read(registry.root, registry.name)
    placed = _placed(registry, version) if version else None
    before.model_copy(update={"shadow": placed}).write(registry.root, registry.name)
    return _record(registry, "shadow", version, {})


def split(registry: Registry, version: Version | None, share: float) -> dict[str, Any]:
    """Let a version answer a share of the sessions, or none."""
    before = Pointer.read(registry.root, registry.name)
    if version and version.bundle == (before.version or load_bundle(registry.root / before.bundle)[1]["version"]):
        raise InputError(f"{registry.name} {version.number} is the champion: a split needs another version")
    placed = Split(**_placed(registry, version).model_dump(), share=share) if version else None
    before.model_copy(update={"split": placed}).write(registry.root, registry.name)
    return _record(registry, "split", version, {"share": share if version else 0.0})


def _take_over(
    registry: Registry, kind: str, version: Version, history: tuple[tuple[str, str], ...], evidence: dict[str, Any]
) -> dict[str, Any]:
    """The record is named by the moment of the change, so that a run that was killed writes the same again."""
    placed = _placed(registry, version)
    if not (history and history[-1][0] == placed.bundle):
        history = (*history, (placed.bundle, datetime.now(UTC).isoformat()))
    # neither shadow nor split is kept: what was compared with the old champion says nothing of the new one
    pointer = Pointer(**placed.model_dump(), history=history)
    if Pointer.read(registry.root, registry.name).history != history:
        pointer.write(registry.root, registry.name)
    registry.assign(version)
    before = Path(history[-2][0]).name if len(history) > 1 else None
    moment = history[-1][1].replace(":", "").replace("+0000", "Z")
    return _record(registry, kind, version, {"before": before, **evidence}, moment)


def _placed(registry: Registry, version: Version) -> Placed:
    folder = registry.bundle(version).relative_to(registry.root)
    return Placed(bundle=str(folder), version=version.bundle)


def _record(
    registry: Registry, kind: str, version: Version | None, evidence: dict[str, Any], moment: str | None = None
) -> dict[str, Any]:
    about = {
        "recommender": registry.name,
        "version": version.number if version else None,
        "bundle": version.bundle if version else None,
        "commit": version.commit if version else None,
        **evidence,
    }
    path = write_record(registry.root, kind, about, moment)
    return {**about, "record": str(path.relative_to(registry.root))}
