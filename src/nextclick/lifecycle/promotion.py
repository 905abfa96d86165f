"""Deploys versions: one answers, one may only be logged, one may answer a share of the sessions.

The pointer is written first, since that is what visitors wait for; the tag and the record follow. Each step is
idempotent. A lock covers each change from reading the pointer to writing it, so that of two at once neither undoes the
other.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from nextclick.bundle.bundle import load_bundle
from nextclick.bundle.pointer import FOLDER, Change, DeployedBundle, Pointer, TrafficSplit
from nextclick.errors import InputError
from nextclick.files import locked
from nextclick.lifecycle.records import DeploymentRecord, GateRecord, Grounds, read_record, read_records, write_record
from nextclick.lifecycle.registry import Registry, Version


def champion(registry: Registry) -> Version | None:
    """The version that answers; None while the service runs on the pipeline's own bundle."""
    history = Pointer.read(registry.root, registry.name).history
    return registry.version(Path(history[-1][0]).name) if history else None


def is_champion(registry: Registry, version: Version) -> bool:
    """Whether a version answers, and its promotion is complete."""
    history = Pointer.read(registry.root, registry.name).history
    if champion(registry) != version or registry.staged() != version.number:
        return False
    return _record_of(registry, history[-1][1]) is not None


def promote(registry: Registry, version: Version, grounds: Grounds) -> DeploymentRecord:
    """Let a version take over."""
    registry.bundle(version)  # which may have to be fetched, before the lock is held
    with _alone(registry):
        pointer = Pointer.read(registry.root, registry.name)
        withdrawn = tuple(bundle for bundle in pointer.withdrawn if bundle != version.bundle)
        return _take_over(registry, "promote", version, pointer.history, withdrawn, grounds)


def promotable(registry: Registry, version: Version) -> Grounds:
    """The grounds on which the gate lets a version take the present champion's place.

    Raises InputError if there is no verdict, if it is another, or if the version was rolled back since.
    """
    present = champion(registry)
    against = present.bundle if present else None
    if withdrawn(registry, version):
        raise InputError(f"{registry.name} {version.number}: was rolled back; to promote it again say why, --reason")
    verdicts = [
        record
        for record in read_records(registry.root, GateRecord, "gate")
        if (record.challenger, record.champion) == (version.bundle, against)
    ]
    asked = f"{registry.name} {version.number} against {present.number if present else 'the baselines'}"
    if not verdicts:
        raise InputError(f"{asked}: no verdict yet; run `nextclick gate {version.number}`")
    if verdicts[-1].verdict != "promote":
        raise InputError(f"{asked}: the gate says {verdicts[-1].verdict}: {verdicts[-1].reason}")
    return allowed_by(verdicts[-1])


def allowed_by(record: GateRecord) -> Grounds:
    """The grounds of a promotion that a record of the gate allows."""
    if record.metric is None:
        raise InputError(f"{record.file}: has no metric, on which a promotion could rest")
    promised, metric = record.metric.challenger, record.metric.name
    return Grounds(gate=record.file, reason=record.reason, promised=promised, metric=metric)


def withdrawn(registry: Registry, version: Version) -> bool:
    """Whether it was rolled back, and nobody has promoted it since."""
    return version.bundle in Pointer.read(registry.root, registry.name).withdrawn


def promised_by_gate(root: Path, bundle: str | None, metric: str) -> float | None:
    """The value of a metric that the gate saw when it let a bundle take over; None if a person did, or if the gate saw
    another metric."""
    records = [record for record in read_records(root, DeploymentRecord, "promote") if record.bundle == bundle]
    return records[-1].promised if records and records[-1].metric == metric else None


def rollback(registry: Registry, to: Version | None, grounds: Grounds) -> DeploymentRecord:
    """Return to the champion before the present one, or to a version of one's choice.

    Raises InputError if there is no earlier champion.
    """
    with _alone(registry):
        return _roll_back(registry, to, grounds)


