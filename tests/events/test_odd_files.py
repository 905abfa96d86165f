"""Odd files that were read wrong once: each is read as what it holds, or refused in one line that says what to do."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nextclick.errors import InputError
from nextclick.events.ingest import ingest
from nextclick.params import Ingest

H = "session_id,item_id,timestamp\n"
T = "1569888000"
NAN = float("nan")
ONE = pa.table({"session_id": ["s"], "item_id": ["a"], "timestamp": [1569888000]})


def read(folder: Path, files: dict, path: str = ".", **params) -> tuple[dict, pd.DataFrame]:
    for name, content in files.items():
        file = folder / "source" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pa.Table):
            pq.write_table(content, file)
        else:
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
    counts = ingest(Ingest(path=f"source/{path}", **params), folder, folder / "out")
    assert counts["rows"] == counts["accepted"] + counts["duplicates"] + counts["quarantined"]
    return counts, pd.read_parquet(folder / "out/events.parquet")


READ = {  # files, params, and the items that come out in their order
    "floats with NaN in Parquet, whose statistics leave it out": (
        {
            "a.parquet": pa.table(
                {
                    "session_id": list("stu"),
                    "item_id": list("abc"),
                    "timestamp": [1569888000] * 3,
                    "user_id": [1.0, NAN, 3.0],
                    "price": [1.5, NAN, 2.0],
                }
            )
        },
        {},
        ["a", "b", "c"],
    ),
    "a folder above that is no column": (
        {"item_id=5/c.csv": f"{H}s,a,{T}\n"},
        {"path": "item_id=5/c.csv"},
        ["a"],
    ),
    "a number for a folder": ({"user_id=7/c.csv": f"{H}s,a,{T}\n"}, {}, ["a"]),
    "a folder named as a column inside": ({"c1=zz/c.csv": f"{H}s,a,{T}\n"}, {}, ["a"]),
    "blank lines before the header": ({"c.csv": f"\n\n{H}s,a,{T}\n"}, {}, ["a"]),
    "columns without a name behind the others": ({"c.csv": f"{H.strip()},,,\ns,a,{T},,,\n"}, {}, ["a"]),
    "more commas than semicolons in the header": (
        {"c.csv": f'session_id;item_id;timestamp;"a,b,c,d,e"\ns;a;{T};x\n'},
        {},
        ["a"],
    ),
    "keys that name no place in JSON": (
        {"c.jsonl": f'{{"session_id": "s", "item_id": "a", "timestamp": {T}, "": 1, "*": 2}}\n'},
        {},
        ["a"],
    ),
    "a column of Parquet that DuckDB would add": ({"a.parquet": ONE.append_column("filename", [["z"]])}, {}, ["a"]),
    "two files of one session and second": (
        {"a.csv": f"{H}s,x1,{T}\ns,x2,{T}\n", "b.csv": f"{H}s,y1,{T}\ns,y2,{T}\n"},
        {},
        ["x1", "x2", "y1", "y2"],
    ),
    "a list before another event of its second": (
        {
            "c.jsonl": "".join(
                f'{{"session_id": "s", "item_id": {i}, "timestamp": {T}}}\n' for i in ('["a", "b"]', '"c"')
            )
        },
        {},
        ["a", "b", "c"],
    ),
    "ids in braces": ({"c.csv": f"{H}s,{{3F2504E0}},{T}\n"}, {}, ["{3F2504E0}"]),
    "positions in words for none": (
        {"c.csv": f"session_id,item_id,timestamp,position\ns,a,{T},NULL\ns,b,{T},\\N\n"},
        {},
        ["a", "b"],
    ),
    "an offset with the name of its zone": ({"c.csv": f"{H}s,a,2019-10-01 00:00:00 +0200 CEST\n"}, {}, ["a"]),
    "names in capitals": ({"Events.CSV": f"{H}s,a,{T}\n", "other.csv": f"{H}s,b,{T}\n"}, {}, ["a"]),
}


@pytest.mark.parametrize(("files", "params", "items"), READ.values(), ids=READ.keys())
def test_what_is_odd_is_read(tmp_path, files, params, items):
    counts, events = read(tmp_path, files, **params)
    assert events["item_id"].tolist() == items
    assert counts["quarantined"] == 0


REFUSED = {  # files, params, and words of the one line
    "two columns that differ in capitals alone": ({"a.parquet": ONE.append_column("ITEM_ID", [["x"]])}, {}, "rename"),
    "one bad byte among UTF-8": (
        {"c.csv": H.encode() + "".join(f"s{i},Café{i},{T}\n" for i in range(9)).encode() + b"s,Caf\xe9,1\n"},
        {},
        "row 10 has bytes that are not UTF-8, as the rest",
    ),
    "blank lines alone": ({"c.csv": "\n\n"}, {}, "holds no rows"),
    "JSON lines in another encoding": (
        {"c.jsonl": f'{{"session_id": "s", "item_id": "café", "timestamp": {T}}}\n'.encode("cp1252")},
        {},
        "ingest.encoding: cp1252",
    ),
    "a catalogue in another encoding": (
        {"events.csv": f"{H}s,a,{T}\n", "items.csv": "item_id,title\na,Größe\n".encode("cp1252")},
        {},
        "items.csv: row 1 is not UTF-8 text; it looks like cp1252",
    ),
    "broken JSON": ({"c.json": '[{"session_id": "s"},]'}, {}, "is no JSON that can be read"),
    "floats of Java and Spark": ({"c.csv": f"{H}s,1.2345678901234568E16,{T}\n"}, {}, "float that lost digits"),
    "files with and without times": (
        {"a.csv": f"{H}s,a,{T}\n", "b.csv": "session_id,item_id,position\ns,b,2\n"},
        {},
        "b.csv: has no column timestamp, which other files have",
    ),
    "no format of times": ({"c.csv": f"{H}s,a,{T}\n"}, {"timestamp_format": "%Q"}, "ingest.timestamp_format: %Q"),
    "no zip": ({"c.csv.zip": b"PK\x03\x04junk"}, {}, "cannot be unpacked as zip"),
    "copies that differ in capitals": ({"a.csv": f"{H}s,a,{T}\n", "A.CSV": f"{H}s,a,{T}\n"}, {}, "the same data twice"),
    "a Delta table further down": ({"x/y/_delta_log/0.json": "{}", "x/y/p.parquet": ONE}, {}, "table of Delta"),
    "a file of a Delta table": (
        {"_delta_log/0.json": "{}", "p.parquet": ONE},
        {"path": "p.parquet"},
        "table of Delta",
    ),
}


@pytest.mark.parametrize(("files", "params", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_read_is_refused_with_the_remedy(tmp_path, files, params, words):
    with pytest.raises(InputError) as error:
        read(tmp_path, files, **params)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_quote_that_is_never_closed_costs_no_row_in_silence(tmp_path):
    rows = [f"s,i{n},{1569888000 + n}" for n in range(100)]
    rows[50] = f's,"i50,{T}'
    counts, events = read(tmp_path, {"c.csv": H + "\n".join(rows) + "\n"})
    assert (counts["rows"], len(events), counts["quarantined"]) == (100, 50, 50)
    quarantine = pd.read_parquet(tmp_path / "out/quarantine.parquet")
    assert quarantine["raw"].tolist() == rows[50:]
    assert quarantine["row"].tolist() == list(range(51, 101))


def test_words_for_nobody_hold_for_numbers_that_became_floats(tmp_path):
    rows = f"user_id,item_id,timestamp\n0.0,a,{T}\n5.0,b,{T}\n"
    _, events = read(tmp_path, {"c.csv": rows}, nobody=["0"])
    assert events["user_id"].tolist() == ["5"]


def test_a_list_that_cannot_be_read_goes_to_quarantine(tmp_path):
    counts, _ = read(tmp_path, {"c.csv": f"{H}s,\"['a', None]\",{T}\ns,b,{T}\n"})
    assert list(counts["reasons"]) == ["item_id a list that cannot be read: expected JSON such as [1, 2]"]


@pytest.mark.parametrize("encoding", ["base64", "rot13", "nonsense"])
def test_encodings_are_of_text(encoding):
    with pytest.raises(ValueError, match="expected an encoding of text"):
        Ingest(encoding=encoding)
