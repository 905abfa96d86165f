"""The worked examples of CONTRIBUTING, applied to a copy of the code: what they add is there and does what they say."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = dict(
    re.findall(
        r"^## (Add a[^\n]*)\n.*?^```diff\n(.*?)^```",
        (ROOT / "CONTRIBUTING.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
)
WHAT_THEY_ADD = Path(__file__).parent / "contributed.py"


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """With what is compiled already: only what the examples change is compiled again."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "src", root / "src")
    (root / "docs").mkdir()
    shutil.copy(ROOT / "docs/operations.md", root / "docs")
    return root


@pytest.mark.ml_test("data-6")
def test_the_examples_apply_and_what_they_add_works(copy):
    assert list(EXAMPLES) == ["Add a source", "Add a feature", "Add a candidate generator", "Add an alarm"]
    for title, change in EXAMPLES.items():
        applied = subprocess.run(["git", "apply", "-p0"], input=change, cwd=copy, text=True, capture_output=True)
        assert applied.returncode == 0, f"{title}: {applied.stderr}"
    environment = os.environ | {"PYTHONPATH": str(copy / "src")}
    done = subprocess.run([sys.executable, WHAT_THEY_ADD], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["source", "feature", "generator", "alarm"]
