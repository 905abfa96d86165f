"""`nextclick look` guesses how people's files are to be read, or asks one question that can be answered."""

import gzip
import json
import os
import random
import re
from pathlib import Path

import duckdb
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from nextclick.cli import app
from nextclick.errors import InputError
from nextclick.events import published
from nextclick.events.ingest_report import LINES, WIDTH, screen
from nextclick.events.look.column_names import STRONG, WEAK, keys, order_of_types
from nextclick.events.look.guess import Question
from nextclick.events.look.look import _Looker, look
from nextclick.events.look.recognise import SIGNS, recognised
from nextclick.events.look.written_section import write_section, written
from nextclick.events.readers import Reader
from nextclick.params import Ingest, Params

SHARED = Path(os.environ.get("NEXTCLICK_SHARED", Path(__file__).parents[3] / "shared"))
OUR_TYPES = ["view", "cart", "purchase"]
DAY = 86_400


def looked(folder: Path, name: str, text: str | bytes, columns=None, **settings) -> dict:
    """The section that is guessed for a file of that content."""
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return look(Path(name), columns or {}, settings, folder)[0]


def table(*rows: str) -> str:
    return "\n".join(rows) + "\n"


def shop(names: dict[str, str], rows: int = 400, seed: int = 1, header: bool = True) -> str:
    """Sessions of a shop over ten days as CSV, in the columns `names`: ours to those of the file, in its order."""
    draw = random.Random(seed)
    lines = [",".join(names.values())] if header else []
    for n in range(rows // 4):
        start = 1_700_000_000 + n * 10 * DAY * 4 // rows
        for i in range(4):
            values = {
                "session_id": f"s{n}",
                "user_id": f"u{n % 30}",
                "item_id": f"p{int(draw.paretovariate(1)) % 60}",
                "event_type": draw.choice(["product_view"] * 6 + ["add_to_cart", "purchase"]),
                "timestamp": str(start + i * 20),
                "event_id": f"e{n}-{i}",
                "price": f"{draw.randrange(100, 9000) / 100:.2f}",
                "title": f"Thing {draw.randrange(60)}",
                "brand": draw.choice(["acme", "apex"]),
                "rest": draw.choice(["de", "fr"]),
            }
            lines.append(",".join(values[name] for name in names))
    return table(*lines)


EXPECTED = {
    "a-file-a-month/input": {},
    "catalogue-title-over-two-lines/nlitems": {},
    "columns-that-came-later/input": {"event_types": ["view", "purchase"]},
    "day-first/input": "the day or the month first",
    "digits-of-a-date/input": {"timestamp_format": "%Y%m%d%H%M%S"},
    "empty-column-first/input": {},
    "empty-user-called-session/online.csv": {"format": "online_retail"},
    "floats-beyond-2-53/input": "a float that lost digits",
    "guests/input": {},
    "gzip/input": {},
    "hive-partition-column/hive_type": {"event_types": ["view", "purchase"]},
    "item-id-is-a-list/list.jsonl": {},
    "items-described-counts-no-match/dbl": "a float that lost digits",
    "jsonl-first-row-lacks-keys/sparse": {"event_types": ["view", "cart", "purchase"]},
    "latin-1/input": {"encoding": "cp1252"},
    "microseconds/input": {},
    "offset-after-a-space/input": {},
    "one-far-future-session/future.csv": {},
    "one-session-two-users/input": {},
    "prices-as-people-write-them/input": {},
    "quoted-line-break/input": {},
    "session-id-of-several-users/ga4.csv": {"columns": {"session_id": "sid", "user_id": "uid"}},
    "ties-keep-the-file's-order/input": {},
    "two-copies/input": "the same data twice?",
    "whole-numbers-as-floats/input": {},
    "windows-line-ends/input": {},
}
OF_DATA = {
    "diginetica": {},
    "diginetica/train.parquet": {},
    "diginetica/test.parquet": {},
    "rsc15-100k": {},
    "rsc15-100k/train.parquet": {},
    "rsc15-100k/test.parquet": {},
    "ml-100k": {"format": "movielens"},
    "ml-100k/ml-100k.inter": {"format": "movielens"},
    "ml-100k/ml-100k.item": "perhaps this file describes items",
    "ml-100k/ml-100k.user": "expected a name that ends in",
    "native": {"format": "diginetica"},
    "native/diginetica-train-item-views.sample.csv": {"format": "diginetica"},
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        *((f"cases/{path}", told) for path, told in EXPECTED.items()),
        *((f"data/{path}", t) for path, t in OF_DATA.items()),
    ],
)
def test_each_shared_file_is_guessed_right_or_ends_in_one_clear_message(path, expected):
    if not (SHARED / path).exists():
        pytest.skip(f"{SHARED / path} is absent")
    if isinstance(expected, str):
        with pytest.raises(InputError, match=re.escape(expected)):
            look(Path(path), {}, {}, SHARED)
        return
    section, read, uncertain = look(Path(path), {}, {}, SHARED)
    assert section == {"path": path, "format": "generic", "columns": {}, "event_types": OUR_TYPES, **expected}
    assert read["accepted"] > 0
    assert Ingest.model_validate(section)
    shown = screen(read, uncertain, written(section).splitlines()).splitlines()
    assert len(shown) <= LINES
    assert max(map(len, shown)) <= WIDTH


