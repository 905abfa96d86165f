"""One visitor's way through the shop, compiled: what to look at next, for how long, whether to buy it.

The next item is drawn from a mixture that is spelled out as a vector over all items, and the oracle ranks that very
vector. The oracle knows what the visitor knows: the intent (leaf and style) just before the step, the budget, the
interest in what was seen. It does not know which part of the mixture the step will come from, nor where it will lead.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from nextclick.events.simulator.world import Shop
from nextclick.units import MS_PER_MINUTE

VIEW, CART, PURCHASE = 0, 1, 2
UNIFORM_DRAWS, NORMAL_DRAWS = 5, 2  # the chance that one view may use

JUMP, JUMP_AT_START = 0.10, 0.25  # the front page, an advert: any item, by its popularity of the day
SIMILAR = 0.60  # of what is neither jump nor return: follows the ties of the items just seen; the rest browses the leaf
COMPLEMENT, COMPLEMENT_AFTER_CART = 0.25, 0.80  # of the ties followed: what goes with an item, not instead of it
ANCHORS, ANCHOR_DECAY = 3, 0.3  # ties lead on from the last items viewed, most from the latest
RETURN_DECAY, RETURN_TO_SELF = 0.75, 0.2  # returns go to what was seen lately, seldom to what is on the screen
STYLE_LOVE = 1.5  # log units in favour of the style sought
FOLLOW = 0.7  # a step into another leaf takes the intent along this often
DWELL, DWELL_SPREAD = 12_000.0, 0.9  # ms, median at no interest; log units
MAX_DWELL = 25.0 * MS_PER_MINUTE  # ms, below the half hour that ends a session in many logs


class Rates(NamedTuple):
    """How a visitor behaves; see `nextclick.params.Simulator`."""

    returns: float
    shift: float
    cart_rate: float
    purchase_rate: float


class Chance(NamedTuple):
    """All the chance in a session. uniform: (views, UNIFORM_DRAWS) in [0, 1). normal: (views, NORMAL_DRAWS)."""

    uniform: np.ndarray
    normal: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, views: int) -> Chance:
        return cls(rng.random((views, UNIFORM_DRAWS)), rng.standard_normal((views, NORMAL_DRAWS)))


class Steps(NamedTuple):
    """The events of a session in the order of time, (n,) each: item; type, one of VIEW, CART and PURCHASE; time, ms
    since the first day; rank of the item among those that could have been viewed next, 0 for what is no prediction."""

    item: np.ndarray
    type: np.ndarray
    time: np.ndarray
    rank: np.ndarray

    @classmethod
    def room(cls, views: int) -> Steps:
        """Room for all events of so many views: each may lead to a cart and a purchase."""
        item, kind, rank = (np.empty(3 * views, np.int32) for _ in range(3))
        return cls(item, kind, np.empty(3 * views, np.int64), rank)


class Seen(NamedTuple):
    """The v items viewed so far, (v,) int32, and the interest in each, (v,) float64."""

    items: np.ndarray
    interest: np.ndarray


@njit(cache=True)
def _spread(p: np.ndarray, items: np.ndarray, weights: np.ndarray, mass: float) -> float:
    """Add `mass` to p, shared among items by weights; returns the mass spent, 0 where nothing weighs."""
    total = weights.sum()
    if total <= 0:
        return 0.0
    for j in range(len(items)):
        p[items[j]] += mass * weights[j] / total
    return mass


@njit(cache=True)
def _price_fit(shop: Shop, item: int, user: int) -> float:
    """How well the price suits the user, in (0, 1]."""
    return np.exp(-0.5 * shop.sensitivity[user] * (shop.level[item] - shop.budget[user]) ** 2)


@njit(cache=True)
def _return(seen: Seen, returns: float, p: np.ndarray) -> float:
    """Back to an item seen in this session."""
    v = len(seen.items)
    weights = np.empty(v)
    others = False
    for j in range(v):
        weights[j] = RETURN_DECAY ** (v - 1 - j) * seen.interest[j]
        if seen.items[j] == seen.items[v - 1]:
            weights[j] *= RETURN_TO_SELF
        else:
            others = True
    return _spread(p, seen.items, weights, returns if others else returns * RETURN_TO_SELF)


@njit(cache=True)
def _follow_ties(
    shop: Shop,
    ties: np.ndarray,
    strengths: np.ndarray,
    popularity: np.ndarray,
    user: int,
    seen: Seen,
    mass: float,
    p: np.ndarray,
) -> float:
    """On to items tied to the last ones seen, if on sale, the more where interest was high and the price suits."""
    k = ties.shape[1]
    anchors = min(ANCHORS, len(seen.items))
    items, weights = np.empty(anchors * k, np.int32), np.empty(anchors * k)
    for a in range(anchors):
        j = len(seen.items) - 1 - a
        for t in range(k):
            i = ties[seen.items[j], t]
            items[a * k + t] = i
            on_sale = popularity[i] > 0
            strength = strengths[seen.items[j], t] * on_sale * ANCHOR_DECAY**a * seen.interest[j]
            weights[a * k + t] = strength * _price_fit(shop, i, user)
    return _spread(p, items, weights, mass)


@njit(cache=True)
def _browse(shop: Shop, popularity: np.ndarray, user: int, leaf: int, style: int, mass: float, p: np.ndarray) -> float:
    """Through the leaf sought: what is popular today, in the style sought, at a price that suits."""
    items = shop.members[shop.bounds[leaf] : shop.bounds[leaf + 1]]
    weights = np.empty(len(items))
    for j in range(len(items)):
        i = items[j]
        weights[j] = popularity[i] * _price_fit(shop, i, user) * np.exp(STYLE_LOVE * (shop.style[i] == style))
    return _spread(p, items, weights, mass)


@njit(cache=True)
def next_item(
    shop: Shop,
    popularity: np.ndarray,
    user: int,
    leaf: int,
    style: int,
    returns: float,
    seen: Seen,
    carted: bool,
    p: np.ndarray,
) -> None:
    """Fill p, (n items,), with the probability that each is viewed next; sums to 1.

    popularity: (n,), as `World.popularity`. leaf, style: the intent. returns: the share of steps back to an item seen
    in this session. carted: whether the last item seen went into the cart. As long as some item of the leaf is on sale,
    nothing of the mass is left over.
    """
    if not len(seen.items):
        p[:] = popularity * JUMP_AT_START
        _browse(shop, popularity, user, leaf, style, 1 - JUMP_AT_START, p)
        return
    p[:] = popularity * JUMP
    left = 1 - JUMP - _return(seen, (1 - JUMP) * returns, p)
    complement = SIMILAR * left * (COMPLEMENT_AFTER_CART if carted else COMPLEMENT)
    substitute = SIMILAR * left - complement
    ties = (shop.substitutes, shop.substitute_weights)
    left -= _follow_ties(shop, ties[0], ties[1], popularity, user, seen, substitute, p)
    ties = (shop.complements, shop.complement_weights)
    left -= _follow_ties(shop, ties[0], ties[1], popularity, user, seen, complement, p)
    _browse(shop, popularity, user, leaf, style, left, p)


@njit(cache=True)
def _draw(p: np.ndarray, u: float) -> int:
    """The item at share `u` of the mass, u in [0, 1)."""
    left = u * p.sum()
    last = 0
    for i in range(len(p)):
        if p[i] > 0:
            last = i
            left -= p[i]
            if left < 0:
                break
    return last


@njit(cache=True)
def rank_of(p: np.ndarray, item: int) -> int:
    """1 for the likeliest item; of equals, the lower index comes first."""
    rank = 1
    for i in range(len(p)):
        rank += p[i] > p[item] or (p[i] == p[item] and i < item)
    return rank


@njit(cache=True)
def walk(
    shop: Shop,
    popularity: np.ndarray,
    user: int,
    leaf: int,
    style: int,
    rates: Rates,
    start: int,
    chance: Chance,
    steps: Steps,
) -> int:
    """Play one session of len(chance.uniform) views; returns how many events were written into `steps`.

    start: ms since the first day. leaf, style: the intent at first.
    """
    items, types, times, ranks = steps
    uniform, normal = chance
    views = len(uniform)
    seen, interest = np.empty(views, np.int32), np.empty(views)
    carted, in_cart = np.empty(views, np.bool_), np.zeros(len(popularity), np.bool_)
    p = np.empty(len(popularity))
    now, n = start, 0
    for v in range(views):
        so_far = Seen(seen[:v], interest[:v])
        next_item(shop, popularity, user, leaf, style, rates.returns, so_far, v > 0 and carted[v - 1], p)
        item = _draw(p, uniform[v, 0])
        seen[v] = item
        fit = _price_fit(shop, item, user)
        match = 1.0 * (shop.leaf[item] == leaf) + 0.8 * (shop.style[item] == style) + 1.5 * (fit - 0.5)
        interest[v] = 1 / (1 + np.exp(-(match - 1 + normal[v, 0])))
        items[n], types[n], times[n] = item, VIEW, now
        ranks[n] = rank_of(p, item) if v else 0
        n += 1

        dwell = 1_000 + min(DWELL * np.exp(1.5 * interest[v] + DWELL_SPREAD * normal[v, 1]), MAX_DWELL)
        carted[v] = not in_cart[item] and uniform[v, 1] < 2 * rates.cart_rate * interest[v] * (0.5 + fit)
        if carted[v]:
            in_cart[item] = True
            items[n], types[n], times[n], ranks[n] = item, CART, now + int(0.8 * dwell), 0
            n += 1
        now += int(dwell)

        if shop.leaf[item] != leaf:
            if uniform[v, 2] < FOLLOW:
                leaf, style = shop.leaf[item], shop.style[item]
        elif uniform[v, 2] < rates.shift:
            favourites = shop.favourites[user]
            leaf = favourites[int(uniform[v, 3] * len(favourites))]

    # the checkout, at the end: each item in the cart is paid for or left
    for v in range(views):
        keen = rates.purchase_rate * (0.6 + 0.8 * _price_fit(shop, seen[v], user))
        if carted[v] and uniform[v, 4] < keen:
            items[n], types[n], times[n], ranks[n] = seen[v], PURCHASE, now, 0
            n += 1
            now += 1
    return n
