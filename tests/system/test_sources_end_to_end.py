"""Data sets as their publishers ship them are learned from and judged by changing only params."""

import json
import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("NEXTCLICK_SHARED", Path(__file__).parents[3] / "shared")) / "data"
FILES = {
    "diginetica": SHARED / "native/diginetica-train-item-views.sample.csv",
    "movielens": SHARED / "ml-100k/ml-100k.inter",
}


@pytest.fixture(scope="module")
def started(clone, runs):
    """The projects and their pipelines, which run at the same time."""

    def start(source: str, folder: Path):
        project = clone(source)
        changes = ("-S", f"ingest.path={folder}", "-S", f"ingest.format={source}")
        return project, project.start(".venv/bin/dvc", "exp", "run", "evaluate", *changes)

    return {source: start(source, file.parent) for source, file in FILES.items() if file.exists()}


@pytest.mark.parametrize("source", FILES)
def test_a_published_data_set_becomes_a_judged_bundle(started, source):
    if source not in started:
        pytest.skip(f"{FILES[source]} is not there")
    project, process = started[source]
    project.wait(process)
    counts, parts, judged = (
        json.loads((project.root / f"reports/metrics/{stage}.json").read_text())
        for stage in ("ingest", "split", "evaluate")
    )
    assert counts["accepted"] == len(FILES[source].read_text().splitlines()) - 1  # its header
    assert sum(parts[f"{part}_events"] for part in ("train", "test", "embargoed")) == counts["accepted"]
    assert 0 < judged["low"] <= judged["mrr@20"] <= judged["high"] < 1
    manifest = json.loads((project.root / "models/bundle/manifest.json").read_text())
    assert 0 < manifest["items"] <= counts["items"]
