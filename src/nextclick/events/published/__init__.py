"""Reads published data sets and exports of well-known systems as their publishers ship them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nextclick.events.feeds import Source
from nextclick.events.published import research_sets, shops, web_analytics
from nextclick.events.readers import Reader
from nextclick.params import Ingest

FORMATS: dict[str, Callable[[Reader, Path, Ingest], Source]] = {
    "retailrocket": research_sets.retailrocket,
    "diginetica": research_sets.diginetica,
    "yoochoose": research_sets.yoochoose,
    "otto": research_sets.otto,
    "movielens": research_sets.movielens,
    "lastfm_1k": research_sets.lastfm_1k,
    "tenrec": research_sets.tenrec,
    "ecommerce_behavior": shops.ecommerce_behavior,
    "online_retail": shops.online_retail,
    "shopify_orders": shops.shopify_orders,
    "ga4": web_analytics.ga4,
    "snowplow": web_analytics.snowplow,
    "segment": web_analytics.segment,
}
