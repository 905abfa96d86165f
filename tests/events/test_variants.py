"""Variants of files as people have them: however the same events are written down, they are read as the same events.

Each test writes events that it knows in a random way of one kind, and compares what is read with them.
"""

import bz2
import csv
import gzip
import io
import json
import shutil
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nextclick.errors import InputError
from nextclick.events.ingest import ingest
from nextclick.params import Ingest

START = 1_569_888_000  # 2019-10-01
FIELDS = ("session_id", "item_id", "timestamp")
# each example has a folder of its own
variants = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(folder: Path, path: str = "source", **params) -> tuple[dict, pd.DataFrame, pd.DataFrame]:
    """What was read, the events and the quarantine."""
    counts = ingest(Ingest(path=path, **params), folder, folder / "out")
    assert counts["rows"] == counts["accepted"] + counts["duplicates"] + counts["quarantined"]
    return counts, *(pd.read_parquet(folder / "out" / f"{name}.parquet") for name in ("events", "quarantine"))


@pytest.fixture
def place():
    """A function that gives a new folder, since hypothesis calls a test many times."""
    with TemporaryDirectory() as root:
        number = iter(range(10**6))

        def new() -> Path:
            folder = Path(root) / str(next(number))
            (folder / "source").mkdir(parents=True)
            return folder

        yield new
        shutil.rmtree(root, ignore_errors=True)


texts = st.text(st.characters(codec="cp1252", exclude_categories=["Cc"]), min_size=1, max_size=12)
cells = texts | st.sampled_from(['a"b', "a,b", "a;b\tc", "two\nlines", 'both, "of"\nthem'])
ids = st.text("abcdefgxyz0123456789-_", min_size=1, max_size=8).map(lambda text: "i" + text)
logs = st.lists(st.tuples(st.sampled_from(["s1", "s2", "s3"]), ids, st.integers(0, 5000)), min_size=1, max_size=12)