def test_no_shared_case_is_left_out():
    if not (SHARED / "cases").exists():
        pytest.skip(f"{SHARED / 'cases'} is absent")
    # an input that this test does not know is one to add
    assert {case.name for case in (SHARED / "cases").iterdir() if case.is_dir()} <= {
        path.partition("/")[0] for path in EXPECTED
    }


def test_names_of_no_two_fields_are_the_same():
    seen = [one for names in STRONG.values() for one in keys(names)]
    assert len(seen) == len(set(seen))
    assert all(keys(names)[0] == keys(field)[0] for field, names in STRONG.items())
    assert WEAK.keys() <= STRONG.keys()


def test_every_published_format_has_a_sign():
    assert {sign.format for sign in SIGNS} == published.FORMATS.keys()


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_columns_in_any_order_and_by_any_of_their_names_give_the_same_mapping(data, tmp_path_factory):
    fields = ["session_id", "user_id", "item_id", "event_type", "timestamp", "event_id", "price", "title", "brand"]
    theirs = {}
    for name in fields:
        words = data.draw(st.sampled_from(STRONG[name].split())).split("_")
        style = data.draw(st.sampled_from(["_", " ", ".", "", "Aa"]))
        theirs[name] = "".join(map(str.title, words)) if style == "Aa" else style.join(words)
    theirs["rest"] = "Country"
    order = data.draw(st.permutations([*theirs]))
    section = looked(tmp_path_factory.mktemp("look"), "x.csv", shop({name: theirs[name] for name in order}))
    assert section["format"] == "generic"
    assert {name: section["columns"].get(name, name) for name in fields} == {name: theirs[name] for name in fields}
    assert section["event_types"] == ["product_view", "add_to_cart", "purchase"]


KAGGLE = table(
    "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session",
    "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d76fde",
    "2019-10-01 00:00:01 UTC,cart,3900821,2053013552326770905,appliances.env,aqua,33.20,554748717,9333dfbd",
    "2019-10-01 00:00:04 UTC,purchase,17200506,2053013559792632471,furniture,,543.10,519107250,566511c2",
)


@pytest.mark.parametrize("name", ["2019-Oct.csv", "2019-Oct.csv.gz"])
def test_a_published_format_is_told_by_its_columns_or_read_by_their_names(tmp_path, name):
    text = gzip.compress(KAGGLE.encode()) if name.endswith(".gz") else KAGGLE
    section = looked(tmp_path, name, text)
    assert section == {"path": name, "format": "ecommerce_behavior", "columns": {}, "event_types": OUR_TYPES}
    section = looked(tmp_path, name, text, format="generic")
    assert section["columns"] == {
        "timestamp": "event_time", "item_id": "product_id", "session_id": "user_session", "category": "category_code",
    }  # fmt: skip
    assert section["event_types"] == OUR_TYPES


