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
`make faults` writes the table.
"""

from pathlib import Path

import pytest

PARTS = ("HTTP", "Redis", "Kafka", "disk", "clock", "process", "git", "DVC", "registry")
PROMISED = ("part", "wrong", "noticed", "lost", "degraded", "heals")


HEAD = """# What can go wrong, and what is promised then

Made of the marks of the tests that inject each of these faults, by `make faults`; nothing here is typed. Who notices
says by which sign, and where it takes longer than a moment within what time. Every test runs in `make test`, some of
them longer in `make proofs`.

| part | wrong | who notices | lost | less than usual | heals | test |
|---|---|---|---|---|---|---|
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-page", type=Path, help="write the table of faults to this file")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(part, wrong, noticed, lost, degraded, heals): injects this fault")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("fault"):
            if set(mark.kwargs) != set(PROMISED) or mark.kwargs["part"] not in PARTS:
                needed = f"the mark fault needs {', '.join(PROMISED)}, and part is one of {', '.join(PARTS)}"
                raise pytest.UsageError(f"{item.nodeid}: {needed}")


def pytest_collection_finish(session: pytest.Session) -> None:
    page = session.config.getoption("--faults-page")
    if page:
        page.write_text(faults_page(session.items))


def faults_page(items: list[pytest.Item]) -> str:
    """The table of the faults that these tests inject, a row each, with the first test that does."""
    tests: dict[tuple[str, ...], str] = {}
    for item in items:
        for mark in item.iter_markers("fault"):
            row = tuple(" ".join(mark.kwargs[name].split()) for name in PROMISED)
            tests.setdefault(row, f"{item.path.name}::{item.name.partition('[')[0]}")
    ordered = sorted(tests.items(), key=lambda one: (PARTS.index(one[0][0]), one[0][1]))
    lines = [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in (*row, f"`{test}`")) + " |" for row, test in ordered
    ]
    return HEAD + "\n".join(lines) + "\n"
