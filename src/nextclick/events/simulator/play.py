"""Weeks in the simulated shop: who comes when, what they do, written as the files that a shop would have."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from nextclick.events.simulator.scenarios import Scenario
from nextclick.events.simulator.walk import CART, PURCHASE, VIEW, Chance, Rates, Steps, walk
from nextclick.events.simulator.world import FAVOURITES, World, build_world
from nextclick.files import move_files, scratch_folder
from nextclick.params import Simulator
from nextclick.progress import progress_bar
from nextclick.units import MS_PER_DAY, MS_PER_HOUR

TYPE_NAMES = {VIEW: "view", CART: "cart", PURCHASE: "purchase"}
# the share of a day's visits in each hour: quiet nights, a lunch hour, the evening
HOURS = np.array([1, 0.6, 0.4, 0.3, 0.3, 0.5, 1, 2, 3, 3.6, 4, 4.4, 5, 4.6, 4.2, 4, 4.2, 4.8, 5.8, 7, 8, 7.4, 5, 2.4])
WEEKDAYS = np.array([1.0, 0.95, 0.95, 1.0, 0.9, 1.15, 1.3])  # Monday first
LONGEST = 60  # views of a person in one session
BOT_VIEWS, BOT_DWELL = (40, 120), (300, 900)  # ranges; ms


def simulate(params: Simulator, seed: int, out: Path, scenario: Scenario | None = None) -> dict:
    """Write events.parquet, items.parquet and oracle.parquet to the folder `out`; returns counts.

    oracle.parquet holds, for each view that has an event of its session before it, the rank of the viewed item in the
    true distribution of the next view (see `walk`): the share of ranks up to k is the hit rate at k that nobody can
    beat in expectation. A bot goes through the catalogue in order, so its next view is certain: rank 1. A scenario has
    chance of its own; items.parquet says what is true at the end.
    """
    rng, chance = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    scenario = scenario or Scenario()
    before, after = scenario.worlds(build_world(params, rng), chance)
    weekday = (params.start.weekday() + np.arange(params.days)) % 7
    busy = WEEKDAYS[weekday] * rng.lognormal(0, 0.05, params.days)
    per_day = rng.multinomial(params.sessions, busy / busy.sum())
    sessions: list[pd.DataFrame] = []
    with progress_bar(total=params.sessions, desc="simulate", unit="session") as progress:
        for day, count in enumerate(per_day):
            world, bots = (after if day >= scenario.onset else before), scenario.bots(params.bots, day)
            popularity, catalogue = world.popularity(day), world.catalogue(day)
            for _ in range(count):
                start = day * MS_PER_DAY + int((rng.choice(24, p=HOURS / HOURS.sum()) + rng.random()) * MS_PER_HOUR)
                if rng.random() < bots:
                    sessions.append(_bot(rng, catalogue, start))
                else:
                    sessions.append(_person(rng, params, world, popularity, start))
            progress.update(int(count))
    played = pd.concat(sessions, keys=range(len(sessions)), names=["session", None])
    with scratch_folder(out.with_name(f".scratch-{out.name}")) as scratch:
        counts = _write(played, after, params, scratch, scenario, chance)
        move_files(("events.parquet", "items.parquet", "oracle.parquet"), scratch, out)
    return counts


def _person(
    rng: np.random.Generator, params: Simulator, world: World, popularity: np.ndarray, start: int
) -> pd.DataFrame:
    user = rng.choice(params.users, p=world.activity)
    leaf = world.shop.favourites[user, rng.choice(len(FAVOURITES), p=FAVOURITES)]
    style = world.shop.taste[user]
    views = min(int(rng.geometric(1 / params.views)), LONGEST)
    chance, steps = Chance.draw(rng, views), Steps.room(views)
    rates = Rates(params.returns, params.shift, params.cart_rate, params.purchase_rate)
    n = walk(world.shop, popularity, user, leaf, style, rates, start, chance, steps)
    known = -1 if rng.random() < params.anonymous else user
    return pd.DataFrame({"user": known, **{name: values[:n] for name, values in steps._asdict().items()}})


def _bot(rng: np.random.Generator, catalogue: np.ndarray, start: int) -> pd.DataFrame:
    views = min(int(rng.integers(*BOT_VIEWS)), len(catalogue))
    first = rng.integers(len(catalogue))
    items = np.take(catalogue, np.arange(first, first + views), mode="wrap")
    times = start + np.cumsum(rng.integers(*BOT_DWELL, size=views))
    return pd.DataFrame({"user": -1, "item": items, "type": VIEW, "time": times, "rank": (np.arange(views) > 0) * 1})


def _write(
    played: pd.DataFrame,
    world: World,
    params: Simulator,
    out: Path,
    scenario: Scenario,
    chance: np.random.Generator,
) -> dict:
    played = played.reset_index("session").sort_values(["time", "session"], kind="stable", ignore_index=True)
    ids = np.char.add("e", np.char.zfill(np.arange(len(played)).astype(np.str_), 9))
    item_ids = np.char.add("i", np.char.zfill(np.arange(params.items).astype(np.str_), 6))
    first_day = pd.Timestamp(params.start, tz="UTC")
    users = "u" + played["user"].astype(str).str.zfill(6)
    events = pd.DataFrame(
        {
            "event_id": ids,
            "session_id": "s" + played["session"].astype(str).str.zfill(7),
            "user_id": users.where(played["user"] >= 0),
            "item_id": item_ids[played["item"]],
            "event_type": played["type"].map(TYPE_NAMES),
            "timestamp": (first_day + pd.to_timedelta(played["time"], unit="ms")).astype("datetime64[ms, UTC]"),
        }
    )
    events = scenario.track(events, first_day, chance)
    events.to_parquet(out / "events.parquet", index=False)
    predicted = played["rank"] > 0
    pd.DataFrame({"event_id": ids[predicted], "rank": played["rank"][predicted].astype(np.int32)}).to_parquet(
        out / "oracle.parquet", index=False
    )
    pd.DataFrame(
        {
            "item_id": item_ids,
            "title": world.titles,
            "category": world.categories,
            "price": world.prices,
            "launched": [first_day + timedelta(days=int(day)) for day in world.launch_days],
        }
    ).astype({"launched": "datetime64[ms, UTC]"}).to_parquet(out / "items.parquet", index=False)
    return {
        "sessions": params.sessions,
        "events": len(events),
        "items": params.items,
        "oracle_hr@20": float((played["rank"][predicted] <= 20).mean()),
    }
