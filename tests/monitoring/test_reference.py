"""A reference that was written before is read, and is written again byte by byte as it was."""

import json

import pandas as pd
import pytest

from nextclick.errors import InputError
from nextclick.monitoring.reference import Reference

DAY = {
    "events": 6943,
    "missing": [],
    "sessions": 1083,
    "days": 0.993,
    "per_day": 6995.169798237505,
    "least_a_day": None,
    "per_session": 6.410895660203139,
    "mix": {"cart": 0.11695232608382544, "view": 0.88304767391617456},
    "lost": 0.0,
    "twice": 0.0,
    "new_items": 0.006769408036871669,
    "top_item": "i001705",
    "top_share": 0.04018435834653608,
    "top_unknown": None,
    "unknown_share": 0.0,
    "newest": "2026-01-29T23:59:50.859000+00:00",
    "robots": 0.0,
}
ABOUT = {
    "bundle": "fe5a47ae5d71",
    "trained_until": "2026-01-29T00:07:44.315000+00:00",
    "figure": "mrr@20",
    "promised": 0.3059748245208203,
    "facts": DAY,
    "days": {"2026-01-29": DAY, "2026-01-30": {"events": 0, "missing": []}},
    "importance": {"item_clicks_1d": 1234.5, "score": 2.0},
}


def test_an_old_reference_keeps_its_bytes(tmp_path):
    text = json.dumps(ABOUT, indent=1) + "\n"
    (tmp_path / "about.json").write_text(text)
    pd.DataFrame({"session": [0], "moment": [0], "score": [0.5]}).to_parquet(tmp_path / "served.parquet")
    reference = Reference.load(tmp_path)
    assert (reference.about.facts.days, reference.about.promised) == (0.993, 0.3059748245208203)
    reference.save(tmp_path / "again")
    assert (tmp_path / "again/about.json").read_text() == text


@pytest.mark.parametrize("lacking", ["bundle", "facts"])
def test_a_reference_without_a_field_is_named(tmp_path, lacking):
    (tmp_path / "about.json").write_text(json.dumps({name: part for name, part in ABOUT.items() if name != lacking}))
    with pytest.raises(InputError, match=rf"no reference of the bundle \({lacking}: Field required\)"):
        Reference.load(tmp_path)
    facts = {name: part for name, part in DAY.items() if name != "robots"}
    (tmp_path / "about.json").write_text(json.dumps(ABOUT | {"facts": facts}))
    with pytest.raises(InputError, match=r"about\.json has no robots"):
        Reference.load(tmp_path)
