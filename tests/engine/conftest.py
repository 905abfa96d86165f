"""Ray is an extra: where it is not installed these tests are skipped, unless services are required."""

import importlib.util
import os

os.environ.pop("RAY_ADDRESS", None)
if importlib.util.find_spec("ray") is not None:
    import nextclick.engine.cluster  # noqa: F401  before Ray itself, as nextclick does
elif not os.environ.get("NEXTCLICK_REQUIRE_SERVICES"):
    collect_ignore = ["test_on_ray.py", "test_failures.py"]
