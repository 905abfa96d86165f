"""The offline store's files: published item statistics, and the newest clicks of sessions and users."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from nextclick.events.click_order import in_order
from nextclick.events.prefixes import KEPT_EVENTS
from nextclick.events.session_state import EMPTY, Click, SessionState, advance_all
from nextclick.events.sessions import Vocabulary
from nextclick.features.item_columns import smoothed_rate
from nextclick.features.item_statistics import HALF_LIVES_DAYS, ItemStatistics
from nextclick.features.statistics_versions import ItemHistory
from nextclick.files import move_files, scratch_folder

OFFLINE_STORE = Path("data/features/store")
KEYS = {"session_state": "session_id", "user_history": "user_id"}  # of the views of newest clicks


def statistics_rows(
    history: ItemHistory, item_ids: np.ndarray, event_types: list[str], prices: np.ndarray
) -> pd.DataFrame:
    """A row for each version and item that had been clicked by its publication, in the columns of item_statistics.

    item_ids: (n_items,) str; prices: (n_items,) float32, NaN where unknown.
    """
    times = pd.to_datetime(history.published_at, unit="ms", utc=True)
    rows = [
        _version_rows(version, at, item_ids, event_types, prices)
        for at, version in zip(times, history.versions, strict=True)
    ]
    return pd.concat(rows, ignore_index=True)


def _version_rows(
    version: ItemStatistics, at: pd.Timestamp, item_ids: np.ndarray, event_types: list[str], prices: np.ndarray
) -> pd.DataFrame:
    typed, timed = len(version.types) > 0, len(version.decayed) > 0
    decayed = version.decayed if timed else np.full((len(HALF_LIVES_DAYS), len(item_ids)), np.nan)
    by_type = version.by_type if typed else _first_type_only(version.clicks, len(event_types))
    decayed_by_type = version.decayed_by_type if typed and timed else _first_type_only(decayed, len(event_types))
    columns = {
        "item_id": item_ids,
        "event_timestamp": at,
        "clicks": version.clicks,
        "clicks_lately": version.clicks_lately,
        "last_seen": version.last_seen,
        **{f"clicks_{days:g}d": row for days, row in zip(HALF_LIVES_DAYS, decayed, strict=True)},
        **{f"{name}_events": row for name, row in zip(event_types, by_type, strict=True)},
        **{
            f"{name}_events_{days:g}d": row
            for name, rows in zip(event_types, decayed_by_type, strict=True)
            for days, row in zip(HALF_LIVES_DAYS, rows, strict=True)
        },
        **{
            f"{name}_rate": smoothed_rate(row, by_type[0])
            for name, row in list(zip(event_types, by_type, strict=True))[1:]
        },
        "first_click": version.first_click,
        "last_click": version.last_click,
        "price": prices,
    }
    table = pd.DataFrame(columns)
    floats = table.columns.difference(["item_id", "event_timestamp", "first_click", "last_click"], sort=False)
    return table.astype(dict.fromkeys(floats, np.float32))[version.clicks > 0]


def _first_type_only(counts: np.ndarray, n_types: int) -> np.ndarray:
    """(n_types, *) counts by type if all events are of the first: 0 for the others, NaN where the first is NaN.

    counts: (*), such as (n_items,).
    """
    return np.stack([counts, *[counts * 0] * (n_types - 1)])


def statistic_names(event_types: list[str]) -> list[str]:
    """The names of the float columns of `statistics_rows`, without the price."""
    days = [f"{days:g}d" for days in HALF_LIVES_DAYS]
    return [
        *("clicks", "clicks_lately", "last_seen"),
        *(f"clicks_{half_life}" for half_life in days),
        *(f"{name}_events" for name in event_types),
        *(f"{name}_events_{half_life}" for name in event_types for half_life in days),
        *(f"{name}_rate" for name in event_types[1:]),
    ]


def statistics_of(rows: pa.Table, vocabulary: Vocabulary, like: ItemStatistics) -> ItemStatistics:
    """The statistics that the rows of one version were made from, for the items of a vocabulary; by type and by time if
    `like` is. Raises KeyError if a column is missing."""
    indices = vocabulary.indices(rows["item_id"].to_numpy())
    known = indices >= 0

    def column(name: str) -> np.ndarray:
        values = rows[name].to_numpy()
        of_items = np.zeros(len(vocabulary), values.dtype)
        of_items[indices[known]] = values[known]
        return of_items

    types = like.types.tolist()
    days = [f"{days:g}d" for days in HALF_LIVES_DAYS] if len(like.decayed) else []
    by_type = [column(f"{name}_events") for name in types]
    decayed = [column(f"clicks_{half_life}") for half_life in days]
    decayed_by_type = [[column(f"{name}_events_{half_life}") for half_life in days] for name in types if days]
    return ItemStatistics(
        clicks=column("clicks"),
        clicks_lately=column("clicks_lately"),
        last_seen=column("last_seen"),
        types=like.types,
        by_type=np.array(by_type, np.float32).reshape(like.by_type.shape),
        decayed=np.array(decayed, np.float32).reshape(like.decayed.shape),
        decayed_by_type=np.array(decayed_by_type, np.float32).reshape(like.decayed_by_type.shape),
        first_click=column("first_click"),
        last_click=column("last_click"),
    )


def states_of(events: pd.DataFrame, key: str, event_types: list[str]) -> Iterator[tuple[str, SessionState]]:
    """The state that canonical events lead to, of each session or user; events without one are left out.

    key: the column session_id or user_id.
    """
    # a repetition must not displace an event that would be retained
    newest = in_order(events[events[key].notna()]).drop_duplicates([key, "event_id"]).groupby(key).tail(KEPT_EVENTS)
    times = newest["timestamp"].to_numpy("datetime64[ms]").astype(np.int64)
    types = newest["event_type"].map({name: index for index, name in enumerate(event_types)})
    columns = (times.tolist(), newest["position"].tolist(), newest["event_id"], newest["item_id"], types)
    clicks = pd.Series(
        [Click(*click) for click in zip(*columns, strict=True)],
        index=newest.index,
        dtype=object,
    )
    for name, group in clicks.groupby(newest[key]):
        yield str(name), advance_all(EMPTY, group)


def state_rows(states: Iterator[tuple[str, SessionState]], key: str) -> pd.DataFrame:
    """States as rows, in the columns of a view of newest clicks."""
    rows = [(name, *map(list, zip(*state, strict=True)), state[-1].timestamp) for name, state in states]
    columns = ["times", "positions", "event_ids", "item_ids", "event_types"]  # as the fields of Click
    table = pd.DataFrame(rows, columns=[key, *columns, "newest"])
    table["event_timestamp"] = pd.to_datetime(table.pop("newest"), unit="ms", utc=True)
    return table


def write_history(root: Path, events: pd.DataFrame, statistics: pd.DataFrame, event_types: list[str]) -> dict:
    """Write the files of the three views; returns the number of rows of each."""
    tables = {"item_statistics": statistics}
    for view, key in KEYS.items():
        tables[view] = state_rows(states_of(events, key, event_types), key)
    with scratch_folder(root / OFFLINE_STORE.with_name(".scratch-publish")) as scratch:
        for name, table in tables.items():
            table.to_parquet(scratch / f"{name}.parquet", index=False)
        move_files(tuple(f"{name}.parquet" for name in tables), scratch, root / OFFLINE_STORE)
    return {name: len(table) for name, table in tables.items()}
