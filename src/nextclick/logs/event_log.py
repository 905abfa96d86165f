"""The offline log of live events: Parquet files by the date on which an event happened, which `ingest` reads.

Every accepted event is in a file before its sender, or Kafka, receives the acknowledgement. A writer that was killed
may write an event again, so the files hold each event at least once; `ingest` and `compact` keep each once.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import uuid4

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nextclick.errors import InputError, LogUnavailableError
from nextclick.events.click_order import ORDER, positioned
from nextclick.events.schema import EVENT_IDENTITY, FIELDS, REQUIRED_FIELDS, TEXT_FIELDS, quoted
from nextclick.events.tables import each_event_once, lock_of, parquet_files, parquet_rows, utc_database
from nextclick.files import locked, written_whole
from nextclick.logs.parquet_log import TIMESTAMP_MS, day_of, partition, partitions, sql_time
from nextclick.units import SECONDS_PER_HOUR

log = logging.getLogger(__name__)
LIVE_EVENTS, QUARANTINE = Path("data/live/events"), Path("data/live/quarantine")
INGESTED = Path("data/interim/events.parquet")  # what was known before events came live
SCRATCH_SECONDS = SECONDS_PER_HOUR  # a scratch file that is older belongs to a writer that was killed
EVENT_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in TEXT_FIELDS),
        ("timestamp", TIMESTAMP_MS),
        ("position", pa.int64()),
        ("arrived", TIMESTAMP_MS),
        ("late", pa.bool_()),
    ]
)


class EventLog:
    """folder: holds the partitions; their files have the columns of `EVENT_SCHEMA`, or those of the quarantine."""

    def __init__(self, folder: Path) -> None:
        """Raises LogUnavailableError."""
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock_of(folder).touch()  # tells readers to share it
        except OSError as error:
            raise LogUnavailableError(f"{folder}: cannot be written: {error.strerror or error}") from error

    def append(self, events: pa.Table) -> list[Path]:
        """Write a file for each date, on disk when it returns. Returns the partitions that got one.

        Raises LogUnavailableError.
        """
        dates = pc.strftime(events["timestamp"], "%Y-%m-%d")
        days = {day: partition(self._folder, day) for day in pc.unique(dates).to_pylist()}
        for day, folder in days.items():
            try:
                self._write(events.filter(pc.equal(dates, day)), folder)
            except OSError as error:
                raise LogUnavailableError(f"{folder}: cannot be written: {error.strerror or error}") from error
        return list(days.values())

    def _write(self, events: pa.Table, day: Path) -> None:
        # named by the time of writing, so that of events with the same id the first that came is read first
        name = f"{time.time_ns()}-{uuid4().hex}.parquet"
        with written_whole(day / name, durable=True) as scratch:
            pq.write_table(events, scratch, compression="zstd")

    def days(self) -> list[Path]:
        """The partitions, oldest first."""
        return partitions(self._folder)

    def of_session(self, session: str, since: datetime) -> pa.Table:
        """The events of a session since then that did not come too late, with the columns of `EVENT_SCHEMA`. Raises
        LogUnavailableError if a file cannot be read."""
        with locked(lock_of(self._folder), shared=True), utc_database(threads=1) as database:
            days = [day for day in self.days() if day_of(day) >= f"{since:%Y-%m-%d}"]
            files = [file for day in days for file in parquet_files(day)]
            if not files:
                return EVENT_SCHEMA.empty_table()
            try:
                rows = database.sql(
                    f"SELECT {', '.join(EVENT_SCHEMA.names)} FROM {_events_of(files)} "
                    f"WHERE session_id = {quoted(session)} AND NOT late AND timestamp >= {sql_time(since)}"
                )
                return rows.to_arrow_table().cast(EVENT_SCHEMA)
            except duckdb.Error as error:
                raise LogUnavailableError(f"{self._folder}: a file cannot be read: {error}") from error

    def compact(self, day: Path, max_files: int = 1) -> bool:
        """Replace the files of a partition by one that holds each event once, ordered by time, if they are more than
        `max_files`, or, where that is 1, if the only file holds an event twice. Returns whether it did.

        Of events with the same id the oldest is kept, as `advance` does. Killed at any time, it leaves each event in at
        least one file.
        """
        with locked(lock_of(self._folder)):
            for scratch in day.glob(".*.parquet"):
                if scratch.stat().st_mtime < time.time() - SCRATCH_SECONDS:
                    scratch.unlink()
            files = parquet_files(day)
            _refuse_unreadable(files)
            if len(files) <= max_files and not (max_files == 1 and files and _has_repeats(files[0])):
                return False
            with utc_database(threads=1) as database:
                once = database.sql(
                    f"SELECT * FROM {_events_of(files)} {each_event_once()} ORDER BY {', '.join(ORDER)}"
                )
                self._write(once.to_arrow_table().drop_columns("file"), day)
            for file in files:
                file.unlink()
            return True


def newest_day(root: Path) -> date:
    """The date of the newest event, a day that is not over yet. Days that are yet to come, which only a clock that was
    ahead can have written, are left out. Raises InputError if the log is empty."""
    days = [date.fromisoformat(day_of(day)) for day in partitions(root / LIVE_EVENTS) if parquet_files(day)]
    today = datetime.now(UTC).date()
    if ahead := [str(day) for day in days if day > today]:
        log.warning("%s: days that are yet to come are left out: %s", root / LIVE_EVENTS, ", ".join(ahead))
    past = [day for day in days if day <= today]
    if not past:
        raise InputError(f"{root / LIVE_EVENTS}: no live events; ingest.path asks for a window of them")
    return past[-1]


def write_events_once(files: list[Path], out: Path) -> int:
    """Write the events of log files to one Parquet file `out`, each event once and ordered by time, in the columns that
    ingest reads; returns how many they are. The caller holds the log's lock."""
    _refuse_unreadable(files)
    with utc_database(threads=1) as database:
        database.execute(
            f"COPY (SELECT * EXCLUDE (arrived, late, file) FROM {_events_of(files)} "
            f"{each_event_once()} ORDER BY {', '.join(ORDER)}) TO {quoted(str(out))} (FORMAT parquet)"
        )
    return pq.read_metadata(out).num_rows


