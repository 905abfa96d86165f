"""Tests side by side: which of them stay together in one process, which run alone, and which only `make proofs` runs.

`make test` shares the tests among as many processes as there are cores (pytest-xdist). Tests that use the same dear
thing, such as a broker or a run of the pipeline, stay together in one group, so that it is made once. A test that
measures time is marked `timed`: while it runs, the other processes wait. A test at full size is marked `proof`; its
small form is another test, or the same one with less.
"""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Folders and files whose tests stay together, those that take longest first, since what is begun last is waited for.
# Of two that hold a test the later counts. The tests of any other file are a group.
GROUPS = (
    "tests/system",
    "tests/lifecycle",
    "tests/stream",
    "tests/serving",
    "tests/engine",
    "tests/monitoring",
    "tests/serving/test_image.py",
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "timed: measures time, so that no other test may run beside it")
    config.addinivalue_line("markers", "proof: at full size; run by `make proofs`, not by `make test`")


def group_of(nodeid: str) -> str:
    """The group in which a test runs: the last of GROUPS that holds it, or its file."""
    file = nodeid.partition("::")[0]
    holding = [group for group in GROUPS if file == group or file.startswith(f"{group}/")]
    return holding[-1] if holding else file


class ByGroup(LoadScopeScheduling):
    """Gives a process one group after the other. xdist's own `loadgroup` writes the group into a test's id, which
    pytest 9.2 does not let it do."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByGroup:
    return ByGroup(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> int:
        group = group_of(item.nodeid)
        return GROUPS.index(group) if group in GROUPS else len(GROUPS)

    items.sort(key=turn)


@contextmanager
def held(path: Path, how: int) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, how)
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test shares the machine with others, or has it to itself where it is `timed`."""
    run = getattr(item.config, "workerinput", {}).get("testrunuid")
    if run is None:  # nothing runs beside it
        return (yield)
    machine, turn = (Path(tempfile.gettempdir()) / f"nextclick-{run}-{name}" for name in ("machine", "turn"))
    with ExitStack() as stack:
        # whoever waits for the machine has the turn meanwhile, so that others cannot share it for ever
        with held(turn, fcntl.LOCK_EX):
            stack.enter_context(held(machine, fcntl.LOCK_EX if item.get_closest_marker("timed") else fcntl.LOCK_SH))
        return (yield)
