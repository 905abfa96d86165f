"""`make help` says what each target that people type makes."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_help_lists_each_target_that_people_type():
    (phony,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    said = subprocess.check_output(["make", "--silent", "help"], cwd=ROOT, text=True).splitlines()
    assert {line.split()[1] for line in said} == set(phony.split()) - {"all"}
    assert all(len(line.split()) > 2 for line in said)
