"""Partitioned Parquet as SQL, and the database that reads it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb

from nextclick.events.schema import EVENT_IDENTITY, quoted


def parquet_files(folder: Path) -> list[Path]:
    """The finished files of partitioned Parquet, ordered by path; the names of unfinished ones begin with a dot."""
    return sorted(folder.glob("**/[!.]*.parquet"))


def lock_of(folder: Path) -> Path:
    """The lock file of partitioned Parquet to which processes write: who replaces or deletes files holds it alone, and
    readers share it."""
    return folder.with_name(f".{folder.name}.lock")


def parquet_rows(files: Iterable[Path], **options: str) -> str:
    """SQL: the table of the rows of Parquet files, in which a folder's `date=...` is no column.

    options: further ones of DuckDB's read_parquet, as SQL.
    """
    listed = ", ".join(quoted(str(file)) for file in files)
    given = {"hive_partitioning": "false", **options}
    return f"read_parquet([{listed}], {', '.join(f'{name} = {value}' for name, value in given.items())})"


def each_event_once(order: str = "timestamp, position, file, session_id") -> str:
    """SQL: the clause that keeps one row of each EVENT_IDENTITY, the first in this order. By default it is the oldest,
    and of those the first by the name of its `file`, since a writer that was killed may write an event again."""
    return f"QUALIFY row_number() OVER (PARTITION BY {', '.join(EVENT_IDENTITY)} ORDER BY {order}) = 1"


def utc_database(path: str = ":memory:", **config: int) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection that reads and writes times in UTC, whatever the machine's time zone is."""
    database = duckdb.connect(path, config=dict(config))
    database.execute("SET TimeZone = 'UTC'")
    return database


def write(database: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    """Write the rows of `query`, in its order, to a Parquet file."""
    database.execute(f"COPY ({query}) TO {quoted(str(path))} (FORMAT parquet, COMPRESSION zstd)")
