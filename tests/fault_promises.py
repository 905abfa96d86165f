"""The list of faults: a test that injects one says with the mark `fault` what is promised when it happens.

    @pytest.mark.fault(
        part="Redis",                                  # HTTP, Redis, Kafka, disk, clock, process, git, DVC or registry
        wrong="one session's key holds another type",  # the fault, as a row of docs/operations.md names it
        noticed="a log line and `nextclick_rows_unreadable_total`, at once",  # who notices, by which sign, within what
        lost="nothing",
        degraded="nothing but this session, until its row is written anew",
        heals="by itself: the row is made again from the log",
    )
"""

import pytest

PARTS = ("HTTP", "Redis", "Kafka", "disk", "clock", "process", "git", "DVC", "registry")
PROMISED = ("part", "wrong", "noticed", "lost", "degraded", "heals")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(part, wrong, noticed, lost, degraded, heals): injects this fault")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("fault"):
            if set(mark.kwargs) != set(PROMISED) or mark.kwargs["part"] not in PARTS:
                raise pytest.UsageError(f"{item.nodeid}: the mark fault needs {', '.join(PROMISED)}, part one of {PARTS}")
