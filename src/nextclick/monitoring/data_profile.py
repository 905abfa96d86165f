"""What a window of raw events says of the tracker and of the shop, before anything is cleaned away."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pydantic import Field

from nextclick.events.schema import EVENT_IDENTITY, REQUIRED_FIELDS
from nextclick.result import Result

DAY = pd.Timedelta(days=1)
RESENT_WITHIN = pd.Timedelta(seconds=1)  # what is sent again under another id; fewer people click so soon
ROBOT_EVENTS = 40  # a session of so many events that never returns to an item is a robot's


class DataProfile(Result):
    """A profile of raw events. Without any event, or without one of REQUIRED_FIELDS, it has only `events`, `missing`;
    shares of nothing are None."""

    events: int
    missing: list[str]  # columns that the events do not have
    sessions: int = 0
    days: float = 0.0  # the window's length
    per_day: float | None = None  # events
    least_a_day: int | None = None  # events on the poorest whole day; None if the window has none
    per_session: float | None = None  # events
    mix: dict[str, float] = Field(default_factory=dict)  # share of the events by type
    lost: float = 0.0  # share of the events with a null in any column
    twice: float = 0.0  # share that repeats an earlier id, or all else within RESENT_WITHIN
    new_items: float | None = None  # share of the events with an item outside the vocabulary
    top_item: str | None = None  # the item with the most events
    top_share: float | None = None  # its share
    top_unknown: str | None = None  # the item outside the vocabulary with the most events
    unknown_share: float = 0.0  # its share
    newest: str | None = None  # time of the newest event, ISO text
    robots: float | None = None  # share of the sessions
    behind: str | None = None  # end of the training, ISO text; given only if no event is newer


def profile_of(
    events: pd.DataFrame, vocabulary: np.ndarray, since: pd.Timestamp | None = None, until: pd.Timestamp | None = None
) -> DataProfile:
    """The profile of raw events from `since` to `until` (UTC; by default from the first to the last of them).

    vocabulary: (n,) item ids. Never raises for what the data holds.
    """
    missing = [name for name in REQUIRED_FIELDS if name not in events]
    if missing or events.empty:
        return DataProfile(events=len(events), missing=missing)
    items, times = events["item_id"], events["timestamp"]
    since, until = (given if given is not None else end for given, end in ((since, times.min()), (until, times.max())))
    days = (until - since) / DAY if pd.notna(since) else 0.0
    types = events["event_type"].astype("object").fillna("(null)")
    sessions = events.groupby("session_id")["item_id"]
    size, distinct = sessions.size(), sessions.nunique()
    popular = items.value_counts(normalize=True)
    unknown = popular[~popular.index.isin(vocabulary)]
    return DataProfile(
        events=len(events),
        missing=missing,
        sessions=len(size),
        days=round(days, 3),
        per_day=len(events) / days if days else None,
        least_a_day=_least_a_day(times, since, until),
        per_session=float(size.mean()) if len(size) else None,
        mix={str(kind): float(share) for kind, share in types.value_counts(normalize=True).sort_index().items()},
        lost=float(events[list(REQUIRED_FIELDS)].isna().any(axis=1).mean()),
        twice=float(_repeated(events).mean()),
        new_items=float((~items.dropna().isin(vocabulary)).mean()) if items.notna().any() else None,
        top_item=str(popular.index[0]) if len(popular) else None,
        top_share=float(popular.iloc[0]) if len(popular) else None,
        top_unknown=str(unknown.index[0]) if len(unknown) else None,
        unknown_share=float(unknown.iloc[0]) if len(unknown) else 0.0,
        newest=times.max().isoformat() if times.notna().any() else None,
        robots=float(((size >= ROBOT_EVENTS) & (distinct == size)).mean()) if len(size) else None,
    )


def profile_by_day(events: pd.DataFrame, vocabulary: np.ndarray) -> dict[str, DataProfile]:
    """The profile of each day (UTC, ISO text) that has events with a time."""
    if "timestamp" not in events:
        return {}
    days = events["timestamp"].dt.strftime("%Y-%m-%d")
    return {str(day): profile_of(part, vocabulary) for day, part in events.groupby(days)}


def _repeated(events: pd.DataFrame) -> np.ndarray:
    """(n,) bool, in an order of its own."""
    same = list(REQUIRED_FIELDS[1:4])
    ordered = events.sort_values([*same, "timestamp"])
    before = ordered.shift()
    resent = (ordered[same] == before[same]).all(axis=1) & (ordered["timestamp"] - before["timestamp"] <= RESENT_WITHIN)
    return (resent | (ordered.duplicated(list(EVENT_IDENTITY)) & ordered["event_id"].notna())).to_numpy()


def _least_a_day(times: pd.Series, since: pd.Timestamp, until: pd.Timestamp) -> int | None:
    """Counts only days (UTC) that lie wholly in the window, those without an event too."""
    if pd.isna(since) or since.ceil("D") >= until.floor("D"):
        return None
    whole = pd.date_range(since.ceil("D"), until.floor("D") - DAY, freq="D")
    return int(times.dt.floor("D").value_counts().reindex(whole, fill_value=0).min())
