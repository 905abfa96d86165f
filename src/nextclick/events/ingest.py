"""Turns raw files into canonical events, items and a quarantine. Every row read ends in exactly one of them, or is
counted as a duplicate."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import duckdb
import pandas as pd

from nextclick.errors import InputError
from nextclick.events.click_order import read_columns
from nextclick.events.schema import EARLIEST_MS, FIELDS, ITEM_FIELDS, MOMENT, quoted, validated
from nextclick.events.sources import Feed, Source, open_source
from nextclick.events.tables import each_event_once, lock_of, parquet_rows, utc_database
from nextclick.files import locked, move_files, scratch_folder
from nextclick.params import Ingest
from nextclick.progress import progress_bar
from nextclick.units import MS_PER_DAY, MS_PER_MINUTE

MEMORY_SHARE = 0.5  # of the machine's memory; what does not fit goes to disk
ASSUMED_DAYS = 90  # over which the training sessions of a source without times are distributed


def connect(scratch: Path) -> duckdb.DuckDBPyConnection:
    """A database on disk in `scratch`, so that data larger than memory can pass through."""
    connection = utc_database(str(scratch / "scratch.duckdb"))
    connection.execute("SET enable_progress_bar = false")  # it would go to stdout, which is for results
    connection.execute(f"SET temp_directory = {quoted(str(scratch / 'spill'))}")
    limit = connection.execute("SELECT current_setting('memory_limit')").fetchall()[0][0]
    size, unit = limit.split()
    # the library's own limit is 80 % of the machine's memory
    connection.execute(f"SET memory_limit = '{float(size) * MEMORY_SHARE / 0.8:.0f} {unit}'")
    connection.execute(MOMENT)
    return connection


def ingest(params: Ingest, root: Path, out: Path) -> dict:
    """Write events.parquet, items.parquet and quarantine.parquet to the folder `out`; returns the counts.

    rows == accepted + duplicates + quarantined, always. Of events with the same id the first is accepted, by name of
    the file and row. Rows that describe items go to quarantine too if they cannot be used (`item_reasons`). clock is
    `order` if the source has no times, so that ours are made from its order, else `real`.

    Raises InputError on a missing file or column, an event type that params do not name, or if no row is valid.
    """
    lock = lock_of(root / params.path)  # of a log to which live events are being added
    with (
        locked(lock, shared=True) if lock.exists() else nullcontext(),
        scratch_folder(out / ".scratch-ingest") as scratch,
    ):
        source = open_source(params, root)
        try:
            with connect(scratch) as connection:
                counts = _ingest(connection, source, params, scratch)
        except duckdb.Error as error:
            names = ", ".join(str(feed.table.path) for feed in source.events)
            raise InputError(f"{names}: cannot be read: {_in_one_line(error)}") from error
        move_files(("events.parquet", "items.parquet", "quarantine.parquet"), scratch, out)
    return counts


def _in_one_line(error: duckdb.Error) -> str:
    """The essence of an error of several lines."""
    text = str(error)
    line = re.search(r"Line: (\d+)", text)
    if line and "unicode" in text.lower():
        return f"line {line[1]} is not UTF-8 text; convert the file first, as with iconv -f latin1 -t utf-8"
    return text.splitlines()[0]


def _ingest(connection: duckdb.DuckDBPyConnection, source: Source, params: Ingest, out: Path) -> dict:
    steps = progress_bar(total=len(source.events) + 3, desc="ingest", unit="step")
    for i, feed in enumerate(source.events):
        staged = _staged(feed, params)
        connection.execute(f"{'INSERT INTO' if i else 'CREATE TABLE'} staged {'' if i else 'AS'} {staged}")
        steps.update()
    _refuse_unknown_types(connection, params)
    given_ids = any("event_id" in feed.fields for feed in source.events)
    connection.execute(
        "CREATE TABLE repeated AS SELECT event_id, count(*) AS times FROM staged "
        f"WHERE reason IS NULL AND {given_ids} GROUP BY event_id HAVING times > 1"
    )
    connection.execute(f"CREATE VIEW valid AS {_FIRST_OF_EACH_ID}")
    ordered = any("position" in feed.fields and "timestamp" not in feed.fields for feed in source.events)
    clock = "order" if ordered else "real"
    by_user = all("session_id" not in feed.fields for feed in source.events)
    timed = _ORDER_AS_TIME if clock == "order" else "SELECT * FROM valid"
    cut = _cut_by_inactivity(params.session_gap_minutes) if by_user else "SELECT * FROM timed"
    # a view is read twice below, which is less than what windows over all events would take
    kind = "TABLE" if by_user or clock == "order" else "VIEW"
    connection.execute(f"CREATE {kind} events AS WITH timed AS ({timed}) {cut}")
    steps.update()
    write(
        connection,
        "SELECT event_id, session_id, user_id, item_id, event_type, make_timestamptz(moment * 1000) AS timestamp, "
        "position, part "
        "FROM events JOIN (SELECT session_id, max(moment) AS ended FROM events GROUP BY session_id) USING (session_id) "
        "ORDER BY ended, session_id, moment, position, event_id",
        out / "events.parquet",
    )
    steps.update()
    connection.execute(f"CREATE TABLE described AS {_described(source)}")
    write(
        connection,
        "SELECT source_file, row, field, reason, raw FROM staged WHERE reason IS NOT NULL UNION ALL "
        "SELECT source_file, row, field, reason, raw FROM described WHERE reason IS NOT NULL ORDER BY source_file, row",
        out / "quarantine.parquet",
    )
    write(connection, _ONE_ROW_AN_ITEM, out / "items.parquet")
    steps.update()
    steps.close()
    return _counts(connection, out / "events.parquet", clock, [feed.table.path for feed in source.events])


def _staged(feed: Feed, params: Ingest) -> str:
    """SQL: the rows of a feed in our columns, with the `field` and `reason` of the first rule that each breaks."""
    file = quoted(feed.table.path.name)
    fields = {name: feed.fields.get(name, "NULL") for name in FIELDS}
    if "event_id" not in feed.fields:
        fields["event_id"] = f"{quoted(feed.table.path.name + ':')} || lpad(CAST(row AS VARCHAR), 12, '0')"
    if "event_type" not in feed.fields:
        fields["event_type"] = quoted(params.event_types[0])
    if "session_id" not in feed.fields:
        if "user_id" not in feed.fields:
            raise InputError(
                f"{feed.table.path}: needs a column session_id, or user_id to make sessions of; "
                f"it has {', '.join(feed.table.cells)}. ingest.columns maps our names to yours"
            )
        fields["session_id"] = fields["user_id"]
    if "timestamp" in feed.fields:
        moment = "moment_ms(timestamp)"
    elif "position" in feed.fields:
        moment = f"{EARLIEST_MS} + TRY_CAST(position AS BIGINT)"
    else:
        raise InputError(
            f"{feed.table.path}: needs a column timestamp, or position where only the order is known; "
            f"it has {', '.join(feed.table.cells)}. ingest.columns maps our names to yours"
        )
    given = "position" in feed.fields and "timestamp" in feed.fields
    position = "coalesce(TRY_CAST(position AS BIGINT), 0)" if given else "CAST(row AS BIGINT)"
    columns = ", ".join(f"{sql} AS {name}" for name, sql in fields.items())
    rows = f"SELECT *, {moment} AS moment FROM (SELECT row, raw, problem, {columns} FROM ({feed.table.rows}))"
    return (
        f"SELECT {file} AS source_file, row, {quoted(feed.part) if feed.part else 'CAST(NULL AS VARCHAR)'} AS part, "
        f"event_id, session_id, user_id, item_id, event_type, moment, {position} AS position, field, reason, "
        f"CASE WHEN reason IS NOT NULL THEN raw END AS raw FROM ({validated(rows, params.event_types)})"
    )


# only rows whose id came more than once are compared with each other; all others pass through
_FIRST_OF_EACH_ID = f"""
    SELECT * FROM staged ANTI JOIN repeated USING (event_id) WHERE reason IS NULL
    UNION ALL
    SELECT * FROM staged SEMI JOIN repeated USING (event_id) WHERE reason IS NULL
    {each_event_once("source_file, position, row")}