def test_what_looks_like_a_format_and_is_none_says_how_to_read_it_by_names(tmp_path):
    head = "event_name,domain_sessionid,domain_userid,collector_tstamp,sku"
    text = table(head, "view,s,u,2024-01-01 00:00:00,a", "view,s,u,2024-01-01 00:00:01,b")
    with pytest.raises(InputError, match="looks like the format snowplow; --set format=generic"):
        looked(tmp_path, "x.csv", text)
    assert looked(tmp_path, "x.csv", text, format="generic")["columns"]["item_id"] == "sku"


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("events.csv", "timestamp,visitorid,event,itemid,transactionid", "retailrocket"),
        ("train-item-views.csv", "sessionId;userId;itemId;timeframe;eventdate", "diginetica"),
        ("yoochoose-clicks.dat", "1,2014-04-07T10:51:09.277Z,214536502,0", "yoochoose"),
        ("train.jsonl", '{"session": 1, "events": []}', "otto"),
        ("ratings.dat", "1::1193::5::978300760", "movielens"),
        ("ratings.csv", "userId,movieId,rating,timestamp", "movielens"),
        ("x.inter", "user_id:token\titem_id:token\ttimestamp:float", "movielens"),
        ("userid-timestamp-artid-artname-traid-traname.tsv", "u\t2009\ta\tb\tc\td", "lastfm_1k"),
        ("QK-video.csv", "user_id,item_id,click,follow,like,share,video_category", "tenrec"),
        (
            "data.csv",
            "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country",
            "online_retail",
        ),
        ("II.csv", "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country", "online_retail"),
        ("orders.csv", "Name,Email,Created at,Lineitem quantity,Lineitem name,Lineitem price", "shopify_orders"),
        ("x.json", '{"event_name": 1, "event_timestamp": 1, "event_params": [], "user_pseudo_id": 1}', "ga4"),
        ("x.tsv", "event_id\tevent_name\tdomain_sessionid\tdomain_userid\tcollector_tstamp", "snowplow"),
        ("x.jsonl", '{"anonymousId":1,"messageId":1,"event":1,"properties":{},"timestamp":1,"type":1}', "segment"),
        ("x.csv", "anonymous_id,event,original_timestamp,received_at,product_id", "segment"),
        ("clicks.csv", "user_id,item_id,timestamp", None),
    ],
)
def test_the_sign_of_each_format(tmp_path, name, head, expected):
    (tmp_path / name).write_text(head + "\n")
    looker = _Looker(Reader(duckdb.connect(), tmp_path), tmp_path)
    sign = recognised(tmp_path / name, looker.names)
    assert (sign and sign.format) == expected
    assert recognised(tmp_path, looker.names) == sign


def test_parts_of_objects_in_json_lines(tmp_path):
    rows = [
        {
            "visitor": {"cookie": f"a{n % 3}", "agent": {"name": "x"}},
            "action": "Product Viewed" if n % 4 else "Product Added",
            "payload": {"product": {"sku": f"p{n % 5}", "price": 9.5}},
            "at": f"2024-05-01T10:00:{n:02}Z",
        }
        for n in range(40)
    ]
    section = looked(tmp_path, "track.jsonl", table(*map(json.dumps, rows)))
    assert section["columns"] == {
        "item_id": "payload.product.sku",
        "user_id": "visitor.cookie",
        "event_type": "action",
        "timestamp": "at",
        "price": "payload.product.price",
    }
    assert section["event_types"] == ["Product Viewed", "Product Added"]


def test_columns_whose_names_say_nothing_are_told_by_their_values(tmp_path):
    names = {"rest": "c1", "timestamp": "c2", "item_id": "c3", "event_type": "c4", "session_id": "c5"}
    section = looked(tmp_path, "x.csv", shop(names, 4000))
    assert section["columns"] == {"item_id": "c3", "session_id": "c5", "event_type": "c4", "timestamp": "c2"}


def test_a_file_without_a_header_gets_one(tmp_path):
    names = dict.fromkeys(["session_id", "item_id", "rest", "timestamp", "event_type"], "")
    (tmp_path / "x.csv").write_text(shop(names, 4000, header=False))
    section, read, uncertain = look(Path("x.csv"), {}, {}, tmp_path)
    assert section["header"] == ["session_id", "item_id", "c3", "timestamp", "event_type"]
    assert section["columns"] == {}
    assert read["rows"] == 4000
    assert any("the first row looks like data" in note for note in uncertain)


def test_too_few_rows_of_names_that_say_nothing_are_asked_for_and_the_answers_are_taken(tmp_path):
    text = table("c1,c2,c3", "x,a,1700000000", "x,b,1700000060", "y,a,1700000100")
    with pytest.raises(Question, match=r"which column is item_id") as asked:
        looked(tmp_path, "x.csv", text)
    assert "  c1  x, y\n  c2  a, b\nAnswer with --column item_id=c1, or another" in str(asked.value)
    with pytest.raises(Question, match="which column is session_id"):
        looked(tmp_path, "x.csv", text, {"item_id": "c2"})
    section = looked(tmp_path, "x.csv", text, {"item_id": "c2", "session_id": "c1"})
    assert section["columns"] == {"item_id": "c2", "session_id": "c1", "timestamp": "c3"}


