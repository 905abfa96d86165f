"""The worked examples of CONTRIBUTING, applied to a copy of the code: what they add is there and does what they say."""

import hashlib
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


def kept(copy: Path, cache: Path) -> Path:
    """Where the same code was used before, in an earlier run of the tests: there, all of it is compiled already."""
    digest = hashlib.sha256()
    for path in sorted((copy / "src").rglob("*.py")):
        digest.update(f"{path.relative_to(copy)}\0".encode() + path.read_bytes())
    there = cache / digest.hexdigest()[:16]
    if not there.exists():
        shutil.rmtree(cache)
        shutil.copytree(copy, there.with_suffix(".begun"))
        there.with_suffix(".begun").rename(there)
    shutil.copytree(copy / "docs", there / "docs", dirs_exist_ok=True)
    return there


@pytest.mark.ml_test("data-6")
def test_the_examples_apply_and_what_they_add_works(copy, pytestconfig):
    assert list(EXAMPLES) == ["Add a source", "Add a feature", "Add a candidate generator", "Add an alarm"]
    for title, change in EXAMPLES.items():
        applied = subprocess.run(["git", "apply", "-p0"], input=change, cwd=copy, text=True, capture_output=True)
        assert applied.returncode == 0, f"{title}: {applied.stderr}"
    copy = kept(copy, pytestconfig.cache.mkdir("contributed"))
    environment = os.environ | {"PYTHONPATH": str(copy / "src")}
    done = subprocess.run([sys.executable, WHAT_THEY_ADD], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["source", "feature", "generator", "alarm"]
