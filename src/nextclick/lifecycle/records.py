"""Decision records: one JSON file each, that names inputs by hash, evidence, rule and outcome."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nextclick.errors import InputError
from nextclick.files import json_text, write_json

FOLDER = Path("reports/decisions")


def write_record(root: Path, kind: str, about: dict[str, Any], name: str | None = None) -> Path:
    """Write reports/decisions/KIND-NAME.json in one step; the name is the moment, unless it is given. A record that
    is written again stays as it is where it says the same, and else is replaced."""
    now = datetime.now(UTC)
    path = root / FOLDER / f"{kind}-{name or now.strftime('%Y%m%dT%H%M%S%fZ')}.json"
    record = json.loads(json_text({"kind": kind, "at": now.isoformat(), **about}))
    if path.is_file():
        there = _read(path)
        if there == record | {"at": there["at"]}:
            return path
    write_json(path, record)
    return path


def _read(path: Path) -> dict[str, Any]:
    """Raises InputError where it is no record."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected the JSON of a decision record: {error}; restore it or remove it") from error
    if not isinstance(record, dict) or not isinstance(record.get("at"), str):
        raise InputError(f"{path}: expected the JSON of a decision record, with `at`; restore it or remove it")
    return record


def read_record(root: Path, kind: str, name: str) -> dict[str, Any] | None:
    """The record of that name, with where it lies as `record`; None where there is none."""
    path = root / FOLDER / f"{kind}-{name}.json"
    return {**_read(path), "record": str(path.relative_to(root))} if path.is_file() else None


def read_records(root: Path, *kinds: str) -> list[dict[str, Any]]:
    """Records of these kinds, oldest first, each with its `file`. Raises InputError, naming it, where one is none."""
    files = [path for kind in kinds for path in (root / FOLDER).glob(f"{kind}-*.json")]
    found = [{**_read(path), "file": str(path.relative_to(root))} for path in files]
    return sorted(found, key=lambda record: (record["at"], record["file"]))