@pytest.mark.parametrize(
    ("head", "row", "asked", "answer", "told"),
    [
        ("session,product_id,sku,ts", "s{n},p{n},k{m},{t}", "item_id", {"item_id": "sku"}, {"item_id": "sku"}),
        ("session,sku,client_time,server_time", "s{n},k{m},{t},{u}", "timestamp", {"timestamp": "server_time"},
         {"timestamp": "server_time"}),
        ("customer_id,cookie_id,sku,ts", "c{n},d{m},k{m},{t}", "user_id", {"user_id": "cookie_id"},
         {"user_id": "cookie_id"}),
        ("session,customer_id,cookie_id,sku,ts", "s,c{n},d{m},k{m},{t}", "user_id", {"user_id": ""}, {}),
        ("session,country,ts", "s{n},c{m},{t}", "item_id", {"item_id": "country"}, {"item_id": "country"}),
        ("session,sku,hour", "s{n},k{m},{m}", "timestamp", {"position": "hour"}, {"position": "hour"}),
    ],
)  # fmt: skip
def test_where_two_columns_fit_or_none_one_question_is_asked_and_its_answer_taken(
    tmp_path, head, row, asked, answer, told
):
    rows = [row.format(n=n // 4, m=n % 7, t=1_700_000_000 + n, u=1_700_000_003 + n) for n in range(40)]
    with pytest.raises(Question, match=f"which column is {asked}") as question:
        looked(tmp_path, "x.csv", table(head, *rows))
    assert f"--column {next(iter(answer))}=" in str(question.value) or "position=" in str(question.value)
    columns = looked(tmp_path, "x.csv", table(head, *rows), answer)["columns"]
    assert {name: columns[name] for name in told} == told
    assert answer.get("user_id") != "" or "user_id" not in columns


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["31/10/2019 00:05", "01/11/2019 00:06"], "%d/%m/%Y %H:%M"),
        (["10/31/2019 00:05:01", "11/01/2019 00:06:01"], "%m/%d/%Y %H:%M:%S"),
        (["1.10.2019 10:00", "2.10.2019 11:00"], "%d.%m.%Y %H:%M"),
        (["10/Oct/2019:13:55:36 -0700", "11/Oct/2019:13:55:36 -0700"], "%d/%b/%Y:%H:%M:%S %z"),
        (["20191001", "20191002"], "%Y%m%d"),
        (["2019/10/01 10:00", "2019/10/02 10:00"], None),
        (["1569888000", "1569888001.5"], None),
    ],
)
def test_the_format_of_times(tmp_path, values, expected):
    section = looked(tmp_path, "x.csv", table("sid,sku,event_date", *(f"s,a,{value}" for value in values)))
    assert section["columns"]["timestamp"] == "event_date"
    assert section.get("timestamp_format") == expected


def test_day_or_month_first_is_asked_and_the_answer_taken(tmp_path):
    text = table("session_id,item_id,timestamp", "s,a,01/10/2019 00:00", "s,b,02/10/2019 00:00")
    with pytest.raises(Question, match="the day or the month first") as asked:
        looked(tmp_path, "x.csv", text)
    for answer in re.findall(r"--set timestamp_format='([^']+)'", str(asked.value)):
        assert looked(tmp_path, "x.csv", text, timestamp_format=answer)["timestamp_format"] == answer


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        (["9.99", "12"], None),
        (["$1,299.00", "$5.00"], "."),
        (["1.299,00 €", "12,50 €"], ","),
        (["1,299", "2,500"], "asked"),
        (["$1,299.00", "12,50 €"], None),
    ],
)
def test_the_mark_before_the_cents(tmp_path, prices, expected):
    text = table("sid\tsku\tts\tprice", *(f"s\ta\t{1_700_000_000 + n}\t{price}" for n, price in enumerate(prices)))
    if expected != "asked":
        assert looked(tmp_path, "x.tsv", text).get("decimal") == expected
        return
    with pytest.raises(Question, match=re.escape("--set decimal=. or --set decimal=,")):
        looked(tmp_path, "x.tsv", text)
    assert looked(tmp_path, "x.tsv", text, decimal=",")["decimal"] == ","


