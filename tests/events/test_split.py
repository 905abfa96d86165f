"""Sessions are never cut in two, and nothing of the test window is known in training."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextclick.errors import InputError
from nextclick.events.split import PARTS, split
from nextclick.params import Split
from nextclick.units import MS_PER_DAY


def write(path, rows, part=None):
    events = pd.DataFrame(rows, columns=["session_id", "timestamp"])
    events["event_id"] = [f"{i:03d}" for i in range(len(events))]
    events["timestamp"] = pd.to_datetime(events["timestamp"], unit="ms", utc=True).astype("datetime64[us, UTC]")
    events[["user_id", "item_id", "event_type"]] = None, "i", "view"
    events["part"] = part
    events.to_parquet(path)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 10 * MS_PER_DAY)), min_size=1, max_size=40),
    st.floats(0, 30),
)
def test_by_time_every_event_is_in_one_part_and_nothing_leaks(tmp_path_factory, rows, embargo):
    folder = tmp_path_factory.mktemp("split")
    # a first and a last session, so that both sides have one
    write(folder / "events.parquet", [*rows, ("first", 0), ("last", 15 * MS_PER_DAY)])
    counts = split(folder / "events.parquet", Split(test_days=4, embargo_hours=embargo), folder)
    parts = {part: pd.read_parquet(folder / f"{part}.parquet") for part in PARTS}
    assert sum(len(part) for part in parts.values()) == len(rows) + 2
    assert sum(counts[f"{part}_events"] for part in PARTS) == len(rows) + 2
    assert len({s for part in parts.values() for s in part["session_id"]}) == sum(
        part["session_id"].nunique() for part in parts.values()
    )
    gap = parts["test"]["timestamp"].min() - parts["train"]["timestamp"].max()
    assert gap > pd.Timedelta(hours=embargo) - pd.Timedelta(milliseconds=1)


def test_by_file(tmp_path):
    write(tmp_path / "events.parquet", [("a", 1), ("b", 2)], part=["train", "test"])
    split(tmp_path / "events.parquet", Split(by="file"), tmp_path)
    assert pd.read_parquet(tmp_path / "train.parquet")["session_id"].tolist() == ["a"]
    assert pd.read_parquet(tmp_path / "test.parquet")["session_id"].tolist() == ["b"]


def test_an_empty_side_says_what_to_change(tmp_path):
    write(tmp_path / "events.parquet", [("a", 1)])
    with pytest.raises(InputError, match=r"no sessions to train.*change split\.test_days \(now 4"):
        split(tmp_path / "events.parquet", Split(), tmp_path)


def test_a_moment_far_ahead_is_named_as_it_leaves_nothing_to_test(tmp_path):
    write(tmp_path / "events.parquet", [("a", 1), ("b", 2 * MS_PER_DAY), ("b", 40_000 * MS_PER_DAY)])
    with pytest.raises(InputError, match="its last on 2079-07-08"):
        split(tmp_path / "events.parquet", Split(), tmp_path)


def test_a_file_that_is_missing_or_something_else_is_an_error(tmp_path):
    (tmp_path / "odd.parquet").write_text("odd")
    for name in ("odd.parquet", "missing.parquet"):
        with pytest.raises(InputError, match=name):
            split(tmp_path / name, Split(), tmp_path)
