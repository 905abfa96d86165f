"""Brings the rows of a feed into the columns of an event, each with the first rule that it breaks."""

from __future__ import annotations

import time
from pathlib import Path

import duckdb

from nextclick.errors import InputError
from nextclick.events.feeds import Feed
from nextclick.events.readers import RAW_CHARS
from nextclick.events.schema import EARLIEST_MS, FIELDS, LOST_DIGITS, NO_SESSION, quoted, validated
from nextclick.events.text_files import not_utf8
from nextclick.params import Ingest
from nextclick.units import MS_PER_DAY, MS_PER_SECOND

GUEST = ("user_id", "empty: a guest without a session")
IDS = ("event_id", "session_id", "user_id", "item_id")
ATTRIBUTES = ("title", "category", "brand", "price")  # of an item, that a row of events may tell
STAGED = (
    "source_file VARCHAR, row BIGINT, base BIGINT, part VARCHAR, by_user BOOLEAN, event_id VARCHAR, "
    "session_id VARCHAR, user_id VARCHAR, item_id VARCHAR, event_type VARCHAR, moment BIGINT, position BIGINT, "
    "holds_list BOOLEAN, of_list BOOLEAN, field VARCHAR, reason VARCHAR, raw VARCHAR"
)


class UnknownTypesError(InputError):
    """The events have types that params do not name. types: how often each comes."""

    def __init__(self, message: str, types: dict[str, int]) -> None:
        super().__init__(message)
        self.types = types


def create_staged(database: duckdb.DuckDBPyConnection, feeds: list[Feed]) -> list[str]:
    """Create the empty table `staged`, and the view `rows_read` of what it holds; returns the attributes of items that
    rows of events tell too.

    A row that was not counted when it was read is counted here, and so are the ids and the order that are made of it.
    """
    attributes = [name for name in ATTRIBUTES if any(name in feed.attributes for feed in feeds)]
    database.execute(f"CREATE TABLE staged ({STAGED}{''.join(f', {name} VARCHAR' for name in attributes)})")
    database.execute(
        """
        CREATE VIEW rows_read AS SELECT * REPLACE (
            coalesce(event_id, source_file || ':' || lpad(CAST(row AS VARCHAR), 12, '0')) AS event_id,
            coalesce(position, id) AS position
        ) FROM (
            SELECT * REPLACE (coalesce(row, rowid - base + 1) AS row), rowid AS id FROM staged WHERE NOT holds_list
        )
        """
    )
    return attributes


def stage(
    database: duckdb.DuckDBPyConnection, feed: Feed, params: Ingest, attributes: list[str], positioned: bool
) -> None:
    """Insert a feed's rows into `staged`; a cell that holds a list of items becomes one row an item.

    positioned: whether the source tells the positions of its events, of which those without have 0; else the order of
    the file is theirs.

    Raises InputError if a needed column is missing, the text is not in its encoding, or ids are floats that lost
    digits.
    """
    base = database.execute("SELECT coalesce(max(rowid) + 1, 0) FROM staged").fetchall()[0][0]
    latest = int(time.time() * MS_PER_SECOND) + MS_PER_DAY  # clocks may be a day ahead
    guest = GUEST if "session_id" not in feed.fields else NO_SESSION
    database.execute(f"INSERT INTO staged BY NAME {_staged(feed, params, attributes, positioned, base, latest, guest)}")
    _take_lists_apart(database, params, base, latest, guest)
    _refuse_lost_digits(database, feed)
    if feed.table.text and feed.table.unreadable:
        _stage_unreadable(database, feed.table.path, feed.table.text, feed.table.unreadable)


def _staged(
    feed: Feed,
    params: Ingest,
    attributes: list[str],
    positioned: bool,
    base: int,
    latest: int,
    no_session: tuple[str, str],
) -> str:
    """SQL: the rows of a feed in the columns of `staged`, as far as they could be read."""
    by_user = "session_id" not in feed.fields
    if by_user and "user_id" not in feed.fields:
        raise _lacks(feed, "needs a column session_id, or user_id to make sessions of")
    if not {"timestamp", "position"} & feed.fields.keys():
        raise _lacks(feed, "needs a column timestamp, or position where only the order is known")
    cells = {name: feed.fields.get(name, "NULL") for name in FIELDS}
    if by_user:
        cells["session_id"] = cells["user_id"]
    default = quoted(params.event_types[0])
    cells["event_type"] = f"CASE WHEN {feed.untyped} THEN {default} ELSE {cells['event_type']} END"
    position = "TRY_CAST(position AS BIGINT)"
    order = f"coalesce({position}, 0)" if positioned else position
    if "timestamp" not in feed.fields:
        moment = f"{EARLIEST_MS} + {position}"
    else:
        moment = "TRY_CAST(timestamp AS BIGINT)" if feed.timed_in_ms else "moment_of(timestamp, whole)"
    told = {name: feed.attributes.get(name, "NULL") for name in attributes}
    named = ", ".join(f"CAST({sql} AS VARCHAR) AS {name}" for name, sql in {**cells, **told}.items())
    ids = ", ".join(
        f"id_text({name}) AS {name}" for name in (*IDS, "position") if name in feed.fields or name == "session_id"
    )
    rows = f"SELECT *, whole_number(timestamp) AS whole FROM (SELECT *, {named} FROM ({feed.table.rows}))"
    rows = f"SELECT * EXCLUDE (whole) REPLACE ({ids}), {moment} AS moment FROM ({rows})"
    # an id that is made of the row is never empty
    made = "" if "event_id" in feed.fields else "event_id"
    checked = validated(rows, params.event_types, str(latest), no_session, made)
    part = quoted(feed.part) if feed.part else "CAST(NULL AS VARCHAR)"
    return f"""
        SELECT source_file, row, {base} AS base, {part} AS part, {by_user} AS by_user, event_id, session_id, user_id,
            item_id, event_type, moment, {order} AS position,
            coalesce(reason IS NULL AND starts_with(item_id, '[') AND ids_of(item_id) <> [item_id], false)
                AS holds_list,
            false AS of_list, field, reason, CASE WHEN reason IS NOT NULL THEN {feed.table.raw} END AS raw
            {"".join(f", {name}" for name in told)}
        FROM ({checked})
    """


