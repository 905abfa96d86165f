"""What was known of the items at a time, so that a model never learns from an attribute that came later."""

from __future__ import annotations

import pandas as pd


def known_items(rows: pd.DataFrame, at: pd.Timestamp | None = None) -> pd.DataFrame:
    """One row an item: each value as the catalogue has it, else as an event told it last.

    rows: as `nextclick.events.items.write_items` writes them; without the column known_from all are of a catalogue. at:
    what events told later than this is not known yet; None: all is known.
    """
    if "known_from" not in rows:
        return rows
    is_told = rows["known_from"].notna()
    listed = rows[~is_told].drop(columns="known_from").reset_index(drop=True)
    if not is_told.any():
        return listed
    told = rows[is_told] if at is None else rows[is_told & (rows["known_from"] <= at)]
    newest = told.drop(columns="known_from").drop_duplicates("item_id", keep="last")
    if listed.empty:
        return newest.reset_index(drop=True)
    both = listed.set_index("item_id").combine_first(newest.set_index("item_id"))
    return both.reset_index()[list(listed.columns)]
