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
    "tests/backends",
    "tests/monitoring",
    "tests/serving/test_image.py",
)
# Files and tests that are marked `timed`, the last group: nothing is left by then that would have to wait for them.
TIMED = (
    "tests/lifecycle/test_gate.py::test_the_champion_itself_is_held_and_a_first_bundle_has_to_beat_the_baselines",
    "tests/lifecycle/test_gate.py::test_a_slow_bundle_is_rejected_however_good",
    "tests/serving/test_broker_gone.py",
    "tests/serving/test_recommend.py::test_one_slow_ranking_costs_the_next_visitors_nothing",
    "tests/serving/test_recommend.py::test_while_ranking_is_too_slow_few_wait_for_it_and_soon_after_all_are_ranked_again",
    "tests/serving/test_promotion_under_load.py",
    "tests/serving/test_admission_queue.py",
    "tests/stream/test_refused.py::test_while_the_broker_is_gone_an_event_waits_a_little_and_the_next_not_at_all",
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "timed: measures time, so that no other test may run beside it")
    config.addinivalue_line("markers", "proof: at full size; run by `make proofs`, not by `make test`")


def group_of(nodeid: str) -> str:
    """The group in which a test runs: that of the timed, the last of GROUPS that holds it, or its file."""
    file = nodeid.partition("::")[0]
    if file in TIMED or nodeid.partition("[")[0] in TIMED:
        return "timed"
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
        return GROUPS.index(group) if group in GROUPS else len(GROUPS) + (group == "timed")

    for item in items:
        marked = item.get_closest_marker("timed") is not None
        if item.path.is_relative_to(Path(__file__).parent) and marked != (group_of(item.nodeid) == "timed"):
            raise pytest.UsageError(
                f"{item.nodeid}: mark it `timed` and name it in TIMED of side_by_side.py, or neither"
            )
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