def _take_lists_apart(
    database: duckdb.DuckDBPyConnection, params: Ingest, base: int, latest: int, no_session: tuple[str, str]
) -> None:
    """Insert a row for each item of each list in the rows of `staged` from `base` on."""
    lists = f"FROM staged WHERE rowid >= {base} AND holds_list"
    if not database.execute(f"SELECT count(*) {lists}").fetchall()[0][0]:
        return
    of_row = "coalesce(event_id, source_file || ':' || lpad(CAST(row AS VARCHAR), 12, '0'))"
    rows = f"""
        SELECT * EXCLUDE (field, reason, nth) REPLACE (
            CAST(position AS VARCHAR) AS position, id_text(trim(item_id)) AS item_id,
            {of_row} || '-' || lpad(CAST(nth AS VARCHAR), 4, '0') AS event_id
        ), CAST(NULL AS VARCHAR) AS problem, CAST(moment AS VARCHAR) AS timestamp
        FROM (
            SELECT * REPLACE (
                coalesce(row, rowid - base + 1) AS row, coalesce(position, rowid) AS position,
                unnest(ids_of(item_id)) AS item_id, false AS holds_list, true AS of_list, item_id AS raw
            ), unnest(range(len(ids_of(item_id)))) AS nth {lists}
        )
    """
    checked = validated(rows, params.event_types, str(latest), no_session)
    database.execute(
        "INSERT INTO staged BY NAME SELECT * EXCLUDE (problem, timestamp) "
        f"REPLACE (CASE WHEN reason IS NOT NULL THEN raw END AS raw) FROM ({checked})"
    )


def refuse_encoding(database: duckdb.DuckDBPyConnection, path: Path, text: Path, unreadable: str) -> None:
    """Raises InputError if a row could not be read since the text is not UTF-8."""
    wrong = database.execute(f"SELECT min(line) FROM ({unreadable}) WHERE problem = 'invalid encoding'").fetchall()
    if wrong[0][0] is not None:
        raise not_utf8(path, text, wrong[0][0])


def _stage_unreadable(database: duckdb.DuckDBPyConnection, path: Path, text: Path, unreadable: str) -> None:
    """Insert what is no row of a table into `staged`, and count it in the numbers of the rows that are invalid."""
    refuse_encoding(database, path, text, unreadable)
    database.execute(f"CREATE OR REPLACE TEMP TABLE unreadable AS {unreadable}")
    database.execute(
        """
        UPDATE staged SET row = counted FROM (
            SELECT invalid.id, invalid.row + unreadable_before AS counted
            FROM rows_read AS invalid ASOF JOIN (
                SELECT line - nth AS readable_before, max(nth) AS unreadable_before
                FROM (SELECT line, row_number() OVER (ORDER BY line) AS nth FROM unreadable) GROUP BY 1
            ) ON invalid.row > readable_before
            WHERE invalid.reason IS NOT NULL
                AND invalid.source_file = (SELECT any_value(source_file) FROM unreadable)
        ) WHERE staged.rowid = id
        """
    )
    # a quote that is never closed takes the lines behind it along: each of them is told
    database.execute(
        "INSERT INTO staged BY NAME SELECT source_file, line + nth AS row, false AS holds_list, 'row' AS field, "
        f"problem AS reason, one[:{RAW_CHARS}] AS raw FROM (SELECT *, unnest(string_split(raw, chr(10))) AS one, "
        "unnest(range(len(string_split(raw, chr(10))))) AS nth FROM unreadable) WHERE nth = 0 OR trim(one) <> ''"
    )


def _lacks(feed: Feed, needs: str) -> InputError:
    return InputError(
        f"{feed.table.path}: {needs}; it has {', '.join(feed.table.cells)}. ingest.columns maps our names to yours"
    )


def _refuse_lost_digits(database: duckdb.DuckDBPyConnection, feed: Feed) -> None:
    """Raises InputError if an id is a float too large to be exact: other ids may have become the same one."""
    value = " ".join(f"WHEN {quoted(name)} THEN {name}" for name in IDS)
    rows = database.execute(
        f"SELECT source_file, row, field, CASE field {value} END FROM rows_read WHERE reason = ? "
        "ORDER BY source_file, row LIMIT 1",
        [LOST_DIGITS],
    ).fetchall()
    for file, row, field, value in rows:
        column = feed.columns.get(field, field)
        raise InputError(f"{file}: row {row}: {field} (column {column}): {value} is {LOST_DIGITS}")


def refuse_unknown_types(database: duckdb.DuckDBPyConnection, params: Ingest) -> None:
    """Raises UnknownTypesError if there are types of events that params do not name."""
    unknown = database.execute(
        "SELECT event_type, count(*), min_by(source_file || ': row ' || row, row) FROM rows_read "
        "WHERE field = 'event_type' AND event_type IS NOT NULL GROUP BY 1 ORDER BY 1"
    ).fetchall()
    if unknown:
        examples = "; ".join(f"{name!r} ({count} rows, first {where})" for name, count, where in unknown[:5])
        raise UnknownTypesError(
            f"event types that ingest.event_types does not name ({', '.join(params.event_types)}): {examples}",
            {name: count for name, count, _ in unknown},
        )
