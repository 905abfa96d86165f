"""The list of faults: a test that injects one says with the mark `fault` what is promised when it happens.

    @pytest.mark.fault(
        part="Redis",
        wrong="one session's key holds another type",
        noticed="`nextclick_unreadable_rows_total` and a log line, at once",
        lost="nothing",
        degraded="this session alone",
        heals="by itself: the row is made again from the log",
    )

`wrong` names the fault as a row of the table does; `noticed` says by which sign and within what time.
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
                needed = f"the mark fault needs {', '.join(PROMISED)}, and part is one of {', '.join(PARTS)}"
                raise pytest.UsageError(f"{item.nodeid}: {needed}")
