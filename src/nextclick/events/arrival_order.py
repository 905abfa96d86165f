"""The order in which events come, which is not the order in which they happened."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nextclick.events.click_order import in_order

MAX_DELAY = 20  # events: by how many a shuffled or repeated event comes too late


def arrivals(events: pd.DataFrame, seed: int, shuffle: float = 0.0, duplicate: float = 0.0) -> pd.DataFrame:
    """Canonical events in the order in which they come: in that of their clicks, but a share `shuffle` of them comes up
    to MAX_DELAY events later, and a share `duplicate` comes a second time, likewise late."""
    random = np.random.default_rng(seed)
    ordered = in_order(events).reset_index(drop=True)
    place = np.arange(len(ordered), dtype=float)
    place += np.where(random.random(len(ordered)) < shuffle, random.uniform(0, MAX_DELAY, len(ordered)), 0)
    repeated = np.flatnonzero(random.random(len(ordered)) < duplicate)
    rows = np.concatenate([np.arange(len(ordered)), repeated])
    places = np.concatenate([place, place[repeated] + random.uniform(0, MAX_DELAY, len(repeated))])
    return ordered.iloc[rows[np.argsort(places, kind="stable")]].reset_index(drop=True)
