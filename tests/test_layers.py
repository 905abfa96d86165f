"""Data flows one way: the contract in pyproject.toml holds, and an import against it would be found."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def lint(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [ROOT / ".venv/bin/lint-imports", "--no-cache", "--config", "pyproject.toml"],
        cwd=folder,
        env={"PYTHONPATH": str(folder / "src"), "COLUMNS": "200", "PATH": ""},
        capture_output=True,
        text=True,
    )


def test_each_layer_imports_only_those_below():
    found = lint(ROOT)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    ("file", "line", "named"),
    [
        (
            "events/schema.py",
            "from nextclick.bundle import bundle",
            "nextclick.events.schema -> nextclick.bundle.bundle",
        ),
        (
            "serving/item_catalogue.py",
            "def late():\n    import nextclick.lifecycle.gate",
            "nextclick.serving.item_catalogue -> nextclick.lif",
        ),
        (
            "monitoring/policy.py",
            "from nextclick.serving import reasons",
            "nextclick.monitoring.policy -> nextclick.serving.reasons",
        ),
        ("progress.py", "import nextclick.evaluation.metrics", "nextclick.progress -> nextclick.evaluation.metrics"),
    ],
    ids=["at the top", "within a function", "beside", "by way of a module beside the layers"],
)
def test_an_import_against_the_flow_would_be_found(tmp_path, file, line, named):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "src/nextclick" / file).open("a") as module:
        module.write(f"\n{line}\n")
    found = lint(tmp_path)
    assert found.returncode == 1
    assert named in found.stdout