"""

# sessions in the order of their ids (by number where they are numbers), train before test, evenly spread and apart
_ORDER_AS_TIME = f"""
    SELECT * REPLACE (
        EARLIEST + (nth - 1) * greatest(apart, longest + 1)
            + (moment - EARLIEST) * greatest(apart // (longest + 1), 1) AS moment
    )
    FROM (
        SELECT *, dense_rank() OVER (ORDER BY part = 'test', TRY_CAST(session_id AS BIGINT), session_id) AS nth,
            max(moment - EARLIEST) OVER () AS longest
        FROM valid
    ), (
        SELECT {ASSUMED_DAYS * MS_PER_DAY} // greatest(1, count(DISTINCT session_id)) AS apart
        FROM valid WHERE part IS DISTINCT FROM 'test'
    )
""".replace("EARLIEST", str(EARLIEST_MS))


def _cut_by_inactivity(minutes: float) -> str:
    """SQL: the events of each user cut into sessions, a new one after every `minutes` without an event."""
    gap = int(minutes * MS_PER_MINUTE)
    return f"""
        SELECT * REPLACE (session_id || '-' || lpad(CAST(visit AS VARCHAR), 6, '0') AS session_id)
        FROM (
            SELECT *, sum(opens) OVER (PARTITION BY session_id ORDER BY moment, event_id) AS visit
            FROM (
                SELECT *, CAST(coalesce(
                    moment - lag(moment) OVER (PARTITION BY session_id ORDER BY moment, event_id) > {gap}, true
                ) AS INTEGER) AS opens
                FROM timed
            )
        )
    """


def _refuse_unknown_types(connection: duckdb.DuckDBPyConnection, params: Ingest) -> None:
    unknown = connection.execute(
        "SELECT event_type, count(*), min_by(source_file || ': row ' || row, row) FROM staged "
        "WHERE field = 'event_type' AND event_type IS NOT NULL GROUP BY 1 ORDER BY 1"
    ).fetchall()
    if unknown:
        examples = "; ".join(f"{name!r} ({count} rows, first {where})" for name, count, where in unknown[:5])
        raise InputError(
            f"event types that ingest.event_types does not name ({', '.join(params.event_types)}): {examples}"
        )


def _described(source: Source) -> str:
    """SQL: the rows in which the source describes items, with `field` and `reason` if a row cannot be used."""
    columns = ("source_file", "raw", "problem", *ITEM_FIELDS)
    blank = "SELECT 0 AS row, " + ", ".join(f"CAST(NULL AS VARCHAR) AS {name}" for name in columns) + " WHERE false"
    union = " UNION ALL BY NAME ".join([blank, *source.items])
    repeated = "row_number() OVER (PARTITION BY source_file, item_id ORDER BY row) > 1"
    rules = (
        ("row", "problem IS NOT NULL", "problem"),
        ("item_id", "item_id IS NULL", "'empty'"),
        ("price", "price IS NOT NULL AND TRY_CAST(price AS DOUBLE) IS NULL", "'not a number'"),
        ("launched", "launched IS NOT NULL AND moment_ms(launched) IS NULL", "'not a moment'"),
        ("item_id", repeated, "'an earlier row describes this item'"),
    )
    field = " ".join(f"WHEN {test} THEN {quoted(name)}" for name, test, _ in rules)
    reason = " ".join(f"WHEN {test} THEN {why}" for _, test, why in rules)
    return f"SELECT *, CASE {field} END AS field, CASE {reason} END AS reason FROM ({union})"


_ONE_ROW_AN_ITEM = """
    SELECT item_id, min(title) AS title, min(category) AS category, min(TRY_CAST(price AS DOUBLE)) AS price,
        make_timestamptz(min(moment_ms(launched)) * 1000) AS launched
    FROM described WHERE reason IS NULL GROUP BY item_id ORDER BY item_id
"""


def write(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    """Write the rows of `query`, in its order, to a Parquet file."""
    connection.execute(f"COPY ({query}) TO {quoted(str(path))} (FORMAT parquet, COMPRESSION zstd)")


def read_events(path: Path) -> pd.DataFrame:
    """Read canonical events, in the columns FIELDS. Raises InputError if the file is not what ingest writes."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a Parquet file of events that ingest wrote")
    try:
        return read_columns(path, FIELDS[:-1])
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a Parquet file of events that ingest wrote: {error}") from error


