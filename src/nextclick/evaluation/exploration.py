"""Tables and numbers of a log before it is modelled, for 01_explore; events, train and test are canonical events."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nextclick.events.click_order import ORDER, in_order, with_positions


def sentence_of_counts(counts: dict) -> str:
    """counts: as `ingest` returns them."""
    bad = ", ".join(f"{count} {reason}" for reason, count in counts["reasons"].items()) or "none"
    left_out = f" {counts['left_out']:,} left out;" if counts.get("left_out") else ""
    return (
        f"{counts['rows']:,} rows read: {counts['accepted']:,} events in {counts['sessions']:,} sessions on "
        f"{counts['items']:,} items by {counts['users']:,} known users; {counts['duplicates']:,} duplicates;{left_out} "
        f"{counts['quarantined']:,} in quarantine ({bad})."
    )


def facts(train: pd.DataFrame, test: pd.DataFrame, items: pd.DataFrame) -> dict[str, float]:
    """The numbers on which decisions rest: shares, but shared_sessions is a count, and gap_hours is the time from the
    last event of training to the first of the test."""
    clicks = train["item_id"].value_counts()
    head = max(1, len(clicks) // 10)
    return {
        "head_share": float(clicks.iloc[:head].sum() / clicks.sum()),
        "rare_items": float((clicks < 5).mean()),
        "repeats": float(train.duplicated(["session_id", "item_id", "event_type"]).sum() / len(train)),
        "shared_sessions": len(set(train["session_id"]) & set(test["session_id"])),
        "gap_hours": (test["timestamp"].min() - train["timestamp"].max()) / pd.Timedelta(hours=1),
        "new_items": float((~test["item_id"].isin(clicks.index)).mean()),
        "described_items": float(clicks.index.isin(items["item_id"]).mean()),
    }


def missing_shares(train: pd.DataFrame, items: pd.DataFrame) -> pd.Series:
    """The share of nulls by column of the events and, with the prefix `item`, of the items that were clicked."""
    described = items.set_index("item_id").reindex(train["item_id"].unique()).add_prefix("item ")
    return pd.concat([train.drop(columns="part").isna().mean(), described.isna().mean()])


def session_lengths(events: pd.DataFrame) -> pd.Series:
    """The number of events by session."""
    return events.groupby("session_id").size()


def hours_by_weekday(events: pd.DataFrame) -> pd.DataFrame:
    """(7, 24) counts of events by weekday, Monday first, and hour, UTC."""
    times = events["timestamp"].dt
    counts = pd.crosstab(times.weekday, times.hour)
    return counts.reindex(index=range(7), columns=range(24), fill_value=0)


def sessions_by_day(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """The number of sessions by the day on which they ended, in columns train and test. Days of which a part covers
    less than nine tenths are left out, since a cut day looks like a fall, unless the part covers no day so far."""
    return pd.DataFrame({"train": _ends_by_day(train), "test": _ends_by_day(test)}).sort_index()


def _ends_by_day(part: pd.DataFrame) -> pd.Series:
    ends = part.groupby("session_id")["timestamp"].max()
    counts = ends.dt.floor("D").value_counts().sort_index()
    day = pd.Timedelta(days=1)
    starts = counts.index.to_series()
    covered = (starts + day).clip(upper=ends.max()) - starts.clip(lower=part["timestamp"].min())
    whole = counts[(covered >= 0.9 * day).to_numpy()]
    return whole if len(whole) else counts


def gaps_seconds(events: pd.DataFrame) -> pd.Series:
    """Seconds from each event of a session to the next."""
    ordered = with_positions(events).sort_values(["session_id", *ORDER])
    return ordered.groupby("session_id")["timestamp"].diff().dropna().dt.total_seconds()


def log_bins(values: pd.Series) -> np.ndarray:
    """(50,) edges of bins of equal width on a logarithmic scale that span the positive values."""
    positive = values[values > 0]
    low, high = (positive.min(), positive.max()) if len(positive) else (1.0, 10.0)
    return np.geomspace(low, max(high, low * 10), 50)


def suspected_bots(events: pd.DataFrame) -> pd.Index:
    """Sessions of 30 events or more whose median gap is below 2 seconds."""
    ordered = with_positions(events).sort_values(["session_id", *ORDER])
    gaps = ordered.groupby("session_id")["timestamp"].diff().dt.total_seconds()
    by_session = gaps.groupby(ordered["session_id"])
    return by_session.median()[(by_session.size() >= 30) & (by_session.median() < 2)].index


def session_numbers(events: pd.DataFrame) -> pd.DataFrame:
    """One row a session: events, distinct items, minutes, hour of its start."""
    by_session = events.groupby("session_id")
    span = by_session["timestamp"].agg(["min", "max"])
    return pd.DataFrame(
        {
            "events": by_session.size(),
            "items": by_session["item_id"].nunique(),
            "minutes": (span["max"] - span["min"]).dt.total_seconds() / 60,
            "hour": span["min"].dt.hour,
        }
    )


def typical_session(events: pd.DataFrame) -> pd.DataFrame:
    """The first session of the mean length, or the nearest to it."""
    lengths = session_lengths(events)
    chosen = (lengths - lengths.mean()).abs().sort_index().idxmin()
    session = in_order(events[events["session_id"] == chosen])
    return session[["timestamp", "event_type", "item_id"]]