def test_types_that_come_late_in_a_large_file_are_named_and_the_most_frequent_view_is_first(tmp_path, monkeypatch):
    monkeypatch.setattr("nextclick.events.look.samples.SAMPLE_ROWS", 10)
    monkeypatch.setattr("nextclick.events.look.samples.HEAD_BYTES", 400)
    kinds = ["detail"] * 20 + ["purchase", "click"] * 40 + ["refund"]
    rows = [f"s{n // 5},i{n % 9},{kind},{1_700_000_000 + n}" for n, kind in enumerate(kinds)]
    text = table("session,item,action,ts", *rows)
    assert looked(tmp_path, "x.csv", text)["event_types"] == ["click", "detail", "purchase", "refund"]
    packed = looked(tmp_path, "y.csv.gz", gzip.compress(text.encode()))
    assert packed["event_types"] == ["click", "detail", "purchase", "refund"]


def test_the_encoding_is_guessed_also_from_rows_behind_the_sample(tmp_path, monkeypatch):
    monkeypatch.setattr("nextclick.events.look.samples.HEAD_BYTES", 400)
    rows = [f"s{n // 5},caf{'é' if n > 90 else 'e'} crème"[: 9 if n <= 90 else None] + f",{1_700_000_000 + n}"
            for n in range(100)]  # fmt: skip
    section = looked(tmp_path, "x.csv", table("session,item,ts", *rows).encode("cp1252"))
    assert section["encoding"] == "cp1252"


def test_event_types_are_ordered_by_what_they_say():
    counts = {"purchase": 9, "add_to_cart": 5, "search": 80, "page_view": 3, "product_view": 7, "beta": 1}
    ordered = order_of_types(counts)
    assert ordered == ["product_view", "page_view", "add_to_cart", "purchase", "search", "beta"]


