"""Published data sets and exports are read in their native form; each row is an event, in quarantine, or left out."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nextclick.errors import InputError
from nextclick.evaluation.exploration import sentence_of_counts
from nextclick.events.ingest import ingest
from nextclick.events.ingest_report import screen
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


def lines(*objects: dict) -> str:
    return "".join(json.dumps(one) + "\n" for one in objects)


STORE = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
OCTOBER = (
    STORE
    + "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d76fde\n"
    + "2019-10-01 00:00:05 UTC,cart,3900821,2053013552326770905,appliances.environment.water_heater,aqua,33.20,5,9333\n"
    + "2019-10-01 00:00:09 UTC,remove_from_cart,3900821,2053013552326770905,a.b,aqua,33.20,5,9333\n"
    + "2019-10-01 00:00:10 UTC,view,3900821,2053013552326770905,a.b,,33.20,5,\n"
)
NOVEMBER = STORE + "2019-11-01 00:00:00 UTC,purchase,3900821,2053013552326770905,a.b,,31.00,5,77\n"


def test_ecommerce_behavior_reads_the_months_of_a_folder(tmp_path):
    files = {"2019-Oct.csv": OCTOBER, "2019-Nov.csv.gz": gzip.compress(NOVEMBER.encode()), "notes.pdf": "a note"}
    read = Read(tmp_path, "ecommerce_behavior", files)
    assert read.clicks("session_id", "user_id", "item_id", "event_type") == [
        ["72d76fde", "541312140", "44600062", "view"],
        ["9333", "5", "3900821", "cart"],
        ["77", "5", "3900821", "purchase"],
    ]
    assert read.times()[1] == "2019-10-01 00:00:05.000"
    last = read.items.drop_duplicates("item_id", keep="last").set_index("item_id")
    assert last.loc["44600062", ["category", "brand", "price"]].tolist() == ["2103807459595387724", "shiseido", 35.79]
    assert last.loc["3900821", ["category", "brand", "price"]].tolist() == ["a/b", "aqua", 31.0]
    assert read.items["category"].tolist()[0] == "appliances/environment/water_heater"
    assert read.bad() == [
        ("2019-Oct.csv", 3, "row", "remove_from_cart takes a step back: name it in ingest.event_types to read it"),
        ("2019-Oct.csv", 4, "session_id", "empty"),
    ]
    assert read.counts["unread_files"] == ["notes.pdf"]


def test_a_step_back_is_an_event_where_event_types_name_it(tmp_path):
    types = ["view", "cart", "purchase", "remove_from_cart"]
    read = Read(tmp_path, "ecommerce_behavior", {"2019-Oct.csv": OCTOBER}, event_types=types)
    assert read.events["event_type"].tolist() == ["view", "cart", "remove_from_cart"]


def test_a_type_that_the_store_has_not_published_is_named(tmp_path):
    with pytest.raises(InputError, match=r"'wish' \(1 rows, first 2019-Oct\.csv: row 2\)"):
        Read(tmp_path, "ecommerce_behavior", {"2019-Oct.csv": OCTOBER.replace(",cart,", ",wish,")})


@pytest.mark.parametrize(
    "text",
    [
        "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country\n"
        '489434,85048,"15CM CHRISTMAS GLASS BALL, 20 LIGHTS",12,2009-12-01 07:45:00,6.95,13085.0,United Kingdom\n'
        "489434,79323P,PINK CHERRY LIGHTS,12,2009-12-01 07:45:00,6.75,13085.0,United Kingdom\n"
        "C489449,22087,PAPER BUNTING,-12,2009-12-01 10:33:00,2.95,16321.0,Australia\n"
        "489464,21733,85123a mixed,-96,2009-12-01 10:52:00,0.0,,United Kingdom\n"
        "489525,85226C,BLUE PULL BACK CAR,1,2009-12-01 11:49:00,0.55,,United Kingdom\n"
        "489526,85227,CAR,1,soon,0.55,17850.0,United Kingdom\n",
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
        '489434,85048,"15CM CHRISTMAS GLASS BALL, 20 LIGHTS",12,12/1/2009 7:45,6.95,13085,United Kingdom\n'
        "489434,79323P,PINK CHERRY LIGHTS,12,12/1/2009 7:45,6.75,13085,United Kingdom\n"
        "C489449,22087,PAPER BUNTING,-12,12/1/2009 10:33,2.95,16321,Australia\n"
        "489464,21733,85123a mixed,-96,12/1/2009 10:52,0,,United Kingdom\n"
        "489525,85226C,BLUE PULL BACK CAR,1,12/1/2009 11:49,0.55,,United Kingdom\n"
        "489526,85227,CAR,1,13/13/2009 11:49,0.55,17850,United Kingdom\n",
    ],
    ids=["Online Retail II", "Online Retail"],
)
def test_online_retail_has_invoices_as_sessions_and_no_returns(tmp_path, text):
    read = Read(tmp_path, "online_retail", {"online_retail.csv": text})
    assert read.clicks("session_id", "user_id", "item_id", "event_type") == [
        ["489434", "13085", "85048", "purchase"],
        ["489434", "13085", "79323P", "purchase"],
        ["489525", None, "85226C", "purchase"],
    ]
    assert read.times()[::2] == ["2009-12-01 07:45:00.000", "2009-12-01 11:49:00.000"]
    assert read.described("title", "price")["85048"] == ["15CM CHRISTMAS GLASS BALL, 20 LIGHTS", 6.95]
    returned = "a return or a cancelled invoice, which is no purchase"
    assert [(row, reason) for _, row, _, reason in read.bad()[:2]] == [(3, returned), (4, returned)]
    assert read.quarantine["field"].tolist() == ["row", "row", "timestamp"]


ORDERS = (
    "Name,Email,Financial Status,Paid at,Fulfillment Status,Currency,Subtotal,Total,Created at,Lineitem quantity,"
    "Lineitem name,Lineitem price,Lineitem sku,Billing Name,Notes,Vendor,Id\n"
)
NEWER = '#1002,,paid,,fulfilled,EUR,5.00,5.00,2019-10-01 12:00:00 +0200,1,Lid,5.00,,"Guest, A.","two\nlines",Acme,556\n'
OLDER = (
    "#1001,Ann@Example.com,paid,2019-10-01 00:01:00 +0200,fulfilled,EUR,30.00,30.00,2019-10-01 00:00:00 +0200,1,"
    "Pan - Red,25.00,PAN-R,Ann,,Acme,555\n"
    "#1001,ann@example.com,,,,,,,,2,Lid,5.00,,,,Acme,\n"
)


def test_shopify_orders_are_filled_down_within_an_order(tmp_path):
    read = Read(tmp_path, "shopify_orders", {"orders_export.csv": ORDERS + NEWER + OLDER})
    assert read.clicks("event_id", "session_id", "user_id", "item_id", "event_type") == [
        ["#1001-0001", "#1001", "ann@example.com", "PAN-R", "purchase"],
        ["#1001-0002", "#1001", "ann@example.com", "Lid", "purchase"],
        ["#1002-0001", "#1002", "#1002", "Lid", "purchase"],
    ]
    assert read.times() == ["2019-09-30 22:00:00.000"] * 2 + ["2019-10-01 10:00:00.000"]
    assert read.described("title", "brand", "price") == {
        "PAN-R": ["Pan - Red", "Acme", 25.0],
        "Lid": ["Lid", "Acme", 5.0],
    }


def test_an_order_in_two_exports_of_shopify_counts_once(tmp_path):
    files = {"orders_export_1.csv": ORDERS + NEWER + OLDER, "orders_export_2.csv": ORDERS + OLDER}
    read = Read(tmp_path, "shopify_orders", files)
    assert (read.counts["accepted"], read.counts["duplicates"]) == (3, 2)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=6), data=st.data())
def test_each_line_of_an_order_has_its_buyer_and_time_whichever_line_tells_them(tmp_path, sizes, data):
    rows = []
    for n, size in enumerate(sizes):
        teller = data.draw(st.integers(0, size - 1))
        for line in range(size):
            email, time = (f"U{n}@x.org", f"2019-10-0{n + 1} 00:00:00 +0000") if line == teller else ("", "")
            rows.append(f"#{n},{email},{time},i{line},5.00,")
    head = "Name,Email,Created at,Lineitem name,Lineitem price,Lineitem sku\n"
    read = Read(tmp_path, "shopify_orders", {"orders.csv": head + "\n".join(rows) + "\n"})
    expected = [[f"#{n}", f"u{n}@x.org", f"i{line}"] for n, size in enumerate(sizes) for line in range(size)]
    assert read.clicks("session_id", "user_id", "item_id") == expected
    assert read.events["timestamp"].dt.day.tolist() == [n + 1 for n, size in enumerate(sizes) for _ in range(size)]


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


def ga4_event(name: str, second: int, items: list[dict] | None = None, user: str = "u.1", session: int = 7) -> dict:
    """An event as `bq extract` writes it: whole numbers are strings, and what is null is absent."""
    told = {
        "event_date": "20210131",
        "event_timestamp": str(1612069510000000 + second * 1_000_000),
        "event_name": name,
        "event_params": [
            {"key": "page_title", "value": {"string_value": "Home"}},
            {"key": "ga_session_id", "value": {"int_value": str(session)}},
        ],
        "event_bundle_sequence_id": "-6595101026",
        "user_pseudo_id": user,
    }
    return told | ({"items": items} if items is not None else {})


PAN = {
    "item_id": "P1",
    "item_name": "Pan",
    "item_brand": "(not set)",
    "item_category": "Home",
    "item_category2": "Kitchen",
    "item_category3": "(not set)",
    "price": 25.5,
    "quantity": "1",
}
LID = {"item_id": "(not set)", "item_name": "Lid", "item_brand": "Acme", "item_category": "Home", "price": 5.0}
GA4 = [
    ga4_event("session_start", 0),
    ga4_event("page_view", 0),
    ga4_event("view_item", 1, [PAN]),
    ga4_event("view_item_list", 2, [PAN, LID]),
    ga4_event("add_to_cart", 3, [PAN]),
    ga4_event("purchase", 4, [PAN, LID]),
    ga4_event("page_view", 5, user="u.2"),
    ga4_event("view_item", 5, [LID], user="u.2"),
    ga4_event("view_item", 6, []),
]
GA4_CLICKS = [
    ["u.1.7", "u.1", "P1", "view"],
    ["u.1.7", "u.1", "P1", "cart"],
    ["u.1.7", "u.1", "P1", "purchase"],
    ["u.1.7", "u.1", "Lid", "purchase"],
    ["u.2.7", "u.2", "Lid", "view"],
]


def check_ga4(read: Read) -> None:
    assert read.clicks("session_id", "user_id", "item_id", "event_type") == GA4_CLICKS
    assert read.times()[0] == "2021-01-31 05:05:11.000"
    assert read.counts["left_out_kinds"] == {"page_view": 2, "session_start": 1, "view_item_list": 1}
    assert [(row, field) for _, row, field, _ in read.bad()] == [(9, "item_id")]
    assert read.described("title", "category", "brand", "price") == {
        "P1": ["Pan", "Home/Kitchen", None, 25.5],
        "Lid": ["Lid", "Home", "Acme", 5.0],
    }


def test_ga4_as_json_lines(tmp_path):
    check_ga4(Read(tmp_path, "ga4", {"events_20210131.json": lines(*GA4)}))


def test_ga4_as_parquet_with_nested_records(tmp_path):
    value = pa.struct({"string_value": pa.string(), "int_value": pa.int64(), "double_value": pa.float64()})
    product = {name: pa.string() for name in PAN} | {"price": pa.float64(), "quantity": pa.int64()}
    schema = pa.schema(
        {
            "event_date": pa.string(),
            "event_timestamp": pa.int64(),
            "event_name": pa.string(),
            "event_params": pa.list_(pa.struct({"key": pa.string(), "value": value})),
            "event_bundle_sequence_id": pa.int64(),
            "user_pseudo_id": pa.string(),
            "user_id": pa.string(),
            "items": pa.list_(pa.struct(product)),
        }
    )
    rows = json.loads(json.dumps(GA4))
    for row in rows:
        row |= {name: int(row[name]) for name in ("event_timestamp", "event_bundle_sequence_id")}
        for parameter in row["event_params"]:
            if "int_value" in parameter["value"]:
                parameter["value"]["int_value"] = int(parameter["value"]["int_value"])
        for item in row.setdefault("items", []):
            item["quantity"] = int(item.get("quantity", 1))
    (tmp_path / "source").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "source/events-000000000000.parquet")
    check_ga4(Read(tmp_path, "ga4", {}))


def test_ga4_of_a_day_and_of_the_running_day_count_once(tmp_path):
    files = {"events_20210131.json": lines(*GA4), "events_intraday_20210131.json": lines(*GA4[:6])}
    read = Read(tmp_path, "ga4", files)
    assert (read.counts["accepted"], read.counts["duplicates"]) == (5, 4)


def test_a_day_without_items_is_no_error_of_ga4_and_a_log_without_any_is(tmp_path):
    read = Read(tmp_path, "ga4", {"events_1.json": lines(*GA4[:2]), "events_2.json": lines(*GA4[2:])})
    assert read.counts["accepted"] == 5
    (tmp_path / "source/events_2.json").unlink()
    with pytest.raises(InputError, match=r"events_1\.json: no column items, which this format has; it has event_"):
        Read(tmp_path, "ga4", {})
    with pytest.raises(InputError, match=r"no row is a valid event: \{\}; no events of items: 1 page_view"):
        Read(tmp_path, "ga4", {"events_1.json": lines(ga4_event("page_view", 1, []))})


def test_what_is_left_out_is_told_by_name_as_far_as_there_are_not_too_many(tmp_path):
    names = [f"custom_{n:02}" for n in range(30)]
    told = [ga4_event("view_item", 1, [PAN]), *(ga4_event(name, 2) for name in ["scroll", "scroll", *names])]
    read = Read(tmp_path, "ga4", {"events.json": lines(*told)})
    assert read.counts["left_out"] == 32
    kinds = read.counts["left_out_kinds"]
    assert (len(kinds), kinds["scroll"], kinds["custom_18"], kinds["of rarer kinds"]) == (21, 2, 1, 11)
    said = screen(read.counts)
    assert "33 read: 1 events, 0 duplicates, 0 in quarantine, 32 left out\n" in said
    assert "- ingest left out what are no events of items: 2 scroll, 1 custom_00, " in said
    assert "; 0 duplicates; 32 left out; 0 in quarantine (none)." in sentence_of_counts(read.counts)


def test_an_event_of_ga4_that_event_types_name_is_kept(tmp_path):
    types = ["view", "cart", "purchase", "view_item_list"]
    read = Read(tmp_path, "ga4", {"events.json": lines(*GA4)}, event_types=types)
    assert read.counts["types"]["view_item_list"] == 2


ACTION = "unstruct_event_com_snowplowanalytics_snowplow_ecommerce_snowplow_ecommerce_action_1"
PRODUCTS = "contexts_com_snowplowanalytics_snowplow_ecommerce_product_1"
TEE = {
    "id": "P125",
    "name": "Baseball T",
    "brand": "Snowplow",
    "category": "Mens/Apparel",
    "price": 200,
    "currency": "USD",
}
CAP = {"id": "P126", "name": "Cap", "category": "Mens", "price": 12.5, "currency": "USD"}


def snowplow_event(second: int, action: str | None, *products: dict, **more) -> dict:
    return {
        "event_id": f"e{second}",
        "event": "unstruct" if action else "page_view",
        "event_name": "snowplow_ecommerce_action" if action else "page_view",
        "collector_tstamp": f"2024-01-01T10:00:{second + 1:02}.500Z",
        "derived_tstamp": f"2024-01-01T10:00:{second:02}.250Z",
        "domain_userid": "bc2e92ec",
        "domain_sessionid": "88c23330",
        "user_id": None,
        ACTION: {"type": action} if action else None,
        PRODUCTS: list(products) or None,
        **more,
    }


SNOWPLOW = [
    snowplow_event(1, None),
    snowplow_event(2, "list_view", TEE, CAP),
    snowplow_event(3, "product_view", TEE),
    snowplow_event(4, "add_to_cart", TEE, user_id="ann"),
    snowplow_event(5, "transaction", TEE, CAP, user_id="ann"),
    snowplow_event(5, "transaction", TEE, CAP, user_id="ann"),
    snowplow_event(6, "product_view"),
    snowplow_event(7, "product_view", CAP, derived_tstamp=None),
]


def check_snowplow(read: Read) -> None:
    assert read.clicks("event_id", "session_id", "user_id", "item_id", "event_type") == [
        ["e3", "88c23330", "bc2e92ec", "P125", "view"],
        ["e4", "88c23330", "bc2e92ec", "P125", "cart"],
        ["e5-0000", "88c23330", "bc2e92ec", "P125", "purchase"],
        ["e5-0001", "88c23330", "bc2e92ec", "P126", "purchase"],
        ["e7", "88c23330", "bc2e92ec", "P126", "view"],
    ]
    assert read.times()[0::4] == ["2024-01-01 10:00:03.250", "2024-01-01 10:00:08.500"]
    assert (read.counts["duplicates"], read.counts["left_out_kinds"]) == (2, {"list_view": 1, "page_view": 1})
    assert [(row, field) for _, row, field, _ in read.bad()] == [(7, "item_id")]
    assert read.described("title", "category", "brand", "price") == {
        "P125": ["Baseball T", "Mens/Apparel", "Snowplow", 200.0],
        "P126": ["Cap", "Mens", None, 12.5],
    }


def test_snowplow_as_json_lines(tmp_path):
    check_snowplow(Read(tmp_path, "snowplow", {"run.jsonl": lines(*SNOWPLOW)}))


def test_snowplow_in_the_upper_case_of_snowflake_and_with_the_versions_of_bigquery(tmp_path):
    names = {ACTION: f"{ACTION}_0_2", PRODUCTS: f"{PRODUCTS}_0_0"}
    renamed = [{names.get(key, key).upper(): value for key, value in event.items()} for event in SNOWPLOW]
    check_snowplow(Read(tmp_path, "snowplow", {"run.jsonl": lines(*renamed)}))


def test_snowplow_as_parquet(tmp_path):
    frame = pd.DataFrame(SNOWPLOW)
    for name in ("collector_tstamp", "derived_tstamp"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    (tmp_path / "source").mkdir()
    frame.to_parquet(tmp_path / "source/part-0.parquet")
    check_snowplow(Read(tmp_path, "snowplow", {}))


def test_snowplow_as_text_whose_cells_hold_json(tmp_path):
    frame = pd.DataFrame(SNOWPLOW)
    for name in (ACTION, PRODUCTS):
        frame[name] = [json.dumps(value) if value else "" for value in frame[name]]
    check_snowplow(Read(tmp_path, "snowplow", {"events.tsv": frame.to_csv(sep="\t", index=False)}))


CONES = {
    "product_id": "622c",
    "sku": "8472",
    "name": "Cones of Dunshire",
    "category": "Games",
    "brand": "Wyatt",
    "price": 49.99,
}
DICE = {"product_id": "505b", "name": "Dice", "category": "Games", "price": 3}


def call(minute: int, event: str | None, properties: dict, **more) -> dict:
    return {
        "type": "track" if event else "page",
        **({"event": event} if event else {}),
        "messageId": f"m{minute}",
        "anonymousId": "anon-1",
        "userId": None,
        "timestamp": f"2024-01-01T10:{minute:02}:00.000Z",
        "originalTimestamp": f"2024-01-01T09:{minute:02}:00.000Z",
        "properties": properties,
        **more,
    }


SEGMENT = [
    call(0, None, {"title": "Home"}),
    call(1, "Product Viewed", CONES),
    call(2, "Product List Viewed", {"products": [CONES, DICE]}),
    call(3, "Product Added", CONES, userId="ann"),
    call(34, "Order Completed", {"order_id": "1", "products": [CONES, DICE]}, userId="ann"),
    call(34, "Order Completed", {"order_id": "1", "products": [CONES, DICE]}, userId="ann"),
    call(35, "Order Completed", {"order_id": "2"}, anonymousId=None, userId="bob"),
    call(36, "Product Viewed", DICE, anonymousId=None, userId="bob"),
]
SEGMENT_CLICKS = [
    ["m1", "anon-1-000001", "anon-1", "622c", "view"],
    ["m3", "anon-1-000001", "anon-1", "622c", "cart"],
    ["m34-0000", "anon-1-000002", "anon-1", "622c", "purchase"],
    ["m34-0001", "anon-1-000002", "anon-1", "505b", "purchase"],
    ["m36", "bob-000001", "bob", "505b", "view"],
]


def check_segment(read: Read) -> None:
    assert read.clicks("event_id", "session_id", "user_id", "item_id", "event_type") == SEGMENT_CLICKS
    assert read.times()[0] == "2024-01-01 10:01:00.000"
    assert read.counts["duplicates"] == 2
    assert [(row, field) for _, row, field, _ in read.bad()] == [(7, "item_id")]
    assert read.described("title", "category", "brand", "price") == {
        "622c": ["Cones of Dunshire", "Games", "Wyatt", 49.99],
        "505b": ["Dice", "Games", None, 3.0],
    }


def test_segment_as_json_lines_is_cut_by_inactivity(tmp_path):
    read = Read(tmp_path, "segment", {"calls.jsonl": lines(*SEGMENT)})
    check_segment(read)
    assert read.counts["left_out_kinds"] == {"page": 1, "product_list_viewed": 1}


def test_segment_as_its_archive_names_files(tmp_path):
    packed = gzip.compress(lines(*SEGMENT).encode())
    check_segment(Read(tmp_path, "segment", {"1704103200.e5.gz": packed}))


def test_segment_as_its_warehouses_have_it(tmp_path):
    names = {"messageId": "id", "anonymousId": "anonymous_id", "userId": "user_id"}
    rows = []
    for one in SEGMENT[1:]:
        row = {names.get(key, key): value for key, value in one.items() if key not in ("type", "properties")}
        products = one["properties"].get("products")
        rows.append(row | one["properties"] | ({"products": json.dumps(products)} if products else {}))
        rows[-1]["event"] = row["event"].lower().replace(" ", "_")
    read = Read(tmp_path, "segment", {"tracks.jsonl": lines({"event": "signed_up"}, *rows)})
    check_segment(read)
    assert read.counts["left_out_kinds"] == {"product_list_viewed": 1, "signed_up": 1}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    orders=st.lists(st.lists(st.sampled_from(["a", "b", "[c]", "7.0", "", "ü"]), max_size=4), min_size=1, max_size=8)
)
def test_an_order_is_an_event_a_product_and_none_is_lost(tmp_path, orders):
    calls = [call(0, "Product Viewed", DICE)]
    calls += [
        call(n + 1, "Order Completed", {"products": [{"product_id": item} for item in items]})
        for n, items in enumerate(orders)
    ]
    read = Read(tmp_path, "segment", {"calls.jsonl": lines(*calls)})
    bought = [{"7.0": "7"}.get(item, item) for items in orders for item in items if item]
    assert read.events["item_id"].tolist() == ["505b", *bought]
    assert read.counts["rows"] == 1 + sum(max(1, len(items)) for items in orders)


@pytest.mark.parametrize(
    ("fmt", "file", "text", "said"),
    [
        ("ecommerce_behavior", "2019-Oct.csv", "event_time,event_type\n1,2\n", "no column user_session, which"),
        ("online_retail", "retail.csv", "Invoice,Quantity,InvoiceDate\n1,2,3\n", "no column Customer ID or CustomerID"),
        ("shopify_orders", "orders.csv", "Name,Email\n1,2\n", "no column Lineitem name"),
        ("tenrec", "QB-video.csv", "user_id,item_id\n1,2\n", "no column click"),
        ("ga4", "events.json", '{"items": [], "user_id": "1"}\n', "no column event_name"),
        ("snowplow", "run.jsonl", '{"event_id": "1"}\n', f"no column {ACTION}"),
        ("segment", "calls.jsonl", '{"type": "page"}\n', "no column event"),
    ],
)
def test_a_missing_column_is_named_with_the_file_and_the_columns_that_it_has(tmp_path, fmt, file, text, said):
    with pytest.raises(InputError) as error:
        Read(tmp_path, fmt, {file: text})
    assert f"source/{file}: {said}" in str(error.value)
    assert "; it has " in str(error.value)


@pytest.mark.parametrize("fmt", ["ecommerce_behavior", "online_retail", "shopify_orders", "ga4", "segment"])
def test_a_folder_without_files_of_the_format_says_what_was_expected(tmp_path, fmt):
    with pytest.raises(InputError, match=r"source: expected .*files? .*\.(csv|json).*(holds notes.txt|holds x\.tsv)"):
        Read(tmp_path, fmt, {"notes.txt": "x", "x.tsv": "a\tb\n"})
