"""Reads what web analytics export: streams of everything that visitors did, in which an event may tell several items.

A visitor is the browser, by its cookie, and not who logged in: a login in the middle would make two visitors of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from nextclick.events.feeds import Feed, Source
from nextclick.events.published.shapes import (
    Opened,
    is_one_of,
    json_of,
    mapped,
    need_somewhere,
    needed,
    of_product,
    one_row_an_item,
    opened,
    optional,
    searched_once,
)
from nextclick.events.readers import Reader, Table
from nextclick.events.schema import quoted
from nextclick.events.text_files import endings
from nextclick.params import Ingest

JSON = (".json", ".jsonl", ".ndjson")
GA4_TYPES = {"view_item": "view", "add_to_cart": "cart", "purchase": "purchase"}
SNOWPLOW_TYPES = {"product_view": "view", "add_to_cart": "cart", "transaction": "purchase"}
SEGMENT_TYPES = {"product_viewed": "view", "product_added": "cart", "order_completed": "purchase"}
SNOWPLOW_ACTION = "unstruct_event_com_snowplowanalytics_snowplow_ecommerce_snowplow_ecommerce_action_1"
SNOWPLOW_PRODUCTS = "contexts_com_snowplowanalytics_snowplow_ecommerce_product_1"
GA4_COLUMNS = (
    *("event_name", "event_timestamp", "event_params", "event_bundle_sequence_id"),
    *("user_pseudo_id", "user_id", "items"),
)
GA4_CATEGORIES = ("item_category", "item_category2", "item_category3", "item_category4", "item_category5")
GA4_ITEM = ("item_id", "item_name", "item_brand", "price", *GA4_CATEGORIES)
SNOWPLOW_COLUMNS = (
    *("event_id", "event_name", "domain_sessionid", "domain_userid", "user_id"),
    *("derived_tstamp", "collector_tstamp"),
)
SEGMENT_COLUMNS = (
    *("type", "event", "properties", "messageId", "message_id", "id"),
    *("anonymousId", "anonymous_id", "userId", "user_id", "timestamp", "originalTimestamp", "original_timestamp"),
)
PROPERTIES = ("product_id", "name", "category", "brand", "price", "products")  # of a call, in Segment's warehouses
# what Snowplow's and Segment's products tell, under the same names but that of the id
PRODUCT_KEYS = ("id", "product_id", "name", "category", "brand", "price")
PRODUCT = {"title": of_product("name"), **{name: of_product(name) for name in ("category", "brand", "price")}}


def ga4(reader: Reader, path: Path, params: Ingest) -> Source:
    """Google Analytics 4 as it is exported to BigQuery and from there to JSON lines or Parquet.

    The export has no id of an event, but tables of a day and of the running day that may overlap: an event is known by
    its visitor, its time and its items.
    """
    read = opened(reader, path, *JSON, ".parquet")
    need_somewhere(read.tables, "items")
    need_somewhere(read.tables, "user_pseudo_id", "user_id")
    kept = {**GA4_TYPES, **{name: name for name in params.event_types}}
    feeds = []
    for table in read.tables:
        table = searched_once(table, *GA4_COLUMNS)
        name, time = needed(table, "event_name"), needed(table, "event_timestamp")
        user, items = optional(table, "user_pseudo_id", "user_id"), json_of(optional(table, "items"))
        ids = "CAST(list_transform(products, lambda one: one.item_id) AS VARCHAR)"
        told = ", ".join((user, time, name, optional(table, "event_bundle_sequence_id"), ids))
        fields = {
            "event_id": f"md5(concat_ws('|', {told})) || product_suffix",
            "event_type": mapped(name, kept),
            "session_id": f"{user} || '.' || {_parameter(needed(table, 'event_params'), 'ga_session_id')}",
            "user_id": user,
            "item_id": f"coalesce(id_text({of_product('item_id')}), id_text({of_product('item_name')}))",
            "timestamp": time,
        }
        levels = (f"id_text({of_product(level)})" for level in GA4_CATEGORIES)
        attributes = {
            "title": f"id_text({of_product('item_name')})",
            "category": f"nullif(concat_ws('/', {', '.join(levels)}), '')",
            "brand": of_product("item_brand"),
            "price": of_product("price"),
        }
        events = one_row_an_item(table, items, GA4_ITEM, is_one_of(name, kept))
        feeds.append(Feed(events, fields, attributes=attributes, left_out=_other_than(kept, name)))
    return Source(feeds, [], read.unread)


def snowplow(reader: Reader, path: Path, params: Ingest) -> Source:
    """Snowplow's enriched events with the actions of its e-commerce plugin, as the warehouse's table atomic.events is
    exported: JSON lines, Parquet, or text with a header, whose cells hold JSON."""
    read = opened(reader, path, *JSON, ".parquet", ".csv", ".tsv")
    need_somewhere(read.tables, *_versions(read.tables, SNOWPLOW_ACTION))
    need_somewhere(read.tables, *_versions(read.tables, SNOWPLOW_PRODUCTS))
    kept = {**SNOWPLOW_TYPES, **{name: name for name in params.event_types}}
    feeds = []
    for table in read.tables:
        entities = (*_versions([table], SNOWPLOW_ACTION), *_versions([table], SNOWPLOW_PRODUCTS))
        table = searched_once(table, *SNOWPLOW_COLUMNS, *entities)
        action = json_of(optional(table, *_versions([table], SNOWPLOW_ACTION)))
        products = json_of(optional(table, *_versions([table], SNOWPLOW_PRODUCTS)))
        kind = f"json_extract_string({action}, '$.type')"
        fields = {
            "event_id": f"{needed(table, 'event_id')} || product_suffix",
            "event_type": mapped(kind, kept),
            "session_id": needed(table, "domain_sessionid"),
            "user_id": needed(table, "domain_userid", "user_id"),
            "item_id": of_product("id"),
            "timestamp": needed(table, "derived_tstamp", "collector_tstamp"),
        }
        events = one_row_an_item(table, products, PRODUCT_KEYS, is_one_of(kind, kept))
        left_out = _other_than(kept, kind, needed(table, "event_name"))
        feeds.append(Feed(events, fields, attributes=PRODUCT, left_out=left_out))
    return Source(feeds, [], read.unread)


def segment(reader: Reader, path: Path, params: Ingest) -> Source:
    """Track calls of Segment's e-commerce spec as it archives them, or as its warehouses have them, where names are in
    snake case and what was in `properties` are columns. A visitor's calls are cut into sessions by inactivity."""
    read = _calls(reader, path)
    need_somewhere(read.tables, "event")
    kept = {**SEGMENT_TYPES, **{_in_snake_case(name): name for name in params.event_types}}
    feeds = []
    for table in read.tables:
        table = searched_once(table, *SEGMENT_COLUMNS, *PROPERTIES)
        call, name = optional(table, "type"), f"lower(replace({optional(table, 'event')}, ' ', '_'))"
        properties = json_of(optional(table, "properties") if "properties" in table else _as_json(table, PROPERTIES))
        products = f"coalesce({json_of(_text_of(properties, 'products'))}, json_array({properties}))"
        row = "source_file || ':' || lpad(CAST(row AS VARCHAR), 12, '0')"
        fields = {
            "event_id": f"coalesce({optional(table, 'messageId', 'message_id', 'id')}, {row}) || product_suffix",
            "event_type": mapped(name, kept),
            "user_id": needed(table, "anonymousId", "anonymous_id", "userId", "user_id"),
            "item_id": of_product("product_id"),
            "timestamp": needed(table, "timestamp", "originalTimestamp", "original_timestamp"),
        }
        events = one_row_an_item(table, products, PRODUCT_KEYS, is_one_of(name, kept))
        left_out = f"CASE WHEN {call} <> 'track' THEN {call} ELSE {_other_than(kept, name)} END"
        feeds.append(Feed(events, fields, attributes=PRODUCT, left_out=left_out))
    return Source(feeds, [], read.unread)


