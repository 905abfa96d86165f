"""Partitioned Parquet that processes write while others read it: a folder `date=YYYY-MM-DD` for each day in UTC."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import pyarrow as pa

from nextclick.errors import InputError
from nextclick.events.tables import parquet_files

TIMESTAMP_MS = pa.timestamp("ms", tz="UTC")


def partition(folder: Path, day: str) -> Path:
    """The folder of a day, which is an ISO date."""
    return folder / f"date={day}"


def partitions(folder: Path) -> list[Path]:
    """The folders of all days, oldest first."""
    return sorted(folder.glob("date=*"))


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


def sql_time(at: datetime) -> str:
    """SQL of a time, exact to the microsecond."""
    return f"make_timestamptz({round(at.timestamp() * 1e6)})"
