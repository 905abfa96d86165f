"""What nextclick imports tells nobody of it: each library's own switch says off."""

import os
import subprocess
import sys

import pytest

SWITCHES = ("DO_NOT_TRACK", "BENTOML_DO_NOT_TRACK", "ITERATIVE_DO_NOT_TRACK", "DVC_NO_ANALYTICS")
ASKED = {
    "bentoml": "from bentoml._internal.utils.analytics.usage_stats import do_not_track as asked; "
    "tells = lambda: asked.cache_clear() or not asked()",
    # without the rest of Evidently, which takes ten seconds to import
    "evidently": "import importlib.util, sys, types; found = importlib.util.find_spec('evidently'); "
    "sys.modules['evidently'] = types.ModuleType('evidently'); sys.modules['evidently'].__version__ = '0'; "
    "sys.modules['evidently'].__path__ = found.submodule_search_locations; "
    "from evidently.telemetry import event_logger; tells = event_logger.is_enabled",
    "dvc": "from dvc.analytics import is_enabled as tells",
}


@pytest.mark.parametrize("library", ASKED)
def test_a_library_tells_nobody(library, tmp_path):
    clean = {name: value for name, value in os.environ.items() if name not in SWITCHES}

    code = f"""if True:
        import os, nextclick
        {ASKED[library]}
        print(tells())
        for switch in {SWITCHES}:
            os.environ.pop(switch, None)
        print(tells())
    """
    done = subprocess.run([sys.executable, "-c", code], env=clean, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr  # the second: else it would pass without the switch
