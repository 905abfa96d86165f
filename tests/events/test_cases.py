"""Files as people have them, made after public bug reports, are read right or refused with the remedy."""

import json
from pathlib import Path

import pandas as pd
import pytest

from nextclick.errors import InputError
from nextclick.events.ingest import ingest
from nextclick.params import Ingest

CASES = sorted((Path(__file__).parent / "cases").iterdir())


def events_of(out: Path) -> list[list[str | None]]:
    events = pd.read_parquet(out / "events.parquet")
    times = events["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    columns = (events["session_id"], events["user_id"], events["item_id"], events["event_type"], times)
    return [[None if pd.isna(cell) else cell for cell in row] for row in zip(*columns, strict=True)]


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_each_file_is_read_right_or_refused_with_the_remedy(folder, tmp_path):
    case = json.loads((folder / "case.json").read_text())
    expected = case["expect"]
    params = Ingest(path=case["path"], **case["ingest"])
    if "error" in expected:
        with pytest.raises(InputError) as error:
            ingest(params, folder, tmp_path)
        assert all(word in str(error.value) for word in expected["error"]), str(error.value)
        assert "\n" not in str(error.value)
        return
    read = ingest(params, folder, tmp_path)
    found = events_of(tmp_path)
    by_session = pd.read_parquet(tmp_path / "events.parquet").groupby("session_id")["user_id"]
    items = pd.read_parquet(tmp_path / "items.parquet")
    checks = {
        "events": lambda value: (
            found == value if expected.get("ordered") else sorted(map(str, found)) == sorted(map(str, value))
        ),
        "ordered": lambda _: True,
        "prices": lambda value: [None if pd.isna(price) else price for price in items["price"]] == value,
        "titles": lambda value: items["title"].tolist() == value,
        "each_session_has_one_user": lambda _: (by_session.nunique() <= 1).all(),
        "no_session_of_guests_together": lambda _: by_session.count().all(),
    }
    for name, value in expected.items():
        assert checks[name](value) if name in checks else read[name] == value, (name, read.get(name), found)
    assert read["rows"] == read["accepted"] + read["duplicates"] + read["quarantined"]
