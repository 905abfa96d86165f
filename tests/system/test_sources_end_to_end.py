"""Data sets as their publishers ship them are learned from and judged by changing only params."""

import json
import os
import shutil
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("NEXTCLICK_SHARED", Path(__file__).parents[3] / "shared")) / "data"
FILES = {
    "diginetica": SHARED / "native/diginetica-train-item-views.sample.csv",
    "movielens": SHARED / "ml-100k/ml-100k.inter",
}


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        ("movielens", 20_000),
        pytest.param("movielens", 100_000, marks=pytest.mark.proof),
        pytest.param("diginetica", 12_390, marks=pytest.mark.proof),
    ],
)
def test_a_published_data_set_becomes_a_judged_bundle(clone, tmp_path, source, rows):
    file = FILES[source]
    if not file.exists():
        pytest.skip(f"{file} is not there")
    folder = shutil.copytree(file.parent, tmp_path / source, copy_function=shutil.copyfile)
    lines = file.read_text().splitlines(keepends=True)
    (folder / file.name).write_text("".join(lines[: 1 + rows]))  # and its header
    project = clone(source)
    changes = ("-S", f"ingest.path={folder}", "-S", f"ingest.format={source}")
    project.dvc("exp", "run", "evaluate", *changes)
    counts, parts, judged = (project.metric(stage) for stage in ("ingest", "split", "evaluate"))
    assert counts["accepted"] == rows
    assert sum(parts[f"{part}_events"] for part in ("train", "test", "embargoed")) == counts["accepted"]
    assert 0 < judged["low"] <= judged["mrr@20"] <= judged["high"] < 1
    manifest = json.loads((project.root / "models/bundle/manifest.json").read_text())
    assert 0 < manifest["items"] <= counts["items"]
