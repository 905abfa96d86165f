"""The one order of the clicks of a session: by time, then by position, then by id. A state and a log both have it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from pyarrow.dataset import dataset

from nextclick.errors import InputError

ORDER = ("timestamp", "position", "event_id")


def with_positions(events: pd.DataFrame) -> pd.DataFrame:
    """The events with an int64 in the column position: 0 where there is none, as in files from before it existed.

    Raises InputError if a position is no whole number.
    """
    if "position" not in events:
        return events.assign(position=np.int64(0))
    if events["position"].dtype == np.int64:
        return events
    try:
        # by way of Int64, since a float64 would not hold every position
        return events.assign(position=events["position"].astype("Int64").fillna(0).astype(np.int64))
    except (TypeError, ValueError) as error:
        raise InputError("column position: expected a whole number in every row") from error


def columns_with_position(path: Path, names: Iterable[str]) -> list[str]:
    """These columns, and position if Parquet has it, a file or a folder of them that have the same columns.

    Raises OSError or ValueError if it cannot be read.
    """
    return [*names, *({"position"} & set(dataset(path, format="parquet").schema.names))]


def read_columns(path: Path, names: Iterable[str]) -> pd.DataFrame:
    """These columns of canonical events in Parquet, and position, which is 0 where there is none.

    Raises OSError or ValueError if it cannot be read.
    """
    return with_positions(pd.read_parquet(path, columns=columns_with_position(path, names)))


def in_order(events: pd.DataFrame) -> pd.DataFrame:
    """The events in the order of their clicks, whatever their sessions are, with the column position."""
    return with_positions(events).sort_values(list(ORDER))


def positioned(rows: str) -> str:
    """SQL: the table of these rows with the column position, which is 0 where they have none.

    rows: SQL of a table.
    """
    return (
        "(SELECT * REPLACE (coalesce(position, 0) AS position) FROM "
        f"(SELECT * FROM {rows} UNION ALL BY NAME SELECT CAST(NULL AS BIGINT) AS position WHERE false))"
    )
