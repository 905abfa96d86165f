"""Published data sets and exports are read in their native form; each row is an event, in quarantine, or left out."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nextclick.errors import InputError
from nextclick.events.ingest import ingest
from nextclick.params import Ingest


class Read:
    """What an ingest of the given files made: counts, events, items and quarantine."""

    def __init__(self, folder: Path, fmt: str, files: dict[str, str | bytes], **more):
        source = folder / "source"
        source.mkdir(exist_ok=True)
        for name, content in files.items():
            (source / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        self.counts = ingest(Ingest(path=more.pop("path", "source"), format=fmt, **more), folder, folder / "out")
        ends = ("accepted", "duplicates", "quarantined", "left_out")
        assert self.counts["rows"] == sum(self.counts[end] for end in ends)
        assert self.counts["left_out"] == sum(self.counts["left_out_kinds"].values())
        tables = (pd.read_parquet(folder / "out" / f"{name}.parquet") for name in ("events", "items", "quarantine"))
        self.events, self.items, self.quarantine = tables

    def clicks(self, *columns: str) -> list[list]:
        return self.events[list(columns)].astype(object).where(self.events[list(columns)].notna(), None).values.tolist()

    def described(self, *columns: str) -> dict[str, list]:
        values = self.items.astype(object).where(self.items.notna(), None)
        return {row["item_id"]: [row[column] for column in columns] for _, row in values.iterrows()}

    def bad(self) -> list[tuple]:
        return list(self.quarantine[["source_file", "row", "field", "reason"]].itertuples(index=False, name=None))

    def times(self) -> list[str]:
        return self.events["timestamp"].dt.strftime("%Y-%m-%d %H:%M:%S.%f").str[:-3].tolist()


def test_lastfm_has_no_header_and_quotes_that_mean_nothing(tmp_path):
    text = (
        'user_000001\t2009-05-04T23:08:57Z\tf1b1\t"Weird Al" Yankovic\tt1\tEat It"\n'
        "user_000001\t2009-05-04T13:54:10Z\ta7f7\t坂本龍一\t\tComposition 0919\n"
        "user_000001\t2009-05-04T23:39:58Z\t\tBlur\t\t\n"
        "user_000001\t2009-05-04T23:40:58Z\ta\tBlur\n"
    )
    files = {"userid-timestamp-artid-artname-traid-traname.tsv": text, "userid-profile.tsv": "#id\tgender\n"}
    read = Read(tmp_path, "lastfm_1k", files)
    assert read.clicks("session_id", "user_id", "item_id", "event_type") == [
        ["user_000001-000001", "user_000001", "坂本龍一 – Composition 0919", "view"],  # noqa: RUF001
        ["user_000001-000002", "user_000001", "t1", "view"],
    ]
    assert read.described("title", "brand")["t1"] == ['"Weird Al" Yankovic – Eat It"', '"Weird Al" Yankovic']  # noqa: RUF001
    assert [(row, field) for _, row, field, _ in read.bad()] == [(3, "item_id"), (4, "row")]


TENREC = "user_id,item_id,click,follow,like,share,video_category,watching_times,gender,age\n"


def test_tenrec_has_an_order_of_clicks_and_of_what_was_only_shown_a_count(tmp_path):
    text = (
        TENREC
        + "1,4,0,0,0,0,1,0,1,4\n2,9,1,0,0,0,\\N,1,1,4\n1,1201,1,0,0,0,7,1,1,4\n"
        + "1,5,1,0,0,0,7,1,1,4\n1,6,,0,0,0,7,1,1,4\n"
    )
    read = Read(tmp_path, "tenrec", {"QB-video.csv": text})
    assert read.counts["clock"] == "order"
    assert read.clicks("session_id", "item_id", "event_type", "position") == [
        ["1", "1201", "view", 1],
        ["1", "5", "view", 2],
        ["2", "9", "view", 1],
    ]
    assert read.described("category")["1201"] == ["7"]
    assert "9" not in read.described()
    assert read.counts["left_out_kinds"] == {"shown and not clicked": 1}
    assert read.bad() == [("QB-video.csv", 5, "row", "click is neither 0 nor 1")]


def test_tenrec_articles_have_two_levels_of_categories(tmp_path):
    head = "user_id,item_id,click,gender,age,category_second,category_first,read\n"
    read = Read(tmp_path, "tenrec", {"QK-article.csv": head + "1,4,1.0,1,4,10024,12,1\n1,5,0.0,1,4,10024,12,0\n"})
    assert read.described("category") == {"4": ["12/10024"]}
    assert read.counts["left_out"] == 1


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shown=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5), st.booleans()), min_size=1, max_size=30))
def test_clicks_of_a_user_keep_their_order_and_all_rows_are_counted(tmp_path, shown):
    shown = [*shown, (1, 1, True)]
    rows = "".join(f"{user},{item},{int(click)},0,0,0,7,1,1,4\n" for user, item, click in shown)
    read = Read(tmp_path, "tenrec", {"QB-video.csv": TENREC + rows})
    for user in {user for user, _, _ in shown}:
        clicked = [str(item) for one, item, click in shown if one == user and click]
        assert read.events.loc[read.events["session_id"] == str(user), "item_id"].tolist() == clicked
    assert (read.counts["rows"], read.counts["accepted"]) == (len(shown), sum(click for _, _, click in shown))


@pytest.mark.parametrize(
    ("fmt", "file", "text", "said"),
    [
        ("tenrec", "QB-video.csv", "user_id,item_id\n1,2\n", "no column click"),
    ],
)
def test_a_missing_column_is_named_with_the_file_and_the_columns_that_it_has(tmp_path, fmt, file, text, said):
    with pytest.raises(InputError) as error:
        Read(tmp_path, fmt, {file: text})
    assert f"source/{file}: {said}" in str(error.value)
    assert "; it has " in str(error.value)
