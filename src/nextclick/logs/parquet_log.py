"""Partitioned Parquet that processes write while others read it: a folder `date=YYYY-MM-DD` for each day in UTC."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nextclick.errors import InputError
from nextclick.events.tables import parquet_files
from nextclick.files import written_whole

TIMESTAMP_MS = pa.timestamp("ms", tz="UTC")


def partition(folder: Path, day: str) -> Path:
    """The folder of a day, which is an ISO date."""
    return folder / f"date={day}"


def partitions(folder: Path) -> list[Path]:
    """The folders of all days, oldest first. Raises InputError, which names a folder whose name is no date."""
    days = sorted(folder.glob("date=*"))
    for day in days:
        try:
            date.fromisoformat(day_of(day))
        except ValueError:
            raise InputError(f"{day}: expected a folder date=YYYY-MM-DD; move it out of {folder}") from None
    return days


def day_of(partition: Path) -> str:
    """The ISO date of a day's folder."""
    return partition.name.removeprefix("date=")


def files_of_days(folder: Path, first: date, last: date) -> list[Path]:
    """The finished files of the days from `first` to `last`, both included, oldest day first."""
    return [file for file in parquet_files(folder) if first.isoformat() <= day_of(file.parent) <= last.isoformat()]


def existing_files(folder: Path, writer: str) -> list[Path]:
    """All finished files. Raises InputError, which names who writes them (`writer`), if the folder holds none."""
    files = parquet_files(folder)
    if not files:
        raise InputError(f"{folder}: no Parquet files; expected {writer}")
    return files


def rewrite_without(file: Path, rows: np.ndarray) -> None:
    """Replace a file by one that lacks these rows and is else the same, its types and its metadata too.

    rows: row numbers, from 0. The caller holds the log's lock, where there is one.
    """
    table = pq.read_table(file, partitioning=None)
    kept = np.ones(table.num_rows, bool)
    kept[rows] = False
    with written_whole(file, durable=True) as scratch:
        pq.write_table(table.filter(pa.array(kept)), scratch, compression="zstd")


def sql_time(at: datetime) -> str:
    """SQL of a time, exact to the microsecond."""
    return f"make_timestamptz({round(at.timestamp() * 1e6)})"
