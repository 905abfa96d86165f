"""The offline log of live events: Parquet files by the date on which an event happened, which `ingest` reads.

Every accepted event is in a file before its sender, or Kafka, hears that it was taken. A writer that was killed may
write the same again, so the files hold each event at least once; `ingest` and `compact` keep one of each event_id.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nextclick.errors import LogUnavailableError
from nextclick.events.schema import quoted
from nextclick.events.tables import lock_of, parquet_files
from nextclick.files import locked

LOG, QUARANTINE = Path("data/live/events"), Path("data/live/quarantine")
HOUR = 3600  # s


class EventLog:
    """folder: holds a folder `date=YYYY-MM-DD` for each day, and in it files of the columns of `validation.EVENTS`."""

    def __init__(self, folder: Path) -> None:
        """Raises LogUnavailableError."""
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock_of(folder).touch()  # tells readers to share it
        except OSError as error:
            raise LogUnavailableError(f"{folder}: cannot be written: {error.strerror or error}") from error

    def append(self, events: pa.Table) -> list[Path]:
        """A file for each date, on disk when it returns. Returns the days that got one. Raises LogUnavailableError."""
        dates = pc.strftime(events["timestamp"], "%Y-%m-%d")
        days = {date: self._folder / f"date={date}" for date in pc.unique(dates).to_pylist()}
        for date, day in days.items():
            try:
                self._write(events.filter(pc.equal(dates, date)), day)
            except OSError as error:
                raise LogUnavailableError(f"{day}: cannot be written: {error.strerror or error}") from error
        return list(days.values())

    def _write(self, events: pa.Table, day: Path) -> None:
        # in the order of time, so that of events with the same id the first that came is read first
        name = f"{time.time_ns()}-{uuid4().hex}.parquet"
        day.mkdir(parents=True, exist_ok=True)
        scratch = day / f".{name}"
        with scratch.open("wb") as file:
            pq.write_table(events, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(day / name)
        for folder in (day, self._folder):
            _sync(folder)

    def days(self) -> list[Path]:
        return sorted(self._folder.glob("date=*"))

    def compact(self, day: Path, most: int = 1) -> bool:
        """One file, each event once and in the order of time, in place of the day's files if they are more than `most`,
        or where that is 1, if the only one holds an event twice.

        Of events with the same id the oldest is kept, as `advance` does. Killed at any moment, it leaves each event in
        at least one file.
        """
        with locked(lock_of(self._folder)):
            for left in day.glob(".*.parquet"):  # by a writer that was killed
                if left.stat().st_mtime < time.time() - HOUR:
                    left.unlink()
            files = parquet_files(day)
            if len(files) <= most and not (most == 1 and files and _has_repeats(files[0])):
                return False
            listed = ", ".join(quoted(str(file)) for file in files)
            with duckdb.connect(config={"threads": 1}) as database:
                database.execute("SET TimeZone = 'UTC'")
                once = database.sql(
                    f"SELECT * FROM read_parquet([{listed}], hive_partitioning = false, filename = 'file') "
                    "QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY timestamp, file, session_id) = 1 "
                    "ORDER BY timestamp, event_id"
                )
                self._write(once.to_arrow_table().drop_columns("file"), day)
            for file in files:
                file.unlink()
            return True


def _has_repeats(file: Path) -> bool:
    ids = pq.read_table(file, columns=["event_id"])["event_id"]
    return pc.count_distinct(ids).as_py() < len(ids)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