def _roll_back(registry: Registry, to: Version | None, grounds: Grounds) -> DeploymentRecord:
    pointer = Pointer.read(registry.root, registry.name)
    present, earlier = champion(registry), pointer.history[:-1]
    rolled_back = pointer.change is not None and pointer.change.kind == "rollback"
    if to is None and rolled_back and _record_of(registry, pointer.history[-1][1]) is None:
        to = present  # a run that was killed had come so far, and this one ends it
    if to is None and not earlier:
        before = "before this one" if present else "yet"
        raise InputError(f"{registry.name}: there was no champion {before}; name a version with --to")
    to = to or registry.version(Path(earlier[-1][0]).name)
    if to == present:
        return _take_over(registry, "rollback", to, pointer.history, pointer.withdrawn, grounds)
    # a second rollback returns to the champion before the version that answers now
    folders = [folder for folder, _ in earlier]
    folder = _deployed(registry, to).bundle
    remaining = earlier[: len(folders) - 1 - folders[::-1].index(folder)] if folder in folders else earlier
    withdrawn = {*pointer.withdrawn, *([present.bundle] if present else [])} - {to.bundle}
    return _take_over(registry, "rollback", to, remaining, tuple(sorted(withdrawn)), grounds, present)


def shadow(registry: Registry, version: Version | None) -> DeploymentRecord:
    """Let a version compute beside the champion, or none."""
    deployed = _deployed(registry, version) if version else None
    with _alone(registry):
        before = Pointer.read(registry.root, registry.name)
        before.model_copy(update={"shadow": deployed}).write(registry.root, registry.name)
    return _record(registry, "shadow", version)


def split(registry: Registry, version: Version | None, share: float) -> DeploymentRecord:
    """Let a version answer a share of the sessions, or none."""
    with _alone(registry):
        before = Pointer.read(registry.root, registry.name)
        if version and not before.history:
            raise InputError(f"{registry.name}: no version is champion yet, to be compared with; promote one first")
        if version and version.bundle == (before.version or load_bundle(registry.root / before.bundle)[1]["version"]):
            raise InputError(f"{registry.name} {version.number} is the champion: a split needs another version")
        deployed = TrafficSplit(**_deployed(registry, version).model_dump(), share=share) if version else None
        before.model_copy(update={"split": deployed}).write(registry.root, registry.name)
    return _record(registry, "split", version, share=share if version else 0.0)


def _alone(registry: Registry) -> AbstractContextManager[None]:
    return locked(registry.root / FOLDER / f".{registry.name}.lock")


def _take_over(
    registry: Registry,
    kind: Literal["promote", "rollback"],
    version: Version,
    history: tuple[tuple[str, str], ...],
    withdrawn: tuple[str, ...],
    grounds: Grounds,
    before: Version | None = None,
) -> DeploymentRecord:
    """The record is named by the time of the change, so that a run that is killed and repeated writes the same record
    once. before: the champion that is replaced; the default: the last of the history."""
    deployed = _deployed(registry, version)
    if not (history and history[-1][0] == deployed.bundle):
        history = (*history, (deployed.bundle, datetime.now(UTC).isoformat()))
    number = before.number if before else Path(history[-2][0]).name if len(history) > 1 else None
    was = Pointer.read(registry.root, registry.name)
    if was.history != history:
        # shadow and split end: what was compared with the old champion says nothing of the new one
        change = Change(kind=kind, before=number)
        Pointer(**deployed.model_dump(), history=history, withdrawn=withdrawn, change=change).write(
            registry.root, registry.name
        )
    elif was.change:
        number = was.change.before
    registry.assign(version)
    if existing := _record_of(registry, history[-1][1]):
        return existing
    return _record(registry, kind, version, _record_name(history[-1][1]), before=number, **grounds.to_dict())


def _record_of(registry: Registry, change: str) -> DeploymentRecord | None:
    """change: the time at which a champion took over, as the pointer's history has it."""
    name, kinds = _record_name(change), ("promote", "rollback")
    records = (read_record(registry.root, DeploymentRecord, kind, name, path_field="record") for kind in kinds)
    return next(filter(None, records), None)


def _record_name(change: str) -> str:
    return change.replace(":", "").replace("+0000", "Z")


def _deployed(registry: Registry, version: Version) -> DeployedBundle:
    folder = registry.bundle(version).relative_to(registry.root)
    return DeployedBundle(bundle=str(folder), version=version.bundle)


def _record(
    registry: Registry, kind: str, version: Version | None, name: str | None = None, **about: Any
) -> DeploymentRecord:
    """about: further fields of the record. name: the default is the time."""
    record = DeploymentRecord(
        recommender=registry.name,
        version=version.number if version else None,
        bundle=version.bundle if version else None,
        commit=version.commit if version else None,
        **about,
    )
    written = write_record(registry.root, kind, record, name)
    return record.model_copy(update={"record": written.file})
