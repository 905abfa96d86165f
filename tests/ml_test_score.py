"""The ML Test Score (Breck et al., 2017): which test proves which of its 28 checks, counted by the run of the tests.

A test says which checks it proves, `@pytest.mark.ml_test("data-1")`. A check counts one point where all of its tests
pass in this run, half where `BY_HAND` says what a person runs and reads, nothing where `ABSENT` says why. The score is
the least of the four sums. `pytest -m ml_test --ml-test-score docs/ml-test-score.md` writes the table.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

CHECKS = {
    "data-1": "Feature expectations are captured in a schema",
    "data-2": "All features are beneficial",
    "data-3": "No feature's cost is too much",
    "data-4": "Features adhere to meta-level requirements",
    "data-5": "The data pipeline has appropriate privacy controls",
    "data-6": "New features can be added quickly",
    "data-7": "All input feature code is tested",
    "model-1": "Model specs are reviewed and submitted",
    "model-2": "Offline and online metrics correlate",
    "model-3": "All hyperparameters have been tuned",
    "model-4": "The impact of model staleness is known",
    "model-5": "A simpler model is not better",
    "model-6": "Model quality is sufficient on important data slices",
    "model-7": "The model is tested for considerations of inclusion",
    "infra-1": "Training is reproducible",
    "infra-2": "Model specs are unit tested",
    "infra-3": "The ML pipeline is integration tested",
    "infra-4": "Model quality is validated before serving",
    "infra-5": "The model is debuggable",
    "infra-6": "Models are canaried before serving",
    "infra-7": "Serving models can be rolled back",
    "monitor-1": "Dependency changes result in notification",
    "monitor-2": "Data invariants hold for inputs",
    "monitor-3": "Training and serving are not skewed",
    "monitor-4": "Models are not too stale",
    "monitor-5": "Models are numerically stable",
    "monitor-6": "Computing performance has not regressed",
    "monitor-7": "Prediction quality has not regressed on served data",
}
BY_HAND = {
    "data-2": "05_diagnose measures what each group earns at every run; nothing fails where one earns nothing",
    "model-3": "`python benchmarks/road.py` runs the variants as DVC experiments; a person reads the table",
}
ABSENT = {
    "model-2": "needs a shop with real visitors; `nextclick feedback` gives the figure that would be compared",
    "model-7": "the logs name no attribute of a person, so groups of people cannot be told apart",
}
SECTIONS = ("data", "model", "infra", "monitor")
KEY = pytest.StashKey["Score"]()


class Score:
    """What the tests of a run said of each check."""

    def __init__(self) -> None:
        self.tests: dict[str, list[str]] = defaultdict(list)
        self.passed: dict[str, bool] = {}

    def points(self, check: str) -> float:
        """A check whose tests did not all run and pass has no more than a person's half."""
        if self.tests[check] and all(self.passed.get(test) for test in self.tests[check]):
            return 1.0
        return 0.5 if check in BY_HAND else 0.0

    def sums(self) -> dict[str, float]:
        return {s: sum(self.points(check) for check in CHECKS if check.startswith(f"{s}-")) for s in SECTIONS}

    def sentence(self) -> str:
        sums = self.sums()
        proven = sum(self.points(check) == 1 for check in CHECKS)
        listed = ", ".join(f"{name} {points:g}" for name, points in sums.items())
        return (
            f"{listed}; the least, {min(sums.values()):g}, is the score. {proven} of {len(CHECKS)} checks are proven."
        )

    def page(self) -> str:
        lines = [
            "# ML Test Score",
            "",
            "Made by `.venv/bin/python -m pytest -m ml_test --ml-test-score docs/ml-test-score.md`; nothing here is",
            "typed. The checks are those of Breck et al., *The ML Test Score* (2017). One point: the tests named pass.",
            "Half: a person runs and reads it. The score is the least of the four sums.",
            "",
            f"**{self.sentence()}**",
            "",
            "| | check | points | proven by, or why not |",
            "|---|---|---|---|",
        ]
        for check, title in CHECKS.items():
            names = dict.fromkeys(test.partition("[")[0] for test in self.tests[check])
            why = "<br>".join(f"`{name}`" for name in names) or BY_HAND.get(check) or ABSENT.get(check, "no test yet")
            lines.append(f"| {check} | {title} | {self.points(check):g} | {why} |")
        return "\n".join(lines) + "\n"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--ml-test-score", metavar="FILE", help="Write the table of the ML Test Score.")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ml_test(*checks): proves checks of the ML Test Score")
    config.stash[KEY] = Score()
    config.pluginmanager.register(Reports(config.stash[KEY]))
    # of a part of the tests a check would count by a part of what proves it
    if config.getoption("--ml-test-score") and config.args_source != pytest.Config.ArgsSource.TESTPATHS:
        raise pytest.UsageError("--ml-test-score needs all tests: name no file or folder")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("ml_test"):
            for check in mark.args:
                if check not in CHECKS:
                    raise pytest.UsageError(f"{item.nodeid}: no such check of the ML Test Score: {check}")
                config.stash[KEY].tests[check].append(item.nodeid)


class Reports:
    """Hears how every test ended, and which tests prove a check, also where other processes run the tests."""

    def __init__(self, score: Score) -> None:
        self._score = score

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed:
            self._score.passed[report.nodeid] = report.passed

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node) -> None:
        self._score.tests.update(getattr(node, "workeroutput", {}).get("ml_test", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["ml_test"] = dict(session.config.stash[KEY].tests)


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    score = config.stash[KEY]
    if config.getoption("--ml-test-score"):
        Path(config.getoption("--ml-test-score")).write_text(score.page())
    if score.passed and config.args_source == pytest.Config.ArgsSource.TESTPATHS:
        terminalreporter.write_line(f"ML Test Score: {score.sentence()}")