def test_a_folder_of_events_and_other_files_is_asked_for(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/clicks.csv").write_text(table("session_id,sku,ts", "s,a,1700000000"))
    (tmp_path / "data/products.csv").write_text(table("product_id,title", "a,Tee"))
    with pytest.raises(Question, match="which of its files hold the events") as asked:
        look(Path("data"), {}, {}, tmp_path)
    assert "nextclick look data/clicks.csv" in str(asked.value)
    assert look(Path("data/clicks.csv"), {}, {}, tmp_path)[0]["columns"]["item_id"] == "sku"


def test_a_catalogue_beside_the_events_is_mapped_too(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/events.csv").write_text(table("session_id,sku,ts", "s,a,1700000000", "s,b,1700000001"))
    (tmp_path / "data/items.csv").write_text(table("sku,product_name,genre,cost", 'a,Tee,x,"1,50"', 'b,Mug,y,"2,00"'))
    section, read, _ = look(Path("data"), {}, {}, tmp_path)
    assert section["columns"] == {
        "item_id": "sku", "timestamp": "ts", "title": "product_name", "category": "genre", "price": "cost",
    }  # fmt: skip
    assert section["decimal"] == ","
    assert (read["items_described"], read["item_values_unread"]) == (2, {})


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--column", "item=sku"], "no such field; there are event_id"),
        (["--column", "item_id"], "expected a name, = and a value"),
        (["--column", "item_id=nope"], "no column nope; it has session, sku, ts"),
        (["--set", "columns={}"], "no such key of the section ingest"),
        (["--set", "timezone=CET"], "expected UTC or a zone by its place"),
    ],
)
def test_a_wrong_answer_ends_with_code_2_and_says_what_there_is(tmp_path, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text(table("session,sku,ts", "s,a,1700000000"))
    ended = CliRunner().invoke(app, ["look", "x.csv", *arguments])
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert reason in ended.stderr


def test_the_command_prints_the_screen_on_stderr_and_the_result_on_stdout_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text(table("session,sku,ts", "s,a,1700000000", "s,,1700000001", "s,b,5"))
    ended = CliRunner().invoke(app, ["look", "x.csv"])
    assert ended.exit_code == 0
    result = json.loads(ended.stdout)
    assert (result["accepted"], result["quarantined"]) == (1, 2)
    _, _, section = ended.stderr.partition("for params.yaml, where --write puts it:\n")
    assert yaml.safe_load(section) == {"ingest": result["ingest"]}
    for line in ("rows      3 read: 1 events", "timestamp     from ts, as seconds", "1 item_id empty; x.csv row 2: "):
        assert line in ended.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["x.csv"]


def test_write_makes_params_or_changes_their_section_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text(table("session,sku,ts", "s,a,1700000000"))
    assert CliRunner().invoke(app, ["look", "x.csv", "--write"]).exit_code == 0
    assert Params.read(Path("params.yaml")).ingest.columns == {
        "session_id": "session",
        "item_id": "sku",
        "timestamp": "ts",
    }

    ours = (Path(__file__).parents[2] / "params.yaml").read_text()
    Path("params.yaml").write_text(ours.replace("  encoding: utf-8 ", "  encoding: cp1252 "))
    assert CliRunner().invoke(app, ["look", "x.csv", "--write"]).exit_code == 0
    texts = (ours, Path("params.yaml").read_text())
    before, after = ([" ".join(line.split()) for line in text.splitlines()] for text in texts)
    changed = [line for line in after if line not in before]
    assert [line.split(":")[0].strip() for line in changed] == ["path", "columns"]
    assert "# a file or a folder" in changed[0]
    assert len(before) == len(after)
    assert Params.read(Path("params.yaml")).ingest.encoding == "utf-8"


def test_params_that_are_none_are_not_written_over(tmp_path):
    (tmp_path / "params.yaml").write_text("- a list\n")
    with pytest.raises(InputError, match="expected sections with names"):
        write_section({"path": "x"}, tmp_path / "params.yaml")
    assert (tmp_path / "params.yaml").read_text() == "- a list\n"


def test_a_few_events_far_from_the_others_are_noted(tmp_path):
    rows = [f"s{n},i{n % 5},{1_700_000_000 + n * 60}" for n in range(300)]
    (tmp_path / "x.csv").write_text(table("session,item,ts", "s,a,1000000000", *rows))
    _, read, _ = look(Path("x.csv"), {}, {}, tmp_path)
    assert read["middle"] == ["2023-11-14", "2023-11-15"]
    assert "98% of the events lie between 2023-11-14 and 2023-11-15" in screen(read)


def test_times_that_no_format_fits_are_asked_for(tmp_path):
    text = table("session,sku,ts", "s,a,yesterday", "s,b,today")
    with pytest.raises(Question, match="how are the times in column ts written"):
        looked(tmp_path, "x.csv", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("café crème", "cp1252"), ("größere Straße", "cp1252"), ("żółta łódź", "cp1250"), ("Привет мир", "cp1251")],
)
def test_the_likely_encoding_of_a_few_words(tmp_path, text, expected):
    rows = [f"s,{text},1700000000"] * 3
    section = looked(tmp_path, "x.csv", table("session,sku,ts", *rows).encode(expected))
    assert section["encoding"] == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (table("session,sku,ts", "s,a"), "none of its first rows can be read; row 1: expected 3 columns, found 2: s,a"),
        (table("session,sku,ts"), "holds no rows"),
        ("", "is empty"),
    ],
)
def test_a_file_without_a_row_is_no_question(tmp_path, text, reason):
    with pytest.raises(InputError, match=re.escape(reason)) as told:
        looked(tmp_path, "x.csv", text)
    assert not isinstance(told.value, Question)


def test_the_screen_fits_whatever_went_wrong_and_moves_no_cursor(tmp_path):
    kinds = ["s,,1,view,x", ",a,1700000000,view,x", "s,a,never,view,x", "s,a,1,view,x", "s,a,99999999999999999,view,x"]
    kinds += [f"s,{'y' * 300},1700000000,view,\x1b[2J", "s,a", "s,a,1700000000,view,x"]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/events.csv").write_text(table("session,sku,ts,event,rest", *kinds * 30))
    (tmp_path / "data/items.csv").write_text(table("sku,title,price", "z,T,x", "z,T,1", ",T,x"))
    (tmp_path / "data/notes.pdf").write_text("")
    section, read, uncertain = look(Path("data"), {"timestamp": "ts"}, {}, tmp_path)
    shown = screen(read, [*uncertain, "further " * 200], written(section).splitlines()).splitlines()
    assert len(shown) <= LINES
    assert max(map(len, shown)) <= WIDTH
    assert all(line.isprintable() for line in shown)
    assert len(read["examples"]) == 5
    assert yaml.safe_load("\n".join(shown[shown.index("ingest:") :])) == {"ingest": section}


def test_the_screen_names_where_the_attributes_of_a_format_came_from(tmp_path):
    (tmp_path / "2019-Oct.csv").write_text(KAGGLE)
    section, read, _ = look(Path("2019-Oct.csv"), {}, {}, tmp_path)
    assert section["format"] == "ecommerce_behavior"
    assert "  category, brand, price  from the columns of the format, in events" in screen(read)
