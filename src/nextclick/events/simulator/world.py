"""The simulated shop itself: its catalogue, its people and the hidden ties between items, before anyone clicks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nextclick.events.simulator.names import BRAND_ENDS, BRAND_STARTS, COLOURS, LEAVES, STYLE_WORDS
from nextclick.params import Simulator

ITEMS_PER_LEAF = 12  # a small catalogue opens fewer leaves, so that each still offers a choice
BRANDS_PER_LEAF = 4
SUBSTITUTES, COMPLEMENTS = 10, 6  # how many of each an item has
FAVOURITES = np.array([0.55, 0.30, 0.15])  # a user's three favourite leaves, and how often each is sought
BUZZ, BUZZ_DAYS = 4.0, 3.0  # a launch multiplies an item's appeal by up to 1 + BUZZ, most on day BUZZ_DAYS


class Shop(NamedTuple):
    """What the walk through the shop reads, as arrays (n items, L leaves, U users).

    leaf, style: (n,) indices of leaf and style. level: (n,) price within its leaf, in standard deviations.
    members: (n,) items grouped by leaf; leaf l owns members[bounds[l]:bounds[l + 1]].
    substitutes, complements: (n, k) items, best first; weights (n, k), 0 where there is no such item.
    favourites: (U, 3) leaves. taste: (U,) style. budget: (U,) the level sought. sensitivity: (U,) dislike per squared
    deviation from it.
    """

    leaf: np.ndarray
    style: np.ndarray
    level: np.ndarray
    members: np.ndarray
    bounds: np.ndarray
    substitutes: np.ndarray
    substitute_weights: np.ndarray
    complements: np.ndarray
    complement_weights: np.ndarray
    favourites: np.ndarray
    taste: np.ndarray
    budget: np.ndarray
    sensitivity: np.ndarray


@dataclass(frozen=True)
class World:
    """A shop with its labels and its popularity through time.

    titles, categories: (n,) str. prices: (n,) float64. launch_days: (n,) int64, days after the first day, negative for
    items launched before it. appeal: (n,) Zipf, 0 where no longer on sale. peak_days, spans, heights: (n,) each
    item's rise and fade: days, days, log units. activity: (U,) how often each user comes, sums to 1.
    """

    shop: Shop
    titles: np.ndarray
    categories: np.ndarray
    prices: np.ndarray
    launch_days: np.ndarray
    appeal: np.ndarray
    peak_days: np.ndarray
    spans: np.ndarray
    heights: np.ndarray
    activity: np.ndarray

    def popularity(self, day: int) -> np.ndarray:
        """(n,) float64, sums to 1: the share of each item on `day`; 0 before its launch."""
        age = day - self.launch_days
        buzz = (age + 1) / BUZZ_DAYS * np.exp(1 - (age + 1) / BUZZ_DAYS)
        # what was launched before the period is old news, however near its launch
        fresh = np.where(self.launch_days >= 0, 1 + BUZZ * buzz.clip(min=0), 1.0)
        trend = np.exp(self.heights * np.exp(-(((day - self.peak_days) / self.spans) ** 2)))
        weight = np.where(age >= 0, self.appeal * fresh * trend, 0.0)
        return weight / weight.sum()

    def catalogue(self, day: int) -> np.ndarray:
        """The items on sale on `day`, in the order of the category pages."""
        members = self.shop.members
        return members[(self.launch_days[members] <= day) & (self.appeal[members] > 0)]


def _ties(
    rng: np.random.Generator, sources: np.ndarray, pool: np.ndarray, k: int, shop: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """k items of `pool` for each of `sources`, alike in style, price and appeal but otherwise by chance.

    Gumbel noise on log weights draws without replacement, the likelier first. Returns items and weights, (m, k).
    """
    items = np.zeros((len(sources), k), dtype=np.int32)
    weights = np.zeros((len(sources), k))
    if not len(pool):
        return items, weights
    alike = 1.2 * (shop["style"][sources, None] == shop["style"][pool])
    near = -0.4 * (shop["level"][sources, None] - shop["level"][pool]) ** 2
    score = alike + near + 0.5 * np.log(shop["appeal"][pool]) + rng.gumbel(size=(len(sources), len(pool)))
    score[sources[:, None] == pool] = -np.inf
    best = np.argsort(-score, axis=1, kind="stable")[:, :k]
    n_best = best.shape[1]
    items[:, :n_best] = pool[best]
    exists = np.isfinite(np.take_along_axis(score, best, axis=1))
    weights[:, :n_best] = np.where(exists, 1 / np.arange(1, n_best + 1), 0)
    return items, weights


def build_world(params: Simulator, rng: np.random.Generator) -> World:
    """The shop that `params` describe, drawn from `rng`."""
    n = params.items
    n_leaves = int(np.clip(n // ITEMS_PER_LEAF, 1, len(LEAVES)))
    chosen = np.sort(rng.permutation(len(LEAVES))[:n_leaves])

    leaf = rng.choice(n_leaves, n, p=rng.dirichlet(np.full(n_leaves, 4.0)))
    leaf[:n_leaves] = np.arange(n_leaves)  # no leaf is empty
    brand = leaf * BRANDS_PER_LEAF + rng.integers(BRANDS_PER_LEAF, size=n)
    n_brands = n_leaves * BRANDS_PER_LEAF
    brand_style, brand_level = rng.integers(len(STYLE_WORDS), size=n_brands), rng.normal(0, 0.7, n_brands)
    style = np.where(rng.random(n) < 0.6, brand_style[brand], rng.integers(len(STYLE_WORDS), size=n))
    level = brand_level[brand] + rng.normal(0, 0.7, n)
    prices = np.ceil(np.exp(rng.normal(3.6, 0.7, n_leaves)[leaf] + 0.5 * level)) - 0.01

    appeal = rng.permutation(np.arange(1, n + 1, dtype=np.float64)) ** -params.zipf
    launch_days = -rng.integers(30, 720, size=n)
    launched = np.flatnonzero(rng.random(n) < params.launches)
    launched = launched[launched >= n_leaves]  # so that every leaf offers something from the first day
    launch_days[launched] = rng.integers(1, params.days, size=len(launched))

    traits = {"style": style, "level": level, "appeal": appeal}
    members = np.argsort(leaf, kind="stable").astype(np.int32)
    bounds = np.searchsorted(leaf[members], np.arange(n_leaves + 1))
    substitutes, substitute_weights = np.zeros((n, SUBSTITUTES), np.int32), np.zeros((n, SUBSTITUTES))
    complements, complement_weights = np.zeros((n, COMPLEMENTS), np.int32), np.zeros((n, COMPLEMENTS))
    for index in range(n_leaves):
        own = members[bounds[index] : bounds[index + 1]]
        substitutes[own], substitute_weights[own] = _ties(rng, own, own, SUBSTITUTES, traits)
        partners = rng.permutation(np.delete(np.arange(n_leaves), index))[:2]
        pool = np.flatnonzero(np.isin(leaf, partners))
        complements[own], complement_weights[own] = _ties(rng, own, pool, COMPLEMENTS, traits)

    leaf_appeal = np.bincount(leaf, weights=appeal, minlength=n_leaves)
    activity = rng.gamma(0.7, size=params.users) + 1e-3
    shop = Shop(
        leaf=leaf.astype(np.int32),
        style=style.astype(np.int32),
        level=level,
        members=members,
        bounds=bounds.astype(np.int64),
        substitutes=substitutes,
        substitute_weights=substitute_weights,
        complements=complements,
        complement_weights=complement_weights,
        favourites=rng.choice(n_leaves, (params.users, len(FAVOURITES)), p=leaf_appeal / leaf_appeal.sum()),
        taste=rng.integers(len(STYLE_WORDS), size=params.users),
        budget=rng.normal(0, 0.9, params.users),
        sensitivity=rng.gamma(2.0, 0.4, params.users),
    )
    return World(
        shop=shop,
        titles=_titles(rng, chosen[leaf], style, brand, n_brands),
        categories=np.array([LEAVES[index][0] for index in chosen])[leaf],
        prices=prices,
        launch_days=launch_days,
        appeal=appeal,
        peak_days=rng.uniform(-5, params.days + 5, n),
        spans=rng.uniform(2, 8, n),
        heights=np.abs(rng.normal(0, params.trend, n)),
        activity=activity / activity.sum(),
    )


def _titles(
    rng: np.random.Generator, leaf: np.ndarray, style: np.ndarray, brand: np.ndarray, n_brands: int
) -> np.ndarray:
    """(n,) str: brand, a word for the style (four times in five), a noun of the leaf, a colour and a model number."""
    n = len(leaf)
    starts, ends = rng.integers(len(BRAND_STARTS), size=n_brands), rng.integers(len(BRAND_ENDS), size=n_brands)
    brands = [BRAND_STARTS[s] + BRAND_ENDS[e] for s, e in zip(starts, ends, strict=True)]
    styled = rng.random(n) < 0.8
    word, noun, colour, model = (rng.integers(top, size=n) for top in (3, 2, len(COLOURS), 1000))
    titles = []
    for i in range(n):
        words = [brands[brand[i]], STYLE_WORDS[style[i]][word[i]] if styled[i] else "", LEAVES[leaf[i]][1][noun[i]]]
        titles.append(" ".join(filter(None, [*words, COLOURS[colour[i]], str(model[i])])))
    return np.array(titles)
