"""What can happen to a shop, with a strength and a day on which it starts: so that a monitor can be evaluated on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import pandas as pd

from nextclick.errors import InputError
from nextclick.events.simulator.world import World

Kind = Literal["none", "catalogue_change", "taste_shift", "price_shock", "seasonal_swing", "bot_attack", "tracking_bug"]
SEASON_LEAVES = 3  # that a season draws its people to
PRICE_OF_LEVEL = 0.5  # log units of price in one unit of `Shop.level`, as `build_world` has it


@dataclass(frozen=True)
class Scenario:
    """A change of kind `kind` that starts `onset` days after the first day. What `strength` means depends on the kind.

    catalogue_change: the share of the items that leave, as many new ones coming in their place. taste_shift: the share
    of the items whose ties become those of any other, and of the users who seek something else. price_shock: log units
    that the prices of half of the items rise. seasonal_swing: the share of the users who seek the leaves of the season
    first. bot_attack: the share of the sessions that are bots. tracking_bug: the share of the events whose item is
    lost, of those that are sent twice, and of the carts and purchases that are never sent.
    """

    kind: Kind = "none"
    strength: float = 0.0
    onset: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(f"scenario {self.kind!r}: expected one of {', '.join(get_args(Kind))}")
        if self.strength < 0 or (self.kind != "price_shock" and self.strength > 1):
            raise InputError(f"scenario {self.kind}: strength {self.strength}, expected a share, 0 to 1")

    def worlds(self, world: World, rng: np.random.Generator) -> tuple[World, World]:
        """The shop before and after the onset; one and the same if nothing in it changes."""
        changes = {
            "catalogue_change": self._new_catalogue,
            "taste_shift": self._new_taste,
            "price_shock": self._new_prices,
            "seasonal_swing": self._season,
        }
        return changes[self.kind](world, rng) if self.kind in changes else (world, world)

    def bots(self, usual: float, day: int) -> float:
        """The share of the sessions of `day` that are bots."""
        return max(usual, self.strength) if self.kind == "bot_attack" and day >= self.onset else usual

    def track(self, events: pd.DataFrame, first_day: pd.Timestamp, rng: np.random.Generator) -> pd.DataFrame:
        """The events as the shop's tracker reports them."""
        if self.kind != "tracking_bug":
            return events
        hit = (events["timestamp"] >= first_day + pd.Timedelta(days=self.onset)).to_numpy()
        lost, twice, unsent = (hit & (rng.random(len(events)) < self.strength) for _ in range(3))
        events = events.assign(item_id=events["item_id"].mask(lost))
        sent = ~(unsent & (events["event_type"] != "view").to_numpy())
        repeats = 1 + (twice & sent)[sent]
        return events[sent].loc[events.index[sent].repeat(repeats)].reset_index(drop=True)

    def _new_catalogue(self, world: World, rng: np.random.Generator) -> tuple[World, World]:
        # the first item of each leaf stays, so that every leaf offers something
        free = np.setdiff1d(np.arange(len(world.appeal)), np.arange(len(world.shop.bounds) - 1))
        count = min(round(self.strength * len(world.appeal)), len(free) // 2)
        chosen = rng.permutation(free)
        come, leave = chosen[:count], chosen[count : 2 * count]
        launch_days, appeal = world.launch_days.copy(), world.appeal.copy()
        launch_days[come], appeal[leave] = self.onset, 0
        before = replace(world, launch_days=launch_days)
        return before, replace(before, appeal=appeal)

    def _new_taste(self, world: World, rng: np.random.Generator) -> tuple[World, World]:
        shop, n = world.shop, len(world.appeal)
        own = np.arange(n)
        changed = np.flatnonzero(rng.random(n) < self.strength)
        own[changed] = rng.permutation(changed)
        substitutes, weights = shop.substitutes[own], shop.substitute_weights[own].copy()
        weights[substitutes == np.arange(n)[:, None]] = 0
        moved = rng.random(len(shop.taste)) < self.strength
        others = rng.permutation(len(shop.taste))
        shop = shop._replace(
            substitutes=substitutes,
            substitute_weights=weights,
            complements=shop.complements[own],
            complement_weights=shop.complement_weights[own],
            favourites=np.where(moved[:, None], shop.favourites[others], shop.favourites),
            taste=np.where(moved, shop.taste[others], shop.taste),
        )
        return world, replace(world, shop=shop)

    def _new_prices(self, world: World, rng: np.random.Generator) -> tuple[World, World]:
        dearer = rng.random(len(world.prices)) < 0.5
        shop = world.shop._replace(level=world.shop.level + dearer * self.strength / PRICE_OF_LEVEL)
        prices = np.where(dearer, np.ceil(world.prices * np.exp(self.strength)) - 0.01, world.prices)
        return world, replace(world, shop=shop, prices=prices)

    def _season(self, world: World, rng: np.random.Generator) -> tuple[World, World]:
        favourites = world.shop.favourites.copy()
        leaves = rng.permutation(len(world.shop.bounds) - 1)[:SEASON_LEAVES]
        drawn = rng.random(len(favourites)) < self.strength
        favourites[drawn, 0] = rng.choice(leaves, drawn.sum())
        return world, replace(world, shop=world.shop._replace(favourites=favourites))
