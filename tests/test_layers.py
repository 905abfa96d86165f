"""Data flows one way: no folder of the package imports one above it."""

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src/nextclick"
LAYERS = ("events", "retrieval", "features", "ranking", "evaluation")
ABOVE = ("serving", "stream", "monitoring")
IMPORTED = re.compile(r"^\s*(?:from|import) nextclick\.(\w+)", re.MULTILINE)


def allowed(folder: str) -> set[str]:
    if folder == "lifecycle":
        return {*LAYERS, *ABOVE, folder}
    return {*LAYERS, *ABOVE} if folder in ABOVE else set(LAYERS[: LAYERS.index(folder) + 1])


@pytest.mark.parametrize("folder", [*LAYERS, *ABOVE, "lifecycle"])
def test_a_folder_imports_only_what_is_below_it(folder):
    folders = {*LAYERS, *ABOVE, "lifecycle"}
    for file in (PACKAGE / folder).rglob("*.py"):
        assert set(IMPORTED.findall(file.read_text())) & folders <= allowed(folder), file
