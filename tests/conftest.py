"""What tests of different folders share."""

from pathlib import Path

import pytest
import yaml

SMALL = {
    "run": {"seed": 7, "threads": 2},
    "simulator": {"sessions": 1500, "items": 200, "users": 200, "days": 8},
    "split": {"test_days": 2},
    "retrieval": {"dimensions": 8, "encoder_epochs": 1},
    "ranker": {"rounds": 30, "checkpoint_rounds": 10, "max_depth": 3},
    "diagnosis": {"groups": 300, "judged": 200, "rounds": 10},
}


@pytest.fixture(scope="session")
def small_params() -> str:
    """params.yaml, on so little that the whole pipeline takes a minute."""
    params = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text())
    for section, values in SMALL.items():
        params[section].update(values)
    return yaml.safe_dump(params, sort_keys=False)
