"""The compiled trees give what XGBoost gives, to the last bit."""

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st

from nextclick.errors import InputError
from nextclick.ranking.trees import Trees

FEATURES = 6


@pytest.fixture(scope="module")
def boosters() -> list[xgb.Booster]:
    """Of several depths, on numbers with ties, zeros of both signs, infinities' neighbours and gaps."""
    random = np.random.default_rng(0)
    values = random.choice([-1e30, -2.5, -0.0, 0.0, 1e-40, 0.5, 1.0, 3e30, np.nan], (3000, FEATURES)).astype(np.float32)
    values[:, 0] = random.normal(size=3000)
    wanted = np.nan_to_num(values[:, 0] * (values[:, 1] > 0) + np.isnan(values[:, 2]), posinf=0)
    data = xgb.DMatrix(values, wanted)
    return [
        xgb.train({"max_depth": depth, "tree_method": "hist", "nthread": 1, "seed": 0}, data, rounds)
        for depth, rounds in ((1, 3), (3, 40), (8, 20))
    ]


numbers = st.floats(width=32, allow_nan=True, allow_infinity=False) | st.sampled_from([0.0, -0.0, 0.5, 1.0, np.nan])


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(numbers, min_size=FEATURES, max_size=FEATURES), min_size=1, max_size=300))
def test_every_score_is_the_same_to_the_last_bit(boosters, rows):
    features = np.array(rows, np.float32)
    out = np.empty(len(features), np.float32)
    for booster in boosters:
        Trees.of(booster).scores(features, out)
        np.testing.assert_array_equal(out, booster.inplace_predict(features))


def test_values_at_the_very_thresholds_go_where_xgboost_sends_them(boosters):
    for booster in boosters:
        thresholds = booster.trees_to_dataframe()["Split"].dropna().to_numpy(np.float32)
        around = np.concatenate([thresholds, np.nextafter(thresholds, -np.inf), np.nextafter(thresholds, np.inf)])
        features = np.repeat(around[:, None], FEATURES, axis=1)
        out = np.empty(len(features), np.float32)
        Trees.of(booster).scores(features, out)
        np.testing.assert_array_equal(out, booster.inplace_predict(features))


def test_a_model_of_several_outputs_is_refused():
    random = np.random.default_rng(0)
    data = xgb.DMatrix(random.normal(size=(60, 2)), random.integers(0, 3, 60))
    several = xgb.train({"objective": "multi:softprob", "num_class": 3}, data, 2)
    with pytest.raises(InputError, match="one output"):
        Trees.of(several)
