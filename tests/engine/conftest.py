"""Ray is an extra: where it is not installed these tests are skipped, unless services are required."""

import importlib.util
import os

import pytest

os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # as nextclick says it before Ray is imported
if importlib.util.find_spec("ray") is None and not os.environ.get("NEXTCLICK_REQUIRE_SERVICES"):
    collect_ignore = ["test_on_ray.py", "test_failures.py"]


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
