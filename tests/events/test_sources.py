"""Each data set is read as its publisher ships it; what breaks the schema ends in quarantine with row and reason."""

import json
from pathlib import Path

import pandas as pd
import pytest

from nextclick.errors import InputError
from nextclick.events.ingest import ingest
from nextclick.params import Ingest


def read(folder: Path, fmt: str, files: dict[str, str], path: str = ".", **more):
    """Counts, events, items and quarantine of the given files."""
    for name, text in files.items():
        (folder / name).write_bytes(text.encode("latin-1" if name == "movies.dat" else "utf-8"))
    counts = ingest(Ingest(path=path, format=fmt, **more), folder, folder / "out")
    assert counts["rows"] == sum(counts[end] for end in ("accepted", "duplicates", "quarantined", "left_out"))
    return counts, *(pd.read_parquet(folder / "out" / f"{name}.parquet") for name in ("events", "items", "quarantine"))


def milliseconds(events: pd.DataFrame) -> list[int]:
    return (events["timestamp"].astype("int64") // 1000).tolist()


def test_generic_csv_with_mapped_columns_quotes_duplicates_and_dirty_rows(tmp_path):
    rows = [
        "eid,visit,sku,kind,at,note",
        'e1,s1,a,view,2024-01-01T00:00:02Z,"one, two"',
        "e0,s1,b,view,1704067201,",
        "e1,s1,a,view,2024-01-01T00:00:02Z,again",
        "e2,s1,,view,1704067203,no item",
        "e3,s1,c,view,someday,",
        "e4,s1",
        "e5,,c,view,1704067204,",
        f"e6,s1,{'x' * 300},view,1704067204,",
        "e7,s1,c,view,-5,",
        "e8,s2,c,cart,1704067205123,",
        "",
    ]
    columns = {"event_id": "eid", "session_id": "visit", "item_id": "sku", "event_type": "kind", "timestamp": "at"}
    counts, events, items, bad = read(tmp_path, "generic", {"c.csv": "\n".join(rows)}, "c.csv", columns=columns)
    assert (counts["accepted"], counts["duplicates"], counts["quarantined"]) == (3, 1, 6)  # a blank line is no row
    assert events["event_id"].tolist() == ["e0", "e1", "e8"]
    assert milliseconds(events) == [1704067201000, 1704067202000, 1704067205123]
    assert items.empty
    assert list(zip(bad["row"], bad["field"], strict=True)) == [
        *[(4, "item_id"), (5, "timestamp"), (6, "row"), (7, "session_id"), (8, "item_id"), (9, "timestamp")],
    ]
    assert bad["raw"][2] == "e4,s1"
    assert bad["reason"][2] == "expected 6 columns, found 2"
    assert counts["reasons"]["timestamp before 1990"] == 1


def test_generic_folder_with_train_test_items_and_only_the_order(tmp_path):
    for name, first in (("train", 10), ("test", 12)):
        rows = [(first + s, p, f"i{p}") for s in (1, 0) for p in (0, 1)]
        pd.DataFrame(rows, columns=["session_id", "position", "item_id"]).to_parquet(tmp_path / f"{name}.parquet")
    pd.DataFrame({"item_id": ["i0", "i1"], "title": ["A", None], "price": [1.5, 2]}).to_csv(tmp_path / "items.csv")
    counts, events, items, _ = read(tmp_path, "generic", {"oracle.csv": "ignored"})
    assert counts["clock"] == "order"
    assert events["session_id"].tolist() == ["10", "10", "11", "11", "12", "12", "13", "13"]
    assert events["item_id"].tolist() == ["i0", "i1"] * 4
    assert events["part"].tolist() == ["train"] * 4 + ["test"] * 4
    assert events["timestamp"].is_monotonic_increasing
    assert events["timestamp"].is_unique
    assert items["price"].tolist() == [1.5, 2]
    assert items["title"].tolist() == ["A", None]


def test_json_lines_with_a_broken_line(tmp_path):
    text = '{"session_id": 1, "item_id": "x", "timestamp": 1704067200}\nnot json\n{"session_id": 1, "item_id": null}\n'
    _, events, _, bad = read(tmp_path, "generic", {"events.jsonl": text})
    assert events[["session_id", "item_id", "event_type"]].values.tolist() == [["1", "x", "view"]]
    assert bad[["row", "field", "raw"]].values.tolist() == [
        [2, "row", "not json"],
        [3, "item_id", '{"session_id": 1, "item_id": null}'],
    ]


def test_retailrocket_visits_are_cut_by_inactivity(tmp_path):
    minute = 60_000
    start = 1433221332117
    rows = ["timestamp,visitorid,event,itemid,transactionid"]
    rows += [f"{start + 31 * minute},7,transaction,5,99", f"{start},7,view,5,", f"{start + minute},7,addtocart,5,"]
    properties = "timestamp,itemid,property,value\n1,5,categoryid,1338\n0,5,available,1\n2,5,categoryid,9\n"
    files = {"events.csv": "\n".join(rows) + "\n", "item_properties_part1.csv": properties}
    _, events, items, _ = read(tmp_path, "retailrocket", files)
    assert events["event_type"].tolist() == ["view", "cart", "purchase"]
    assert events["session_id"].tolist() == ["7-000001"] * 2 + ["7-000001"]  # 30 minutes exactly is not over the gap
    assert items.values.tolist()[0][:3] == ["5", None, "1338"]
    files["events.csv"] = files["events.csv"].replace(str(start + 31 * minute), str(start + 31 * minute + 1))
    assert read(tmp_path, "retailrocket", files)[1]["session_id"].tolist()[-1] == "7-000002"


def test_diginetica(tmp_path):
    text = (
        "session_id;user_id;item_id;timeframe;eventdate\n1;NA;81766;526309;2016-05-09\n1;12;31331;1031018;2016-05-09\n"
    )
    files = {
        "train-item-views.csv": text,
        "products.csv": "item_id;pricelog2;product.name.tokens\n81766;3;1,2\n",
        "product-categories.csv": "item_id;category_id\n81766;44\n",
    }
    _, events, items, _ = read(tmp_path, "diginetica", files)
    assert events["user_id"].tolist() == [None, "12"]
    assert milliseconds(events) == [1462752000000 + 526309, 1462752000000 + 1031018]
    assert items[["item_id", "category", "price"]].values.tolist() == [["81766", "44", 8.0]]
    old = {"train-item-views.csv": text.replace("_id", "Id")}
    assert read(tmp_path, "diginetica", old, "train-item-views.csv")[0]["accepted"] == 2


def test_a_folder_with_a_file_named_after_the_published_one_and_what_is_said_of_two(tmp_path):
    text = "session_id;user_id;item_id;timeframe;eventdate\n1;NA;8;5;2016-05-09\n"
    sample = {"diginetica-train-item-views.sample.csv": text}
    assert read(tmp_path, "diginetica", sample)[0]["accepted"] == 1
    with pytest.raises(InputError, match=r"which one is meant: diginetica-\S+, train-item-views-2\.csv\?"):
        read(tmp_path, "diginetica", {"train-item-views-2.csv": text})


def test_of_good_rows_of_a_session_with_the_same_id_the_first_by_file_name_and_row_is_kept(tmp_path):
    head, end = "event_id,session_id,item_id,timestamp\n", ",1704067200\n"
    files = {
        "train.csv": head + f"e1,s1,{end}" + f"e1,s1,a{end}" + f"e2,s1,b{end}" + f"e1,s1,c{end}",
        "test.csv": head + f"e1,s1,d{end}" + f"e1,s2,f{end}" + f"e3,s2,e{end}",
    }
    counts, events, _, bad = read(tmp_path, "generic", files)
    assert (counts["rows"], counts["accepted"], counts["duplicates"], counts["quarantined"]) == (7, 4, 2, 1)
    assert len(bad) == 1
    found = dict(zip(events["session_id"] + events["event_id"], events["item_id"], strict=True))
    assert found == {"s1e1": "d", "s1e2": "b", "s2e1": "f", "s2e3": "e"}


def test_nothing_is_left_of_a_run_that_was_killed_or_failed(tmp_path):
    leftover = tmp_path / "out/.scratch-ingest"
    leftover.mkdir(parents=True)
    (leftover / "scratch.duckdb").write_text("torn")
    read(tmp_path, "generic", {"c.csv": "session_id,item_id,timestamp\ns,i,1704067200\n"}, "c.csv")
    whole = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert whole.keys() == {"events.parquet", "items.parquet", "quarantine.parquet"}
    with pytest.raises(InputError, match="no row is a valid event"):
        read(tmp_path, "generic", {"c.csv": "session_id,item_id,timestamp\ns,,1704067200\n"}, "c.csv")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == whole


def test_yoochoose_clicks_and_buys(tmp_path):
    clicks = "1,2014-04-07T10:51:09.277Z,214536502,0\n1,2014-04-07T10:54:09.868Z,214536500,0\n1,2014-04-07T10:54\n"
    files = {"yoochoose-clicks.dat": clicks, "yoochoose-buys.dat": "1,2014-04-07T11:00:00.000Z,214536500,1046,1\n"}
    _, events, _, bad = read(tmp_path, "yoochoose", files)
    assert events["event_type"].tolist() == ["view", "view", "purchase"]
    assert milliseconds(events)[0] == 1396867869277
    assert bad[["source_file", "row"]].values.tolist() == [["yoochoose-clicks.dat", 3]]


def test_otto(tmp_path):
    events = [{"aid": 5, "ts": 1661724000378, "type": "clicks"}, {"aid": 6, "ts": 1661724000379, "type": "orders"}]
    lines = [
        json.dumps({"session": 3, "events": events}),
        '{"session": 4, "events": []}',
        "{",
        json.dumps({"session": 5}),
    ]
    _, found, _, bad = read(tmp_path, "otto", {"train.jsonl": "\n".join(lines)})
    assert found[["session_id", "item_id", "event_type"]].values.tolist() == [
        ["3", "5", "view"],
        ["3", "6", "purchase"],
    ]
    assert len(bad) == 3


@pytest.mark.parametrize(
    "files",
    [
        {"ratings.dat": "1::1193::5::978300760\n", "movies.dat": '1193::"Cuckoo\'s" Caf\xe9 (1975)::Drama|War\n'},
        {
            "ratings.csv": "userId,movieId,rating,timestamp\n1,1193,5.0,978300760\n",
            "movies.csv": 'movieId,title,genres\n1193,"""Cuckoo\'s"" Caf\xe9 (1975)",Drama|War\n',
        },
        {
            "ml.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t1193\t5\t978300760\n",
            "ml.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
            '1193\t"Cuckoo\'s" Caf\xe9 (1975)\t1975\tDrama|War\n',
        },
    ],
    ids=["dat", "csv", "inter"],
)
def test_movielens(tmp_path, files):
    _, events, items, _ = read(tmp_path, "movielens", files)
    assert events[["session_id", "user_id", "item_id"]].values.tolist() == [["1-000001", "1", "1193"]]
    assert milliseconds(events) == [978300760000]
    assert items[["title", "category"]].values.tolist() == [['"Cuckoo\'s" Caf\xe9 (1975)', "Drama|War"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no such file"),
        ("", "is empty"),
        ("session_id,timestamp\n1,2\n", "no column item_id; it has session_id, timestamp"),
        ("session_id,item_id\n1,2\n", "needs a column timestamp"),
        ("item_id,timestamp\n1,2\n", "needs a column session_id"),
        ("session_id,item_id,timestamp,event_type\n1,a,1704067200,wish\n", "'wish' (1 rows, first c.csv: row 1)"),
        ("session_id,item_id,timestamp\n1,,1704067200\n", "no row is a valid event"),
        ("session_id,item_id,timestamp\n", "holds no rows"),
        ("session_id,item_id,item_id,timestamp\n1,a,b,1704067200\n", "names the column item_id more than once"),
    ],
)
def test_one_clear_error(tmp_path, text, said):
    if text is not None:
        (tmp_path / "c.csv").write_text(text)
    with pytest.raises(InputError, match=r"c\.csv|event_types") as error:
        ingest(Ingest(path="c.csv"), tmp_path, tmp_path / "out")
    assert said in str(error.value)


def test_a_line_that_is_not_utf_8_is_named_in_one_line(tmp_path):
    rows = [b"1,a,%d" % (1704067200 + i) for i in range(3000)]
    rows[2000] = "1,café,1704067200".encode("latin-1")
    (tmp_path / "c.csv").write_bytes(b"\n".join([b"session_id,item_id,timestamp", *rows]))
    with pytest.raises(
        InputError, match=r"c\.csv: row 2001 is not UTF-8 text; it looks like cp1252: set ingest\.encoding"
    ) as error:
        ingest(Ingest(path="c.csv"), tmp_path, tmp_path / "out")
    assert "\n" not in str(error.value)


def test_the_byte_order_mark_of_excel_is_no_part_of_a_name(tmp_path):
    _, events, _, _ = read(tmp_path, "generic", {"events.csv": "\ufeffsession_id,item_id,timestamp\n1,a,1704067200\n"})
    assert events["session_id"].tolist() == ["1"]
    (tmp_path / "other").mkdir()
    line = '\ufeff{"session_id": "1", "item_id": "a", "timestamp": 1704067200}\n'
    _, events, _, _ = read(tmp_path / "other", "generic", {"events.jsonl": line})
    assert events["session_id"].tolist() == ["1"]


@pytest.mark.parametrize("first", ["[1, 2]", "null", "5"])
def test_json_lines_are_objects(tmp_path, first):
    (tmp_path / "c.jsonl").write_text(first + "\n")
    with pytest.raises(InputError, match=r"c\.jsonl: row 1: expected a JSON object"):
        ingest(Ingest(path="c.jsonl"), tmp_path, tmp_path / "out")


def test_rows_that_describe_items_badly_go_to_quarantine_with_their_reason(tmp_path):
    files = {
        "events.csv": "session_id,item_id,timestamp\n1,a,1704067200\n",
        "items.csv": "item_id,title,price,launched\na,Pan,1.5,2026-01-01\na,Pot,9,2025-01-01\nb,Lid,cheap,\n"
        "c,Jar,2,never\n,Cup,3,\nd\ne,Mug,,\n",
    }
    counts, _, items, quarantine = read(tmp_path, "generic", files)
    assert items["item_id"].tolist() == ["a", "b", "c", "e"]
    assert items["price"].fillna(-1).tolist() == [1.5, -1, 2, -1]  # a price that is none costs the price alone
    assert items.iloc[0][["title", "price"]].tolist() == ["Pan", 1.5]
    assert items.iloc[0]["launched"] == pd.Timestamp("2026-01-01", tz="UTC")
    assert quarantine[["source_file", "row", "field", "reason"]].to_numpy().tolist() == [
        ["items.csv", 2, "item_id", "an earlier row describes this item"],
        ["items.csv", 5, "item_id", "empty"],
        ["items.csv", 6, "row", "expected 4 columns, found 1"],
    ]
    assert quarantine["raw"].tolist()[-1] == "d"
    assert (counts["items_described"], counts["items_listed"]) == (1, 4)
    assert counts["item_values_unread"] == {"price": 1, "launched": 1}
    assert sum(counts["item_reasons"].values()) == 3


def test_a_catalogue_without_ids_is_an_error(tmp_path):
    files = {"events.csv": "session_id,item_id,timestamp\n1,a,1704067200\n", "items.csv": "sku,title\na,Pan\n"}
    with pytest.raises(InputError, match=r"items\.csv: no column item_id; it has sku, title"):
        read(tmp_path, "generic", files)


def test_the_same_file_gives_the_same_bytes(tmp_path):
    rows = [f"{i % 97},{i % 13},{1704067200 + i}" for i in range(5000)]
    (tmp_path / "c.csv").write_text("session_id,item_id,timestamp\n" + "\n".join(rows))
    written = []
    for out in ("a", "b"):
        ingest(Ingest(path="c.csv"), tmp_path, tmp_path / out)
        written.append((tmp_path / out / "events.parquet").read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("moment", ["1e18", "20191001123000", "9223372036854775807", "1e300", "inf", "10000-01-01"])
def test_a_moment_too_far_to_calculate_with_goes_to_quarantine(tmp_path, moment):
    rows = f"session_id,item_id,timestamp\n1,a,1704067200\n1,b,{moment}\n"
    counts, events, _, quarantine = read(tmp_path, "generic", {"events.csv": rows})
    assert events["item_id"].tolist() == ["a"]
    assert quarantine["field"].tolist() == ["timestamp"]
    assert counts["quarantined"] == 1