@variants
@given(
    log=logs,
    note=cells,
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252", "utf-32"]),
    packing=st.sampled_from(["", ".gz", ".bz2", ".zst", ".zip"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_text_in_any_dress(place, log, note, end, separator, encoding, packing, quoting):
    folder, text = place(), io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerows([("note", *FIELDS), *((note, s, i, START + t) for s, i, t in log)])
    name, data = folder / f"source/clicks.csv{packing}", text.getvalue().encode(encoding)
    if packing == ".zip":
        with zipfile.ZipFile(name, "w") as archive:
            archive.writestr("clicks.csv", data)
    elif packing == ".zst":
        name.write_bytes(pa.compress(data, codec="zstd", asbytes=True))
    else:
        name.write_bytes({"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}[packing](data))
    counts, events, _ = read(folder, encoding="cp1252" if encoding == "cp1252" else "utf-8")
    assert counts["quarantined"] == 0
    times = (events["timestamp"] - pd.Timestamp(START, unit="s", tz="UTC")) / pd.Timedelta(seconds=1)
    found = list(zip(events["session_id"], events["item_id"], times.astype(int), strict=True))
    assert sorted(found) == sorted(log)


@variants
@given(text=texts.filter(lambda text: not text.isascii()))
def test_another_encoding_is_one_line_that_names_the_option(place, text):
    folder = place()
    (folder / "source/clicks.csv").write_bytes(f"session_id,item_id,timestamp\ns,{text},{START}\n".encode("cp1252"))
    try:
        text.encode("cp1252").decode()
    except UnicodeDecodeError:
        with pytest.raises(InputError, match=r"clicks\.csv: row 1 is not UTF-8 text.*ingest\.encoding") as error:
            read(folder)
        assert "\n" not in str(error.value)


@variants
@given(
    kinds=st.lists(st.sampled_from(["int", "float", "text", "absent", "empty"]), min_size=2, max_size=4),
    suffix=st.sampled_from(["csv", "parquet", "jsonl"]),
)
def test_a_column_that_changes_from_file_to_file(place, kinds, suffix):
    folder, users = place(), set()
    for month, kind in enumerate(kinds):
        rows = pd.DataFrame({"session_id": [f"s{month}"] * 2, "item_id": ["a", "b"], "timestamp": [START, START + 60]})
        number = 17 + month
        values = {"int": number, "float": float(number), "text": str(number), "empty": None}
        if kind != "absent":
            rows["user_id"] = pd.Series([values[kind]] * 2, dtype="float64" if kind == "float" else None)
        users |= {str(number)} if kind in ("int", "float", "text") else set()
        file = folder / f"source/2019-{10 + month}.{suffix}"
        if suffix == "csv":
            rows.to_csv(file, index=False)
        elif suffix == "parquet":
            rows.to_parquet(file)
        else:
            rows.to_json(file, orient="records", lines=True)
    counts, events, _ = read(folder)
    assert counts["accepted"] == 2 * len(kinds)
    assert set(events["user_id"].dropna()) == users


@variants
@given(types=st.lists(st.sampled_from(["view", "cart", "purchase"]), min_size=1, max_size=3, unique=True))
def test_folders_are_columns(place, types):
    folder = place()
    for number, kind in enumerate(types):
        file = folder / f"source/event_type={kind}/part-{number}.parquet"
        file.parent.mkdir()
        pd.DataFrame({"session_id": ["s"], "item_id": ["a"], "timestamp": [START + number]}).to_parquet(file)
    assert read(folder)[1]["event_type"].tolist() == types


@variants
@given(name=st.text("ab[]*?{} ", min_size=1, max_size=6).filter(str.strip))
def test_a_name_with_signs_is_that_file(place, name):
    folder = place()
    for other, item in ((f"{name}.csv", "this"), ("a.csv", "a"), ("b.csv", "b"), ("ab.csv", "ab")):
        if other == f"{name}.csv" or other != f"{name}.csv".strip():
            (folder / "source" / other).write_text(f"session_id,item_id,timestamp\ns,{item},{START}\n")
    (folder / "source" / f"{name}.csv").write_text(f"session_id,item_id,timestamp\ns,this,{START}\n")
    assert read(folder, f"source/{name}.csv")[1]["item_id"].tolist() == ["this"]


@variants
@given(
    number=st.integers(1 - 2**53, 2**53 - 1),
    other=st.integers(2**54, 2**62),
    column=st.sampled_from(["item_id", "user_id"]),
)
def test_floats_are_the_whole_numbers_that_they_were_or_are_refused(place, number, other, column):
    rows = {"session_id": ["s", "s"], "item_id": ["a", "b"], "user_id": ["u", "u"], "timestamp": [START, START + 1]}
    folder = place()
    pd.DataFrame(rows | {column: [float(number)] * 2}).to_parquet(folder / "source/events.parquet")
    assert read(folder)[1][column].tolist() == [str(number)] * 2
    pd.DataFrame(rows | {column: [float(other)] * 2}).to_parquet(folder / "source/events.parquet")
    with pytest.raises(InputError, match=rf"events\.parquet: row 1: {column} .*float.*whole numbers"):
        read(folder)


@variants
@given(
    word=st.sampled_from(["NULL", "\\N", "nan", "None", "(not set)", "undefined", "", "  ", "guest"]),
    suffix=st.sampled_from(["csv", "jsonl", "parquet"]),
    guests=st.integers(1, 4),
)
def test_nobody_is_no_visitor(place, word, suffix, guests):
    folder = place()
    rows = [("u1", "a", START), *((word, "b", START + guest) for guest in range(guests))]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    file = folder / f"source/clicks.{suffix}"
    if suffix == "csv":
        table.to_csv(file, index=False)
    elif suffix == "jsonl":
        table.to_json(file, orient="records", lines=True)
    else:
        table.to_parquet(file)
    counts, events, bad = read(folder, nobody=["guest"])
    assert events["user_id"].tolist() == ["u1"]
    assert counts["reasons"] == {"user_id empty: a guest without a session": guests}
    assert len(bad) == guests


@variants
@given(
    items=st.lists(ids, min_size=0, max_size=4),
    write=st.sampled_from([json.dumps, repr]),
    suffix=st.sampled_from(["csv", "jsonl", "parquet"]),
)
def test_a_cell_that_holds_a_list_is_an_event_for_each_item(place, items, write, suffix):
    folder = place()
    file = folder / f"source/orders.{suffix}"
    if suffix == "csv":
        table = pd.DataFrame({"session_id": ["s"], "item_id": [write(items)], "timestamp": [START]})
        table.to_csv(file, index=False)
    else:
        table = pa.table(
            {"session_id": ["s"], "item_id": pa.array([items], pa.list_(pa.string())), "timestamp": [START]}
        )
        if suffix == "parquet":
            pq.write_table(table, file)
        else:
            file.write_text(json.dumps(table.to_pylist()[0]) + "\n")
    if not items:
        with pytest.raises(InputError, match="item_id empty"):
            read(folder)
        return
    counts, events, _ = read(folder)
    assert events["item_id"].tolist() == items
    assert (counts["rows"], counts["rows_with_lists"]) == (len(items), 1)


@variants
@given(log=st.lists(st.tuples(st.sampled_from("12"), st.sampled_from(["A", "B", None]), ids), min_size=1, max_size=12))
def test_a_session_has_one_user_and_no_two_guests_are_merged(place, log):
    folder = place()
    rows = [(s, u, i, START + t) for t, (s, u, i) in enumerate(log)]
    pd.DataFrame(rows, columns=["session_id", "user_id", "item_id", "timestamp"]).to_csv(
        folder / "source/clicks.csv", index=False
    )
    users = {s: {u for t, u, _ in log if t == s and u} for s, _, _ in log}
    ambiguous = sum(u is None and len(users[s]) > 1 for s, u, _ in log)
    if ambiguous == len(log):
        return
    counts, events, _ = read(folder)
    assert (events.groupby("session_id")["user_id"].nunique() <= 1).all()
    assert counts["quarantined"] == ambiguous
    assert counts["sessions_of_several_users"] == sum(len(of) > 1 for of in users.values())


@variants
@given(days=st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_a_session_that_goes_on_for_days_is_cut(place, days):
    folder = place()
    rows = [("s", f"i{day}", START + day * 86_400) for day in days]
    pd.DataFrame(rows, columns=FIELDS).to_csv(folder / "source/clicks.csv", index=False)
    counts, events, _ = read(folder)
    is_long = max(days) - min(days) > 1
    assert counts["sessions_of_several_days"] == int(is_long)
    assert events["session_id"].nunique() == (len(set(days)) if is_long else 1)


OFFSETS = {"": 0, "Z": 0, " UTC": 0, "+00:00": 0, " +0200": 7200, "+02:00": 7200, "-0530": -19800, " -05:30": -19800}


@variants
@given(
    second=st.integers(631_152_000, START),
    ms=st.integers(0, 999),
    unit=st.sampled_from(["s", "s.", "ms", "us", "ns", "iso", "T"]),
    offset=st.sampled_from(sorted(OFFSETS)),
)
def test_times_in_all_units_and_spellings(place, second, ms, unit, offset):
    total = second * 1000 + ms
    local = pd.Timestamp(total + OFFSETS[offset] * 1000, unit="ms")
    text = {
        "s": str(second),
        "s.": f"{second}.{ms:03}",
        "ms": str(total),
        "us": f"{total}000",
        "ns": f"{total}000000",
        "iso": f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03}{offset}",
        "T": f"{local:%Y-%m-%dT%H:%M:%S}.{local.microsecond // 1000:03}{offset.strip() if offset != ' UTC' else 'Z'}",
    }[unit]
    folder = place()
    (folder / "source/clicks.csv").write_text(f"session_id,item_id,timestamp\ns,a,{text}\n")
    found = read(folder)[1]["timestamp"].iloc[0]
    assert found == pd.Timestamp(second * 1000 if unit == "s" else total, unit="ms", tz="UTC"), text


@variants
@given(
    text=st.sampled_from(["20191001123000", "201910011230", "20191001", "2019-10-01 10:00:00 CST", "10/12/2019 10:00"])
    | st.integers(START + 400_000_000, 4_000_000_000).map(str)
    | st.integers(-(10**18), -1).map(str)
)
def test_what_is_no_time_or_years_ahead_goes_to_quarantine(place, text):
    folder = place()
    (folder / "source/clicks.csv").write_text(f"session_id,item_id,timestamp\ns,a,{START}\ns,b,{text}\n")
    _, events, bad = read(folder)
    assert events["item_id"].tolist() == ["a"]
    assert bad[["row", "field"]].values.tolist() == [[2, "timestamp"]]


@variants
@given(
    order=st.permutations(range(8)),
    names=st.lists(st.uuids(), min_size=8, max_size=8, unique=True),
    told=st.booleans(),
    suffix=st.sampled_from(["csv", "parquet"]),
)
def test_events_of_one_second_stay_in_order(place, order, names, told, suffix):
    """Of the file, or of `position` where there is one; never of event ids, which are random."""
    folder = place()
    table = pd.DataFrame({"event_id": map(str, names), "session_id": "s", "item_id": [f"i{n}" for n in order]})
    table["timestamp"] = START
    if told:
        table["position"] = order
    file = folder / f"source/events.{suffix}"
    table.to_csv(file, index=False) if suffix == "csv" else table.to_parquet(file)
    counts, events, _ = read(folder)
    assert events["item_id"].tolist() == [f"i{n}" for n in (range(8) if told else order)]
    assert counts["ties"] == 1


PRICES = [  # text, and what it is by no rule, by the point, by the comma
    ("1299", 1299, 1299, 1299),
    ("1299.50", 1299.5, 1299.5, None),
    ("$1,299.00", None, 1299, None),
    ("12,50 €", None, None, 12.5),
    ("1.299,00", None, None, 1299),
    ("USD 7.99", None, 7.99, None),
    ("1,299", None, 1299, 1.299),
    ("1 299,00 kr", None, None, 1299),
    ("12.345.678,90", None, None, 12345678.9),
    ("1'299.00", None, 1299, None),
    ("free", None, None, None),
    ("12-15", None, None, None),
]


@variants
@given(price=st.sampled_from(PRICES), decimal=st.sampled_from([None, ".", ","]))
def test_a_price_is_read_by_one_named_rule_or_costs_itself_alone(place, price, decimal):
    folder = place()
    (folder / "source/events.csv").write_text(f"session_id,item_id,timestamp\ns,a,{START}\n")
    with (folder / "source/items.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("item_id", "title", "price"), ("a", "Mug", price[0])])
    counts, _, _ = read(folder, decimal=decimal)
    (item,) = pd.read_parquet(folder / "out/items.parquet").to_dict("records")
    expected = price[1 + [None, ".", ","].index(decimal)]
    assert item["title"] == "Mug"
    assert (pd.isna(item["price"]) and expected is None) or item["price"] == expected
    assert counts["item_values_unread"] == ({"price": 1} if expected is None else {})
