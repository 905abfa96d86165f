"""What nextclick imports tells nobody of it: each library's own switch says off."""

import os
import subprocess
import sys

import pytest

SWITCHES = ("DO_NOT_TRACK", "BENTOML_DO_NOT_TRACK", "ITERATIVE_DO_NOT_TRACK", "DVC_NO_ANALYTICS")
ASKED = {
    "bentoml": "from bentoml._internal.utils.analytics.usage_stats import do_not_track; print(not do_not_track())",
    "evidently": "from evidently.telemetry import event_logger; print(event_logger.is_enabled())",
    "dvc": "from dvc.analytics import is_enabled; print(is_enabled())",
}


@pytest.mark.parametrize("library", ASKED)
def test_a_library_tells_nobody(library, tmp_path):
    clean = {name: value for name, value in os.environ.items() if name not in SWITCHES}

    def said(first: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", f"{first}\n{ASKED[library]}"],
            env=clean,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    assert said("import nextclick") == "False"
    assert said("") == "True"  # else the test would pass without the switch