def live_events(root: Path, since: datetime, until: datetime) -> pd.DataFrame:
    """The events of `since` (inclusive) to `until` (exclusive) in the columns REQUIRED_FIELDS and position, as they
    came: an event that was written again is there again. Raises InputError if a file cannot be read."""
    folder = root / LIVE_EVENTS
    with locked(lock_of(folder), shared=True), utc_database() as database:
        files = parquet_files(folder)  # listed under the lock, since `compact` deletes files
        if not files:
            empty = pd.DataFrame(columns=[*REQUIRED_FIELDS, "position"])
            return empty.astype({"timestamp": "datetime64[ms, UTC]", "position": np.int64})
        try:
            return database.sql(
                f"SELECT {', '.join(REQUIRED_FIELDS)}, position FROM {_events_of(files)} WHERE "
                f"timestamp >= {sql_time(since)} AND timestamp < {sql_time(until)} ORDER BY {', '.join(ORDER)}"
            ).df()
        except duckdb.Error as error:
            raise InputError(f"{folder}: a file cannot be read: {error}") from error


def events_before(root: Path, before_ms: int) -> pd.DataFrame:
    """All events before a time (ms since 1970 UTC), ingested or live, each once, in the columns FIELDS."""
    folder = root / LIVE_EVENTS
    with locked(lock_of(folder), shared=True), utc_database() as database:
        files = [file for file in (root / INGESTED, *parquet_files(folder)) if file.is_file()]
        if not files:
            return pd.DataFrame(columns=list(FIELDS))
        return database.sql(
            f"SELECT {', '.join(FIELDS)} FROM {_events_of(files)} "
            f"WHERE CAST(timestamp AS TIMESTAMPTZ) < make_timestamptz({before_ms * 1000}) {each_event_once()}"
        ).df()


def _events_of(files: list[Path]) -> str:
    """SQL: the table of the events of files, of which older ones may lack a column. `file` is the name of each one's
    file, by which `each_event_once` orders them."""
    return positioned(parquet_rows(files, filename="'file'", union_by_name="true"))


def _refuse_unreadable(files: list[Path]) -> None:
    """Raises InputError, which names the file."""
    for file in files:
        try:
            pq.read_metadata(file)
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"{file}: no whole Parquet file: {error}. Restore it from a backup, or move it away to go on without it"
            ) from error


def _has_repeats(file: Path) -> bool:
    events = pq.read_table(file, columns=list(EVENT_IDENTITY))
    return events.group_by(list(EVENT_IDENTITY)).aggregate([]).num_rows < events.num_rows
