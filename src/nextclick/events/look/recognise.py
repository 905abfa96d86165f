"""Recognises the formats of published data sets by the names of their files and columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from nextclick.events.look.column_names import key


@dataclass(frozen=True)
class Sign:
    """What tells a format: a file of such a name, which has all of these columns, whatever their case and marks. If
    none are listed, the name is enough."""

    format: str
    file: str
    columns: str = ""

    @property
    def shown(self) -> str:
        """The sign in words."""
        named = "a file" if self.file == "*" else f"a file named {self.file}"
        return f"{named} with the columns {', '.join(self.columns.split())}" if self.columns else named


SIGNS = (
    Sign("retailrocket", "*events*.csv", "timestamp visitorid event itemid transactionid"),
    Sign("diginetica", "*train-item-views*.csv", "session_id user_id item_id timeframe eventdate"),
    Sign("yoochoose", "*yoochoose-clicks*.dat"),
    Sign("otto", "*.jsonl", "session events"),
    Sign("movielens", "ratings.dat"),
    Sign("movielens", "ratings.csv", "userId movieId rating timestamp"),
    Sign("movielens", "*.inter", "user_id item_id timestamp"),
    Sign("lastfm_1k", "*userid-timestamp-artid-artname-traid-traname*.tsv"),
    Sign("tenrec", "*.csv", "user_id item_id click follow like share"),
    Sign("ecommerce_behavior", "*.csv*", "event_time event_type product_id category_code user_id user_session"),
    Sign("online_retail", "*.csv*", "StockCode Description Quantity InvoiceDate CustomerID"),
    Sign("shopify_orders", "*.csv*", "Name Email Lineitem_name Lineitem_price Created_at"),
    Sign("ga4", "*", "event_name event_timestamp event_params user_pseudo_id"),
    Sign("snowplow", "*", "event_name domain_sessionid domain_userid collector_tstamp"),
    Sign("segment", "*", "anonymousId messageId event properties timestamp"),
    Sign("segment", "*", "anonymous_id event original_timestamp received_at"),
)
MOST_FILES = 20  # of a folder, whose columns are looked at


def recognised(path: Path, columns_of: Callable[[Path], list[str]]) -> Sign | None:
    """The sign of the format that a file, or a file in a folder or below it, has; None if it has none that is known.

    columns_of: reads the names of a file's columns.
    """
    files = [path] if path.is_file() else [file for file in sorted(path.rglob("[!._]*")) if file.is_file()]
    names = cache(lambda file: {*map(key, columns_of(file))})
    for sign in SIGNS:
        for file in files[:MOST_FILES]:
            fits = fnmatch(file.name.lower(), sign.file.lower())
            if fits and (not sign.columns or {*map(key, sign.columns.split())} <= names(file)):
                return sign
    return None