def _counts(connection: duckdb.DuckDBPyConnection, events: Path, clock: str, files: list[Path]) -> dict:
    def one_row(query: str) -> tuple:
        return connection.execute(query).fetchall()[0]

    def reasons_in(table: str) -> dict[str, int]:
        query = f"SELECT field || ' ' || reason, count(*) FROM {table} WHERE reason IS NOT NULL GROUP BY 1 ORDER BY 1"
        return dict(connection.execute(query).fetchall())

    reasons = reasons_in("staged")
    rows, duplicates = one_row(
        "SELECT (SELECT count(*) FROM staged), (SELECT coalesce(sum(times - 1), 0)::BIGINT FROM repeated)"
    )
    accepted, sessions, items, users = one_row(
        "SELECT count(*), count(DISTINCT session_id), count(DISTINCT item_id), count(DISTINCT user_id) "
        f"FROM {parquet_rows([events])}"
    )
    if not accepted:
        why = f"no row is a valid event: {reasons}" if rows else "holds no rows; expected events"
        raise InputError(f"{', '.join(map(str, files))}: {why}")
    return {
        "rows": rows,
        "accepted": accepted,
        "duplicates": duplicates,
        "quarantined": sum(reasons.values()),
        "reasons": reasons,
        "sessions": sessions,
        "items": items,
        "users": users,
        "items_described": one_row("SELECT count(DISTINCT item_id) FROM described WHERE reason IS NULL")[0],
        "item_reasons": reasons_in("described"),
        "clock": clock,
    }
