"""What a window of raw events says of the tracker and of the shop, before anything is cleaned away."""

from __future__ import annotations

import numpy as np
import pandas as pd

COLUMNS = ("event_id", "session_id", "item_id", "event_type", "timestamp")
ROBOT_VIEWS = 40  # a session of so many events that never comes back to an item is a robot's


def facts_of(events: pd.DataFrame, known_items: np.ndarray) -> dict:
    """Facts of raw events: events, sessions, days, per_day (events), mix (share by type), lost (share of the events
    with a null in any column), twice (share whose id came before), new_items (share of the events with an item that is
    not in `known_items`), robots (share of the sessions), and missing (columns that are not there at all).

    Never raises for what the data holds: shares of nothing are null.
    """
    missing = [name for name in COLUMNS if name not in events]
    found: dict = {"events": len(events), "missing": missing}
    if missing or events.empty:
        return found
    items = events["item_id"]
    days = events["timestamp"].dt.floor("D").nunique()
    types = events["event_type"].astype("object").fillna("(null)")
    sessions = events.groupby("session_id")["item_id"]
    size, distinct = sessions.size(), sessions.nunique()
    return found | {
        "sessions": len(size),
        "days": int(days),
        "per_day": len(events) / days if days else None,
        "mix": {str(kind): float(share) for kind, share in types.value_counts(normalize=True).sort_index().items()},
        "lost": float(events[list(COLUMNS)].isna().any(axis=1).mean()),
        "twice": float(events["event_id"].dropna().duplicated().sum() / len(events)),
        "new_items": float((~items.dropna().isin(known_items)).mean()) if items.notna().any() else None,
        "robots": float(((size >= ROBOT_VIEWS) & (distinct == size)).mean()) if len(size) else None,
    }


def facts_by_day(events: pd.DataFrame, known_items: np.ndarray) -> dict[str, dict]:
    """`facts_of` each day (UTC, ISO text) that has events with a time."""
    if "timestamp" not in events:
        return {}
    days = events["timestamp"].dt.strftime("%Y-%m-%d")
    return {str(day): facts_of(part, known_items) for day, part in events.groupby(days)}
