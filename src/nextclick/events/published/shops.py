"""Reads what shops publish as tables: clicks of a store's visitors, and orders."""

from __future__ import annotations

from pathlib import Path

from nextclick.events.feeds import Feed, Source
from nextclick.events.published.shapes import needed, numbered, opened, optional, refused
from nextclick.events.readers import Reader
from nextclick.params import Ingest

REMOVED = "remove_from_cart takes a step back: name it in ingest.event_types to read it"
RETURNED = "a return or a cancelled invoice, which is no purchase"


def ecommerce_behavior(reader: Reader, path: Path, params: Ingest) -> Source:
    """Kaggle's eCommerce behavior data from multi category store, and its other stores of that shape: a CSV a month."""
    read = opened(reader, path, ".csv")
    feeds = []
    for table in read.tables:
        kind = needed(table, "event_type")
        if "remove_from_cart" not in params.event_types:
            table = refused(table, f"{kind} = 'remove_from_cart'", REMOVED)
        fields = {
            "event_type": kind,
            "session_id": needed(table, "user_session"),
            "user_id": needed(table, "user_id"),
            "item_id": needed(table, "product_id"),
            "timestamp": needed(table, "event_time"),
        }
        levels = f"replace({needed(table, 'category_code')}, '.', '/')"
        attributes = {
            "category": f"coalesce({levels}, {needed(table, 'category_id')})",
            "brand": needed(table, "brand"),
            "price": needed(table, "price"),
        }
        feeds.append(Feed(table, fields, attributes=attributes))
    return Source(feeds, [], read.unread)


def online_retail(reader: Reader, path: Path, _: Ingest) -> Source:
    """UCI's Online Retail and Online Retail II as CSV: a row for each line of an invoice. An invoice is a session, so
    that customers without an id have one too."""
    read = opened(reader, path, ".csv")
    feeds = []
    for table in read.tables:
        invoice, time = needed(table, "Invoice", "InvoiceNo"), needed(table, "InvoiceDate")
        quantity = f"TRY_CAST({needed(table, 'Quantity')} AS DOUBLE)"
        american = f"strftime(try_strptime({time}, '%m/%d/%Y %H:%M'), '%Y-%m-%d %H:%M:%S')"
        fields = {
            "event_type": "'purchase'",
            "session_id": invoice,
            "user_id": needed(table, "Customer ID", "CustomerID"),
            "item_id": needed(table, "StockCode"),
            "timestamp": f"coalesce({american}, {time})",
        }
        attributes = {"title": needed(table, "Description"), "price": needed(table, "Price", "UnitPrice")}
        sold = refused(table, f"(starts_with({invoice}, 'C') OR {quantity} <= 0)", RETURNED)
        feeds.append(Feed(sold, fields, attributes=attributes))
    return Source(feeds, [], read.unread)


def shopify_orders(reader: Reader, path: Path, _: Ingest) -> Source:
    """Shopify's export of orders: a row for each line of an order, of which only the first needs to have what is the
    same for all of them. An order is a session; its lines are numbered, so that one in two exports counts once."""
    read = opened(reader, path, ".csv")
    feeds = []
    for table in map(numbered, read.tables):
        order, name = needed(table, "Name"), needed(table, "Lineitem name")
        whole = f"OVER (PARTITION BY source_file, {order})"
        line = f"row_number() OVER (PARTITION BY source_file, {order} ORDER BY row)"
        fields = {
            "event_id": f"{order} || '-' || lpad(CAST({line} AS VARCHAR), 4, '0')",
            "event_type": "'purchase'",
            "session_id": order,
            "user_id": f"coalesce(max(lower({needed(table, 'Email')})) {whole}, {order})",
            "item_id": f"coalesce({optional(table, 'Lineitem sku')}, {name})",
            "timestamp": f"max({needed(table, 'Created at')}) {whole}",
        }
        attributes = {
            "title": name,
            "brand": optional(table, "Vendor"),
            "price": needed(table, "Lineitem price"),
        }
        feeds.append(Feed(table, fields, attributes=attributes))
    return Source(feeds, [], read.unread)
