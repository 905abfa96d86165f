"""Decision records: one JSON file each, that names inputs by hash, evidence, rule and outcome."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field

from nextclick.errors import InputError
from nextclick.files import json_text, write_json
from nextclick.result import Result

RECORDS = Path("reports/decisions")
Verdict = Literal["promote", "hold", "reject"]


class Record(Result):
    """A decision record. Fields that a kind of decision does not have are not given, nor are those that only newer
    records have. kind, at, file: of a record that was read."""

    kind: str = ""
    at: str = ""  # ISO text

    @property
    def file(self) -> str:
        """Where it lies, relative to the project's root."""
        return str((self.model_extra or {})["file"])

    @property
    def names(self) -> set[str]:
        """The bundles and versions (as in recommender@v3.0.0) that it concerns."""
        about = self.to_dict()
        return {*filter(None, (about.get("bundle"), about.get("challenger"))), *about.get("versions", ())}


class ComparedMetric(Result):
    """The deciding metric on the gate's window, with the other fields of `Comparison`; None if it is unknown."""

    name: str
    champion: float | None = None
    challenger: float | None = None


class GateRecord(Record):
    """A verdict of the gate with its evidence. Of a challenger that cannot be loaded there is the reason alone."""

    key: str = ""  # the bundles and a hash of the inputs
    recommender: str = ""
    challenger: str = ""
    champion: str | None = None  # None: the baselines
    inputs: dict[str, str] = Field(default_factory=dict)  # by hash or as JSON
    look: int = 1  # how often this challenger was evaluated, this time included
    verdict: Verdict = "hold"
    reason: str = ""
    metric: ComparedMetric | None = None
    rival: str | None = None  # the champion, or the best baseline
    fresher: bool = False  # whether the challenger knows much newer data
    guards: list[dict[str, str | int | float | None]] = Field(default_factory=list)  # see `Guard`; with its status
    window: dict[str, str | int] = Field(default_factory=dict)  # from, until, sessions, predictions


class Grounds(Result):
    """Why a version takes over: what the gate saw, why a person does without the gate, or what a watch saw."""

    gate: str | None = None  # the gate's record
    reason: str | None = None
    promised: float | None = None  # the challenger's value of the deciding metric, as the gate saw it
    metric: str | None = None
    evidence: dict[str, Any] | None = None


class DeploymentRecord(Record):
    """A promotion, a rollback, or the change of a shadow or a split. version, bundle, commit: of the version that is
    deployed; None if a shadow or split ends. before: the version that was champion."""

    recommender: str = ""
    version: str | None = None
    bundle: str | None = None
    commit: str | None = None
    before: str | None = None
    share: float | None = None  # of the sessions, in a split
    gate: str | None = None  # from here on, see `Grounds`
    reason: str | None = None
    promised: float | None = None
    metric: str | None = None
    evidence: dict[str, Any] | None = None
    record: str = ""  # where it lies


AnyRecord = TypeVar("AnyRecord", bound=Record)


def write_record(root: Path, kind: str, about: AnyRecord, name: str | None = None) -> AnyRecord:
    """Write reports/decisions/KIND-NAME.json in one step, and return what it holds, with its path as `file`; the
    name is the time, unless it is given. A record that is written a second time stays as it is if
    its content is the same, and is replaced otherwise."""
    now = datetime.now(UTC)
    path = root / RECORDS / f"{kind}-{name or now.strftime('%Y%m%dT%H%M%S%fZ')}.json"
    record = json.loads(json_text({"kind": kind, "at": now.isoformat(), **about.to_dict()}))
    existing = _read(path, Record).to_dict() if path.is_file() else {}
    if existing != record | {"at": existing.get("at")}:
        write_json(path, record)
    return _read(path, type(about), file=str(path.relative_to(root)))


def _read(path: Path, kind: type[AnyRecord], **path_fields: str) -> AnyRecord:
    """Raises InputError if the file holds no such record. path_fields: further fields, which name the file."""
    try:
        record = json.loads(path.read_text())
        if not isinstance(record, dict) or not isinstance(record.get("at"), str):
            raise ValueError("it has no `at`")
        return kind.from_dict({**record, **path_fields})
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected the JSON of a decision record: {error}; restore it or remove it") from error


def read_record(
    root: Path, record: type[AnyRecord], kind: str, name: str, path_field: str = "file"
) -> AnyRecord | None:
    """The record of that kind and name, with its path as `path_field`; None if there is none. Raises InputError if the
    file is no record."""
    path = root / RECORDS / f"{kind}-{name}.json"
    return _read(path, record, **{path_field: str(path.relative_to(root))}) if path.is_file() else None


def read_records(root: Path, record: type[AnyRecord], *kinds: str) -> list[AnyRecord]:
    """Records of these kinds, oldest first. Raises InputError, which names the file, if one is no record."""
    files = [path for name in kinds for path in (root / RECORDS).glob(f"{name}-*.json")]
    records = [_read(path, record, file=str(path.relative_to(root))) for path in files]
    return sorted(records, key=lambda one: (one.at, one.file))
