"""docs/faults.md holds each fault that a test injects."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_faults_is_what_the_marks_make(tmp_path):
    page = tmp_path / "faults.md"
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run([*command, "--faults-page", str(page)], cwd=ROOT, capture_output=True, text=True)
    assert page.is_file(), done.stdout[-2000:] + done.stderr[-2000:]
    assert (ROOT / "docs/faults.md").read_text() == page.read_text(), "make faults writes it"
