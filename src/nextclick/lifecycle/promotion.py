"""What the service is told: which version answers, which is only logged, which answers a share of the sessions.

The pointer is written first, since that is what visitors wait for; the tag and the record follow. Each step may be
repeated: one that was done already changes nothing. Who reads the pointer to change it holds it alone until it is
written, so that of two at once neither undoes what the other did.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nextclick.bundle.bundle import load_bundle
from nextclick.bundle.pointer import FOLDER, DeployedBundle, Pointer, TrafficSplit
from nextclick.errors import InputError
from nextclick.files import locked
from nextclick.lifecycle.records import read_record, read_records, write_record
from nextclick.lifecycle.registry import Registry, Version


def champion(registry: Registry) -> Version | None:
    """The version that answers; None while the service still runs on the pipeline's own bundle."""
    history = Pointer.read(registry.root, registry.name).history
    return registry.version(Path(history[-1][0]).name) if history else None


def is_champion(registry: Registry, version: Version) -> bool:
    """Whether it answers, and nothing of its promotion is left to be done."""
    history = Pointer.read(registry.root, registry.name).history
    if champion(registry) != version or registry.staged() != version.number:
        return False
    return _record_of(registry, history[-1][1]) is not None


def promote(registry: Registry, version: Version, evidence: dict[str, Any]) -> dict[str, Any]:
    """Let a version take over. evidence: what the gate saw, or why a person does without."""
    registry.bundle(version)  # which may have to be fetched, before anybody waits
    with _alone(registry):
        pointer = Pointer.read(registry.root, registry.name)
        withdrawn = tuple(bundle for bundle in pointer.withdrawn if bundle != version.bundle)
        return _take_over(registry, "promote", version, pointer.history, withdrawn, evidence)


def promotable(registry: Registry, version: Version) -> dict[str, Any]:
    """The gate's record that lets a version take the present champion's place.

    Raises InputError where there is none, where its verdict is another, or where the version was rolled back since.
    """
    present = champion(registry)
    against = present.bundle if present else None
    if withdrawn(registry, version):
        raise InputError(f"{registry.name} {version.number}: was rolled back; to promote it again say why, --reason")
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
    return allowed_by(judged[-1])


def allowed_by(judged: dict[str, Any]) -> dict[str, Any]:
    """The evidence of a promotion that a record of the gate allows."""
    metric = judged["metric"]
    return {
        "gate": judged["file"],
        "reason": judged["reason"],
        "promised": metric["challenger"],
        "metric": metric["name"],
    }


def withdrawn(registry: Registry, version: Version) -> bool:
    """Whether it was rolled back, and nobody has promoted it since."""
    return version.bundle in Pointer.read(registry.root, registry.name).withdrawn


def promise(root: Path, bundle: str | None, metric: str) -> float | None:
    """What the gate saw of a metric when it let a bundle take over; None where a person did, or it saw another."""
    records = [record for record in read_records(root, "promote") if record["bundle"] == bundle]
    return records[-1].get("promised") if records and records[-1].get("metric") == metric else None


def rollback(registry: Registry, to: Version | None, evidence: dict[str, Any]) -> dict[str, Any]:
    """Back to the champion before the present one, or to a version of one's choice.

    Raises InputError where there is nothing to go back to.
    """
    with _alone(registry):
        return _roll_back(registry, to, evidence)


def _roll_back(registry: Registry, to: Version | None, evidence: dict[str, Any]) -> dict[str, Any]:
    pointer = Pointer.read(registry.root, registry.name)
    present, earlier = champion(registry), pointer.history[:-1]
    if to is None and not earlier:
        before = "before this one" if present else "yet"
        raise InputError(f"{registry.name}: there was no champion {before}; name a version with --to")
    to = to or registry.version(Path(earlier[-1][0]).name)
    if to == present:
        return _take_over(registry, "rollback", to, pointer.history, pointer.withdrawn, evidence)
    # one that goes back again comes to what was before the version that answers now
    folders = [folder for folder, _ in earlier]
    folder = _placed(registry, to).bundle
    kept = earlier[: len(folders) - 1 - folders[::-1].index(folder)] if folder in folders else earlier
    gone = {*pointer.withdrawn, *([present.bundle] if present else [])} - {to.bundle}
    return _take_over(registry, "rollback", to, kept, tuple(sorted(gone)), evidence, present)


def shadow(registry: Registry, version: Version | None) -> dict[str, Any]:
    """Let a version compute beside the champion, or none."""
    placed = _placed(registry, version) if version else None
    with _alone(registry):
        before = Pointer.read(registry.root, registry.name)
        before.model_copy(update={"shadow": placed}).write(registry.root, registry.name)
    return _record(registry, "shadow", version, {})


def split(registry: Registry, version: Version | None, share: float) -> dict[str, Any]:
    """Let a version answer a share of the sessions, or none."""
    with _alone(registry):
        before = Pointer.read(registry.root, registry.name)
        if version and not before.history:
            raise InputError(f"{registry.name}: no version is champion yet, to be compared with; promote one first")
        if version and version.bundle == (before.version or load_bundle(registry.root / before.bundle)[1]["version"]):
            raise InputError(f"{registry.name} {version.number} is the champion: a split needs another version")
        placed = TrafficSplit(**_placed(registry, version).model_dump(), share=share) if version else None
        before.model_copy(update={"split": placed}).write(registry.root, registry.name)
    return _record(registry, "split", version, {"share": share if version else 0.0})


def _alone(registry: Registry) -> AbstractContextManager[None]:
    return locked(registry.root / FOLDER / f".{registry.name}.lock")


def _take_over(
    registry: Registry,
    kind: str,
    version: Version,
    history: tuple[tuple[str, str], ...],
    withdrawn: tuple[str, ...],
    evidence: dict[str, Any],
    before: Version | None = None,
) -> dict[str, Any]:
    """The record is named by the moment of the change, so that a run that was killed writes the same, and one that
    comes again changes nothing. before: the champion that goes; the default: the last of the history."""
    placed = _placed(registry, version)
    if not (history and history[-1][0] == placed.bundle):
        history = (*history, (placed.bundle, datetime.now(UTC).isoformat()))
    # neither shadow nor split is kept: what was compared with the old champion says nothing of the new one
    pointer = Pointer(**placed.model_dump(), history=history, withdrawn=withdrawn)
    if Pointer.read(registry.root, registry.name).history != history:
        pointer.write(registry.root, registry.name)
    registry.assign(version)
    number = before.number if before else Path(history[-2][0]).name if len(history) > 1 else None
    if there := _record_of(registry, history[-1][1]):
        return there
    return _record(registry, kind, version, {"before": number, **evidence}, _record_name(history[-1][1]))


def _record_of(registry: Registry, change: str) -> dict[str, Any] | None:
    """change: the moment at which a champion took over, as the pointer's history has it."""
    found = (read_record(registry.root, kind, _record_name(change)) for kind in ("promote", "rollback"))
    return next(filter(None, found), None)


def _record_name(change: str) -> str:
    return change.replace(":", "").replace("+0000", "Z")


def _placed(registry: Registry, version: Version) -> DeployedBundle:
    folder = registry.bundle(version).relative_to(registry.root)
    return DeployedBundle(bundle=str(folder), version=version.bundle)


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
