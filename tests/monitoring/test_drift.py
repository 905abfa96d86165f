"""Distances do not grow with the sample, chance passes their limits as seldom as stated, and odd windows are said."""

import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from nextclick.monitoring import drift
from nextclick.monitoring.drift import MIN_SESSIONS_A_DAY, Column, by_day, column_drift, distance, shares_of, thresholds

from .conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks/error_rates"))
import drift_rates

WINDOWS = 50
TRIALS = 40


def frame(random, n, shift=0.0):
    sessions = np.sort(random.integers(0, n // 5, n))
    own = random.normal(size=n // 5)[sessions]  # rows of a session go together
    return pd.DataFrame(
        {
            "number": own + random.normal(size=n) + shift,
            "few": random.integers(0, 4, n).astype(np.float32),
            "word": random.choice(["a", "b"], n),
        }
    ), sessions


@pytest.fixture(scope="module")
def reference():
    table, sessions = frame(np.random.default_rng(1), 20_000)
    columns = [Column.of(table[name]) for name in table]
    return columns, thresholds(table, columns, sessions, 400, WINDOWS, 7)


def test_no_drift_passes_the_limits_as_seldom_as_stated(reference):
    columns, limits = reference
    random = np.random.default_rng(2)
    false = sum(column_drift(columns, limits, frame(random, 2000)[0], 0)[0]["drifted"].any() for _ in range(300))
    assert false <= 18  # 6 expected at 1 in 50; the reference is itself a sample


def test_a_small_reference_gives_no_more_false_columns(monkeypatch):
    sessions = 2000
    most = binom.ppf(0.99, TRIALS, 1 / drift_rates.WINDOWS)
    monkeypatch.setattr(drift, "RESAMPLES", 600)
    assert drift_rates.drifted(sessions, 0, 0, TRIALS, 1) <= most
    real = drift._drawn
    # the planted bug: the reference is taken for the truth, and not for a sample
    monkeypatch.setattr(
        drift,
        "_drawn",
        lambda random, n, size, times: real(random, n, size, times) if size == sessions else np.ones((times, n)),
    )
    assert drift_rates.drifted(sessions, 0, 0, TRIALS, 1) > most


def test_a_shift_is_found_and_named(reference):
    columns, limits = reference
    table, _ = column_drift(columns, limits, frame(np.random.default_rng(3), 2000, 1.0)[0], 0.1)
    assert table.set_index("column")["drifted"].to_dict() == {"number": True, "few": False, "word": False}


def test_a_trifle_is_no_drift_however_large_the_sample(reference):
    from scipy.stats import ks_2samp

    columns, limits = reference
    before, after = frame(np.random.default_rng(4), 200_000)[0], frame(np.random.default_rng(5), 200_000, 0.05)[0]
    # the planted bug, a verdict by p-value, takes it for drift
    assert ks_2samp(before["number"], after["number"]).pvalue < 1e-6
    assert not column_drift(columns, limits, after, 0.1)[0]["drifted"].any()


def test_distance_is_zero_to_one():
    assert distance(np.array([1.0, 0]), np.array([1.0, 0])) == 0
    assert distance(np.array([1.0, 0]), np.array([0, 1.0])) == 1


def test_odd_windows_are_said(reference):
    columns, limits = reference
    table, _ = frame(np.random.default_rng(6), 500)
    for odd in (table[:0], table[:1]):
        column_drift(columns, limits, odd, 0.1)
    assert not column_drift(columns, limits, table[:0], 0.1)[0]["drifted"].any()
    odd = table.assign(few=np.nan, word="c", more=1).drop(columns="number")
    found, said = column_drift(columns, limits, odd, 0.1)
    assert said == {"missing": ["number"], "all null": ["few"], "new": ["more"]}
    assert found.set_index("column").loc["word", "unknown"] == 1


def test_the_map_shows_the_day_on_which_it_began(reference):
    found = by_day(reference[0], by_days(4000))
    assert found.loc["number", "2026-01-06"] > 5 * found.loc["number", "2026-01-05"]


def test_the_map_leaves_out_a_day_of_a_few_sessions(reference):
    served = by_days(4000)
    few = by_days(4000).iloc[2000 : 2000 + MIN_SESSIONS_A_DAY - 1].assign(session=range(MIN_SESSIONS_A_DAY - 1))
    found = by_day(reference[0], pd.concat([served.iloc[:2000], few]))
    assert found.columns.tolist() == ["2026-01-05"]
    assert by_day(reference[0], few).empty


def by_days(n: int) -> pd.DataFrame:
    """Rows of two days, of which the second has other numbers."""
    table, sessions = frame(np.random.default_rng(7), n)
    table.loc[n // 2 :, "number"] += 2
    days = pd.to_datetime(["2026-01-05", "2026-01-06"], utc=True).repeat(n // 2)
    return table.assign(session=sessions, moment=days.astype("datetime64[ms, UTC]").astype(np.int64))


def test_shares_are_of_all_rows():
    assert shares_of(np.array([0, 0, 2]), 4).tolist() == [2 / 3, 0, 1 / 3, 0]
