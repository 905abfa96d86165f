"""Decision records that were written before are read, and are written again byte by byte as they were."""

import json

import pytest

from nextclick.errors import InputError
from nextclick.lifecycle.promotion import allowed_by, promised_by_gate
from nextclick.lifecycle.records import (
    RECORDS,
    DeploymentRecord,
    GateRecord,
    Grounds,
    Record,
    read_records,
    write_record,
)

AT = "2026-02-03T04:05:06.789012+00:00"
VERSION = {"recommender": "recommender", "version": "v2.0.0", "bundle": "b2", "commit": "c2"}
METRIC = {"name": "mrr@20", "champion": 0.3, "challenger": 0.31, "difference": 0.03, "low": 0.01, "high": None}
OLD = {
    "gate": {
        "key": "b2-b1-0123abcd",
        "recommender": "recommender",
        "challenger": "b2",
        "champion": "b1",
        "inputs": {"train": "aa", "test": "bb", "gate": '{"margin":0.02}'},
        "look": 1,
        "verdict": "promote",
        "reason": "better beyond chance: at least +1.00%",
        "metric": METRIC | {"level": 0.025},
        "rival": "champion",
        "fresher": False,
        "guards": [
            {"name": "parity", "value": 0, "limit": 0, "detail": "cells that differ online", "status": "pass"},
            {"name": "size", "value": None, "limit": 2.0, "detail": "ValueError: no", "status": "missing"},
        ],
        "window": {"from": AT, "until": AT, "sessions": 900, "predictions": 4000},
    },
    "promote": {**VERSION, "before": "v1.0.0", "gate": "g.json", "reason": "r", "promised": 0.31, "metric": "mrr@20"},
    "rollback": {**VERSION, "before": "v3.0.0", "reason": "r", "evidence": {"version": "v3.0.0", "sessions": 900}},
    "split": {**VERSION, "share": 0.1},
    "shadow": dict.fromkeys(VERSION) | {"recommender": "recommender"},
    "retrain": {**VERSION, "until": None, "outcome": "held", "reason": "r"},
    "forget": {"person": "0" * 64, "sessions": 1, "removed": {"f": 2}, "versions": ["recommender@v2.0.0"]},
}
TYPES = {"gate": GateRecord} | dict.fromkeys(("promote", "rollback", "split", "shadow"), DeploymentRecord)


@pytest.fixture
def root(tmp_path):
    (tmp_path / RECORDS).mkdir(parents=True)
    for kind, about in OLD.items():
        text = json.dumps({"kind": kind, "at": AT, **about}, indent=1) + "\n"
        (tmp_path / RECORDS / f"{kind}-old.json").write_text(text)
    return tmp_path


@pytest.mark.parametrize("kind", OLD)
def test_an_old_record_has_its_keys_in_their_order(root, kind):
    (record,) = read_records(root, TYPES.get(kind, Record), kind)
    path = root / RECORDS / f"{kind}-old.json"
    assert record.file == str(path.relative_to(root))
    assert json.dumps(record.to_dict()) == json.dumps(json.loads(path.read_text()) | {"file": record.file})
    about = TYPES.get(kind, Record).model_validate(OLD[kind])
    for name, expected in (("old", path.read_text()), ("new", None)):
        made = write_record(root, kind, about, name)
        text = (root / made.file).read_text()
        assert text == (expected or path.read_text().replace(AT, made.at, 1))


def test_what_old_records_say_still_counts(root):
    (gate,) = read_records(root, GateRecord, "gate")
    grounds = Grounds(gate=gate.file, reason=gate.reason, promised=0.31, metric="mrr@20")
    assert allowed_by(gate) == grounds
    assert promised_by_gate(root, "b2", "mrr@20") == 0.31
    assert promised_by_gate(root, "b2", "hr@20") is None
    concerned = {
        record.kind for record in read_records(root, Record, *OLD) if record.names & {"b2", "recommender@v2.0.0"}
    }
    assert concerned == set(OLD) - {"shadow"}


@pytest.mark.fault(
    part="disk",
    wrong="a decision record is torn or no JSON",
    noticed="whatever reads it: one line that names the file",
    lost="nothing",
    degraded="that command",
    heals="when it is restored or removed",
)
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"at": 1}', f'{{"at": "{AT}", "verdict": "perhaps"}}'])
def test_what_is_no_record_is_named(root, text):
    (root / RECORDS / "gate-bad.json").write_text(text)
    with pytest.raises(InputError, match=r"gate-bad\.json: expected the JSON of a decision record"):
        read_records(root, GateRecord, "gate")
