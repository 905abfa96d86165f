"""What a window of raw events says of the tracker and of the shop, before anything is cleaned away."""

from __future__ import annotations

import numpy as np
import pandas as pd

COLUMNS = ("event_id", "session_id", "item_id", "event_type", "timestamp")
DAY = pd.Timedelta(days=1)
TWICE = pd.Timedelta(seconds=1)  # what is sent again under another id is sent so soon; fewer people click so
ROBOT_VIEWS = 40  # a session of so many events that never comes back to an item is a robot's


def facts_of(
    events: pd.DataFrame, known_items: np.ndarray, since: pd.Timestamp | None = None, until: pd.Timestamp | None = None
) -> dict:
    """Facts of raw events from `since` to `until` (UTC; by default from the first to the last of them).

    events, sessions, days (length of the window), per_day (events), least_a_day (events of the poorest whole day, null
    where the window has none), per_session (events), mix (share by type), lost (share of the events with a null in any
    column), twice (share that came before, by its id, or by all else within `TWICE`), new_items (share of the events
    with an item that is not in `known_items`), top_item (the item that most events are of) and top_share (theirs),
    top_unknown and unknown_share (the same of the items not known), newest (event, ISO text), robots (share of the
    sessions), and missing (columns that are not there at all).

    Never raises for what the data holds: shares of nothing are null.
    """
    missing = [name for name in COLUMNS if name not in events]
    found: dict = {"events": len(events), "missing": missing}
    if missing or events.empty:
        return found
    items, times = events["item_id"], events["timestamp"]
    since, until = (given if given is not None else end for given, end in ((since, times.min()), (until, times.max())))
    days = (until - since) / DAY if pd.notna(since) else 0.0
    types = events["event_type"].astype("object").fillna("(null)")
    sessions = events.groupby("session_id")["item_id"]
    size, distinct = sessions.size(), sessions.nunique()
    popular = items.value_counts(normalize=True)
    unknown = popular[~popular.index.isin(known_items)]
    return found | {
        "sessions": len(size),
        "days": round(days, 3),
        "per_day": len(events) / days if days else None,
        "least_a_day": _least_a_day(times, since, until),
        "per_session": float(size.mean()) if len(size) else None,
        "mix": {str(kind): float(share) for kind, share in types.value_counts(normalize=True).sort_index().items()},
        "lost": float(events[list(COLUMNS)].isna().any(axis=1).mean()),
        "twice": float(_twice(events).mean()),
        "new_items": float((~items.dropna().isin(known_items)).mean()) if items.notna().any() else None,
        "top_item": str(popular.index[0]) if len(popular) else None,
        "top_share": float(popular.iloc[0]) if len(popular) else None,
        "top_unknown": str(unknown.index[0]) if len(unknown) else None,
        "unknown_share": float(unknown.iloc[0]) if len(unknown) else 0.0,
        "newest": times.max().isoformat() if times.notna().any() else None,
        "robots": float(((size >= ROBOT_VIEWS) & (distinct == size)).mean()) if len(size) else None,
    }


def facts_by_day(events: pd.DataFrame, known_items: np.ndarray) -> dict[str, dict]:
    """`facts_of` each day (UTC, ISO text) that has events with a time."""
    if "timestamp" not in events:
        return {}
    days = events["timestamp"].dt.strftime("%Y-%m-%d")
    return {str(day): facts_of(part, known_items) for day, part in events.groupby(days)}


def _twice(events: pd.DataFrame) -> np.ndarray:
    """(n,) bool, in an order of its own."""
    same = list(COLUMNS[1:4])
    ordered = events.sort_values([*same, "timestamp"])
    before = ordered.shift()
    again = (ordered[same] == before[same]).all(axis=1) & (ordered["timestamp"] - before["timestamp"] <= TWICE)
    return (again | (ordered["event_id"].duplicated() & ordered["event_id"].notna())).to_numpy()


def _least_a_day(times: pd.Series, since: pd.Timestamp, until: pd.Timestamp) -> int | None:
    """Only days (UTC) that lie wholly in the window are asked, those without an event too."""
    if pd.isna(since) or since.ceil("D") >= until.floor("D"):
        return None
    whole = pd.date_range(since.ceil("D"), until.floor("D") - DAY, freq="D")
    return int(times.dt.floor("D").value_counts().reindex(whole, fill_value=0).min())
