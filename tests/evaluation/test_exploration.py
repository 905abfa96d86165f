"""The exploration shows what the log holds, and not where it was cut."""

import pandas as pd

from nextclick.evaluation.exploration import sessions_by_day


def log_of(start: str, end: str) -> pd.DataFrame:
    """A session of one event each hour, both ends included."""
    times = pd.date_range(start, end, freq="h", tz="UTC")
    return pd.DataFrame({"session_id": [f"{time}" for time in times], "timestamp": times})


def test_a_day_that_a_part_was_cut_in_is_no_fall_of_the_sessions():
    by_day = sessions_by_day(log_of("2026-01-05", "2026-01-08 00:00"), log_of("2026-01-08 01:00", "2026-01-10 02:00"))
    assert by_day["train"].dropna().tolist() == [24, 24, 24]
    assert by_day["test"].dropna().tolist() == [23, 24]
    assert str(by_day["test"].first_valid_index().date()) == "2026-01-08"


def test_a_log_shorter_than_a_day_is_shown_as_it_is():
    by_day = sessions_by_day(
        log_of("2026-01-05 01:00", "2026-01-05 06:00"), log_of("2026-01-05 07:00", "2026-01-05 09:00")
    )
    assert by_day.to_numpy().tolist() == [[6, 3]]
