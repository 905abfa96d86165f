"""What each part of a prediction costs is on record (`benchmarks/costs.py`), and no part costs too much."""

from pathlib import Path

import pandas as pd
import pytest

from nextclick.evaluation.diagnosis import SOURCES
from nextclick.features.candidate_features import GROUPS
from nextclick.params import Params

ROOT = Path(__file__).parents[2]
MOST = 0.01  # of the budget of a request, for one source or one group of features


@pytest.mark.ml_test("data-3")
def test_each_source_and_group_of_features_was_measured_and_takes_little_of_the_budget():
    costs = pd.read_csv(ROOT / "reports/costs.csv").set_index(["kind", "without"])["microseconds"]
    parts = [("source", name) for name in SOURCES] + [("features", group.name) for group in GROUPS]
    budget = Params.read(ROOT / "params.yaml").serving.budget_ms * 1000
    assert {part: costs[part] for part in parts if not 0 < costs[part] < MOST * budget} == {}
