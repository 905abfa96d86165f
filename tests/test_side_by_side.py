"""Tests that share a dear thing run in one process, and one that measures time runs alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from side_by_side import GROUPS, group_of

TESTS = Path(__file__).parent
MEASURED = """
import time, pathlib, pytest
here = pathlib.Path(__file__).parent
def during(name):
    (here / f"{{name}}.begun").touch()
    until = time.monotonic() + {patience}
    while time.monotonic() < until and len(list(here.glob("*.begun"))) < 3:
        time.sleep(0.05)
    (here / f"{{name}}.ended").touch()
{marks}
def test_{name}():
    others = {{path.stem for path in here.glob("*.begun")}} - {{path.stem for path in here.glob("*.ended")}}
    during("{name}")
    others |= {{path.stem for path in here.glob("*.begun")}} - {{path.stem for path in here.glob("*.ended")}}
    {asserts}
"""


@pytest.mark.parametrize(
    ("nodeid", "group"),
    [
        ("tests/system/test_tour.py::test_a[x]", "tests/system"),
        ("tests/stream/proofs/test_faults.py::test_b", "tests/stream"),
        ("tests/serving/test_image.py::test_c", "tests/serving/test_image.py"),
        ("tests/ranking/test_trees.py::test_d", "tests/ranking/test_trees.py"),
        ("tests/serving/test_admission_queue.py::test_e[x]", "timed"),
    ],
)
def test_a_folder_that_shares_a_server_is_one_group_and_any_other_file_is_one(nodeid, group):
    assert group_of(nodeid) == group


def test_every_group_is_there():
    assert all((TESTS.parent / group).exists() for group in GROUPS)


@pytest.mark.parametrize(
    ("marks", "patience"),
    [("@pytest.mark.timed", 0.5), ("", 20)],
    ids=["", "planted bug: it is not marked"],
)
def test_nothing_runs_beside_a_test_that_measures_time(tmp_path, marks, patience):
    for name in "abc":
        timed = name == "b"
        asserts = "assert not others" if timed else ""
        (tmp_path / f"test_{name}.py").write_text(
            MEASURED.format(name=name, marks=marks if timed else "", asserts=asserts, patience=patience)
        )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "3", "-p", "side_by_side", "-c", "/dev/null", str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == (0 if marks else 1), ran.stdout + ran.stderr
