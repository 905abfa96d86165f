"""How a candidate's category, price and title fit those of the items seen in the session."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from nextclick.events.prefixes import known_clicks
from nextclick.features.feature_group import FeatureContext, FeatureGroup, ItemKnowledge
from nextclick.features.groups.session import cosine

CATEGORY_NAMES = (
    "same_category_last",  # as the last item: 1, 0; of items without a category 0
    "same_category_share",  # of the session's clicks
    "same_department_share",
    "session_categories",  # distinct
)
PRICE_NAMES = (
    "price_to_last",  # log ratio to the last item's price; NaN where either is unknown
    "price_to_session",  # the same to the mean log price of the session's items
)
TITLE_NAMES = ("title_cosine_last", "title_cosine_mean")


def _parts(knowledge: ItemKnowledge) -> list[tuple[tuple[str, ...], Callable[[FeatureContext, np.ndarray], None]]]:
    """What the catalogue has, each with what fills it."""
    catalogue = knowledge.catalogue
    parts: list[tuple[tuple[str, ...], Callable[[FeatureContext, np.ndarray], None]]] = []
    if catalogue.has_categories:
        parts.append((CATEGORY_NAMES, _fill_categories))
    if catalogue.has_prices:
        parts.append((PRICE_NAMES, _fill_prices))
    if catalogue.titles.shape[1]:
        parts.append((TITLE_NAMES, _fill_titles))
    return parts


def _names(knowledge: ItemKnowledge) -> tuple[str, ...]:
    return tuple(name for names, _ in _parts(knowledge) for name in names)


def _fill(context: FeatureContext, out: np.ndarray) -> None:
    first = 0
    for names, fill in _parts(context.knowledge):
        fill(context, out[:, :, first : first + len(names)])
        first += len(names)


def _fill_categories(context: FeatureContext, out: np.ndarray) -> None:
    catalogue = context.knowledge.catalogue
    prefixes, items = context.prefixes.arrays, context.candidates.items
    _write_categories(prefixes, items, catalogue.category, catalogue.department, out)


def _fill_prices(context: FeatureContext, out: np.ndarray) -> None:
    price = context.knowledge.item_columns["item_price"]
    _write_prices(context.prefixes.arrays, context.candidates.items, price, out)


def _fill_titles(context: FeatureContext, out: np.ndarray) -> None:
    titles = context.knowledge.catalogue.titles
    _write_titles(context.prefixes.arrays, context.candidates.items, titles, out)


@njit(cache=True, nogil=True)
def _write_categories(prefixes, candidates, category, department, out):
    n, width = candidates.shape
    for i in range(n):
        clicks = known_clicks(prefixes, i)
        n_clicks = len(clicks)
        distinct = len(np.unique(category[clicks]))
        for c in range(width):
            item = candidates[i, c]
            if item < 0:
                break
            row = out[i, c]
            row[3] = distinct
            if category[item] < 0:
                continue
            for click in clicks:
                row[1] += category[click] == category[item]
                row[2] += department[click] == department[item]
            if n_clicks:
                row[0] = category[clicks[n_clicks - 1]] == category[item]
                row[1] /= n_clicks
                row[2] /= n_clicks


@njit(cache=True, nogil=True)
def _write_prices(prefixes, candidates, price, out):
    n, width = candidates.shape
    for i in range(n):
        clicks = known_clicks(prefixes, i)
        last, total, priced = np.float32(np.nan), np.float32(0), 0
        for click in clicks:
            last = price[click]
            if np.isfinite(last):
                total += last
                priced += 1
        mean = total / np.float32(priced) if priced else np.float32(np.nan)
        for c in range(width):
            item = candidates[i, c]
            if item < 0:
                break
            out[i, c, 0] = price[item] - last
            out[i, c, 1] = price[item] - mean


@njit(cache=True, nogil=True)
def _write_titles(prefixes, candidates, titles, out):
    n, width = candidates.shape
    for i in range(n):
        clicks = known_clicks(prefixes, i)
        n_clicks = len(clicks)
        mean = np.zeros((1, titles.shape[1]), np.float32)
        for click in clicks:
            mean[0] += titles[click] / np.float32(n_clicks)
        for c in range(width):
            item = candidates[i, c]
            if item < 0:
                break
            if n_clicks:
                out[i, c, 0] = cosine(titles, clicks[n_clicks - 1], item)
                total = np.float32(0)
                for k in range(titles.shape[1]):
                    total += mean[0, k] * titles[item, k]
                out[i, c, 1] = total


CATALOGUE = FeatureGroup("catalogue", _names, _fill)
