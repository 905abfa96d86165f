"""Turns raw files into canonical events, items and a quarantine. Every row read ends in exactly one of them, or is
counted as a duplicate, or as one that its format leaves out."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import duckdb
import pandas as pd

from nextclick.errors import InputError
from nextclick.events.click_order import read_columns
from nextclick.events.feeds import Source
from nextclick.events.ingest_report import report
from nextclick.events.items import write_items
from nextclick.events.left_out import create_left_out, without_left_out
from nextclick.events.readers import Reader
from nextclick.events.schema import EVENT_IDENTITY, FIELDS, quoted
from nextclick.events.session_identity import create_events, part_users
from nextclick.events.sources import open_source
from nextclick.events.staging import create_staged, refuse_unknown_types, stage
from nextclick.events.tables import each_event_once, lock_of, utc_database, write
from nextclick.events.values import macros
from nextclick.files import locked, move_files, scratch_folder
from nextclick.params import Ingest
from nextclick.progress import progress_bar

MEMORY_SHARE = 0.5  # of the machine's memory; what does not fit goes to disk


def connect(scratch: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory that goes on in the folder `scratch` where that is full, for data of any size."""
    connection = utc_database()
    connection.execute("SET enable_progress_bar = false")  # it would go to stdout, which is for results
    connection.execute(f"SET temp_directory = {quoted(str(scratch / 'spill'))}")
    limit = connection.execute("SELECT current_setting('memory_limit')").fetchall()[0][0]
    size, unit = limit.split()
    # the library's own limit is 80 % of the machine's memory
    connection.execute(f"SET memory_limit = '{float(size) * MEMORY_SHARE / 0.8:.0f} {unit}'")
    return connection


def ingest(params: Ingest, root: Path, out: Path) -> dict:
    """Write events.parquet, items.parquet and quarantine.parquet to the folder `out`; returns what was read, see
    `nextclick.events.ingest_report`.

    rows == accepted + duplicates + quarantined + left_out, always; left out are rows of a format that are no events of
    items, such as views of pages. Of events with the same id the first is accepted, by name of the file and row. Rows
    that describe items go to quarantine too if they cannot be used (`item_reasons`).

    Raises InputError on a missing file or column, an event type that params do not name, text in another encoding, ids
    that lost digits, or if no row is valid.
    """
    lock = lock_of(root / params.path)  # of a log to which live events are being added
    with (
        locked(lock, shared=True) if lock.exists() else nullcontext(),
        scratch_folder(out / ".scratch-ingest") as scratch,
        connect(scratch) as database,
    ):
        database.execute(macros(params.nobody, params.timestamp_format))
        database.execute(f"SET TimeZone = {quoted(params.timezone)}")
        try:
            texts = scratch / "texts"
            texts.mkdir()
            source = open_source(Reader(database, texts, params.encoding), params, root)
            read = _ingest(database, source, params, scratch)
        except duckdb.Error as error:
            if params.timestamp_format and "format specifier" in str(error):
                raise InputError(
                    f"ingest.timestamp_format: {params.timestamp_format}: no format of strptime"
                ) from error
            raise InputError(f"{root / params.path}: cannot be read: {str(error).splitlines()[0]}") from error
        move_files(("events.parquet", "items.parquet", "quarantine.parquet"), scratch, out)
    return read


def _ingest(database: duckdb.DuckDBPyConnection, source: Source, params: Ingest, out: Path) -> dict:
    steps = progress_bar(total=len(source.events) + 4, desc="ingest", unit="step")
    attributes = create_staged(database, source.events)
    create_left_out(database)
    positioned = any({"timestamp", "position"} <= feed.fields.keys() for feed in source.events)
    for feed in source.events:
        stage(database, without_left_out(database, feed), params, attributes, positioned)
        steps.update()
    refuse_unknown_types(database, params)
    shared = part_users(database)
    given_ids = any("event_id" in feed.fields for feed in source.events)
    repeated = _create_repeated(database, given_ids)
    database.execute(f"CREATE VIEW valid AS {_FIRST_OF_EACH_ID if repeated else _VALID}")
    ordered = any("timestamp" not in feed.fields for feed in source.events)
    if ordered and any("timestamp" in feed.fields for feed in source.events):
        untimed = next(feed.table.path for feed in source.events if "timestamp" not in feed.fields)
        raise InputError(f"{untimed}: has no column timestamp, which other files have; they cannot be put in order")
    long = create_events(database, params.session_gap_minutes, not ordered)
    steps.update()
    write(
        database,
        "SELECT event_id, session_id, user_id, item_id, event_type, make_timestamptz(moment * 1000) AS timestamp, "
        "position, part FROM events JOIN sessions USING (session_id) ORDER BY nth, moment, position, event_id",
        out / "events.parquet",
    )
    steps.update()
    write_items(database, source.items, attributes, params.decimal, out / "items.parquet")
    steps.update()
    write(
        database,
        "SELECT source_file, row, field, reason, raw FROM rows_read WHERE reason IS NOT NULL UNION ALL "
        "SELECT source_file, row, field, reason, raw FROM described WHERE reason IS NOT NULL ORDER BY source_file, row",
        out / "quarantine.parquet",
    )
    steps.update()
    steps.close()
    identity = {"sessions_of_several_users": shared, "sessions_of_several_days": long}
    return report(database, source, params, out, "order" if ordered else "real", identity)


def _create_repeated(database: duckdb.DuckDBPyConnection, given_ids: bool) -> int:
    """Create the table `repeated` of the events that come several times; returns how many there are.

    Hashes are counted first, as they take a fraction of the memory of ids, of which few are left to count."""
    several = f"FROM ({_VALID}) WHERE {given_ids} GROUP BY hash(event_id) HAVING count(*) > 1"
    database.execute(f"CREATE TEMP TABLE several AS SELECT hash(event_id) AS hashed {several}")
    database.execute(
        f"CREATE TABLE repeated AS SELECT {_IDENTITY}, count(*) AS times FROM ({_VALID}) "
        f"WHERE hash(event_id) IN (SELECT hashed FROM several) GROUP BY {_IDENTITY} HAVING times > 1"
    )
    return database.execute("SELECT count(*) FROM repeated").fetchall()[0][0]


_IDENTITY = ", ".join(EVENT_IDENTITY)
_VALID = "SELECT * FROM rows_read WHERE reason IS NULL"
# only events that came more than once are compared with each other; all others pass through
_FIRST_OF_EACH_ID = f"""
    SELECT * FROM rows_read ANTI JOIN repeated USING ({_IDENTITY}) WHERE reason IS NULL
    UNION ALL
    SELECT * FROM rows_read SEMI JOIN repeated USING ({_IDENTITY}) WHERE reason IS NULL
    {each_event_once("source_file, position, row")}
"""


def read_events(path: Path) -> pd.DataFrame:
    """Read canonical events, in the columns FIELDS. Raises InputError if the file is not what ingest writes."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a Parquet file of events that ingest wrote")
    try:
        return read_columns(path, FIELDS[:-1])
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a Parquet file of events that ingest wrote: {error}") from error