def _calls(reader: Reader, path: Path) -> Opened:
    """The tables of Segment's calls. Files of its archive are JSON lines whose names end in .gz alone."""
    root = path if path.is_dir() else path.parent
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    archived = [file for file in files if file.suffix == ".gz" and endings(file)[0] not in (*JSON, ".parquet")]
    if not archived:
        return opened(reader, path, *JSON, ".parquet")
    unread = [str(file.relative_to(root)) for file in files if file not in archived]
    return Opened([reader.json_lines(file, root) for file in archived], unread)


def _other_than(kept: Iterable[str], name: str, otherwise: str = "NULL") -> str:
    """SQL: what a row is that is none of the events that are kept, null for one that is."""
    return f"CASE WHEN NOT {is_one_of(name, kept)} THEN coalesce({name}, {otherwise}, 'without a name') END"


def _parameter(parameters: str, key: str) -> str:
    """SQL: the whole number that a list of GA4's parameters has for a key."""
    listed = f"json_extract({json_of(parameters)}, '$[*]')"
    of_key = f"list_filter({listed}, lambda one: json_extract_string(one, '$.key') = {quoted(key)})[1]"
    return f"json_extract_string({of_key}, '$.value.int_value')"


def _versions(tables: Iterable[Table], name: str) -> list[str]:
    """The columns of an entity, whose names may go on with its minor version; `name` if there is none."""
    columns = dict.fromkeys(column for table in tables for column in table.cells)
    return [one for one in columns if re.fullmatch(f"{name}(_[0-9]+)*", one, re.IGNORECASE)] or [name]


def _text_of(value: str, key: str) -> str:
    return f"json_extract_string({value}, {quoted('$.' + key)})"


def _in_snake_case(name: str) -> str:
    return name.lower().replace(" ", "_")


def _as_json(table: Table, columns: Iterable[str]) -> str:
    """SQL: a text of JSON with the columns as keys."""
    pairs = ", ".join(f"{quoted(name)}, {optional(table, name)}" for name in columns)
    return f"CAST(json_object({pairs}) AS VARCHAR)"
