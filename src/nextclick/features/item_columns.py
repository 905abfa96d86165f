"""What the ranker sees of an item whatever the session: how much and how lately it is clicked, bought, and for what."""

from __future__ import annotations

import numpy as np

from nextclick.features.catalogue import Catalogue
from nextclick.features.item_statistics import HALF_LIVES_DAYS, ItemStatistics
from nextclick.retrieval.encoder import Encoder
from nextclick.units import MS_PER_HOUR

DAMPING = 20.0  # views; the rate of an item with few is drawn to that of all (additive smoothing)


def item_columns(encoder: Encoder, statistics: ItemStatistics, catalogue: Catalogue) -> dict[str, np.ndarray]:
    """Each feature by its name, (n_items,) float32; those for which the source lacks the data are left out."""
    columns = {
        "item_clicks": np.log1p(statistics.clicks),
        "item_clicks_lately": np.log1p(statistics.clicks_lately),
        "item_trend": (statistics.clicks_lately + 1) / (statistics.clicks + 10),
        "item_last_seen": statistics.last_seen,
        "item_weight": encoder.item_weight,  # how much the encoder lets it speak for a session
    }
    if len(statistics.decayed):
        for days, decayed in zip(HALF_LIVES_DAYS, statistics.decayed, strict=True):
            columns[f"item_clicks_{days:g}d"] = np.log1p(decayed)
        columns["item_heat"] = (statistics.decayed[0] + 0.1) / (statistics.decayed[-1] + 1)
        end = statistics.last_click.max(initial=0)
        columns["item_hours_known"] = np.log1p((end - statistics.first_click) / MS_PER_HOUR)
        columns["item_hours_unclicked"] = np.log1p((end - statistics.last_click) / MS_PER_HOUR)
    categories = _categories(catalogue)
    if categories is not None:
        columns["category_clicks"] = np.log1p(_in_category(statistics.clicks, categories))
        columns["item_share_of_category"] = statistics.clicks / (_in_category(statistics.clicks, categories) + 10)
    for name, events in list(zip(statistics.types, statistics.by_type, strict=True))[1:]:
        columns[f"item_{name}_rate"] = smoothed_rate(events, statistics.by_type[0])
        if categories is not None:
            columns[f"category_{name}_rate"] = smoothed_rate(
                _in_category(events, categories), _in_category(statistics.by_type[0], categories)
            )
    if catalogue.has_prices:
        price = np.log1p(np.maximum(catalogue.price, 0))
        columns["item_price"] = price
        if categories is not None:
            priced = np.isfinite(price)
            mean = _in_category(np.where(priced, price, 0), categories) / np.maximum(
                _in_category(priced.astype(np.float32), categories), 1
            )
            columns["item_price_in_category"] = price - mean
    return {name: np.asarray(column, np.float32) for name, column in columns.items()}


def _categories(catalogue: Catalogue) -> np.ndarray | None:
    """The category of each item, those of none in one of their own; None where no item has one."""
    if not catalogue.has_categories:
        return None
    return np.where(catalogue.category >= 0, catalogue.category, catalogue.category.max() + 1)


def _in_category(values: np.ndarray, categories: np.ndarray) -> np.ndarray:
    """(n_items,) the sum of `values` over the item's category."""
    return np.bincount(categories, weights=values)[categories]


def smoothed_rate(events: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Events by view, drawn to the rate of all items where there are few views."""
    overall = events.sum() / max(1.0, float(views.sum()))
    return (events + DAMPING * overall) / (views + DAMPING)
