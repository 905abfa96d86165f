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

import pytest

ROOT = Path(__file__).parent
# Folders whose tests stay together, those that take longest first, since what is begun last is waited for.
GROUPS = ("system", "engine", "lifecycle", "stream", "serving", "monitoring")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "timed: measures time, so that no other test may run beside it")
    config.addinivalue_line("markers", "proof: at full size; run by `make proofs`, not by `make test`")


def group_of(item: pytest.Item) -> str:
    """The name of the group in which a test runs: its own mark's, its folder's or its file's."""
    mark = item.get_closest_marker("xdist_group")
    if mark is not None:
        return str(mark.args[0])
    folder = item.path.relative_to(ROOT).parts[0]
    return folder if folder in GROUPS else str(item.path.relative_to(ROOT))


@pytest.hookimpl(tryfirst=True)  # before xdist writes the group into the test's id
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> int:
        folder = group_of(item).partition("/")[0]
        return GROUPS.index(folder) if folder in GROUPS else len(GROUPS)

    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item)))
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
