"""Brings the rows of a feed into the columns of an event, each with the first rule that it breaks."""

from __future__ import annotations

import time

import duckdb

from nextclick.errors import InputError
from nextclick.events.feeds import Feed
from nextclick.events.schema import EARLIEST_MS, FIELDS, LOST_DIGITS, quoted, validated
from nextclick.events.text_files import not_utf8
from nextclick.params import Ingest
from nextclick.units import MS_PER_DAY, MS_PER_SECOND

GUEST = ("user_id", "empty: a guest without a session")
REQUIRED_IDS = ("event_id", "session_id", "user_id", "item_id")
ATTRIBUTES = ("title", "category", "brand", "price")  # of an item, that a row of events may tell
STAGED = (
    "source_file VARCHAR, row BIGINT, part VARCHAR, by_user BOOLEAN, event_id VARCHAR, session_id VARCHAR, "
    "user_id VARCHAR, item_id VARCHAR, event_type VARCHAR, moment BIGINT, position BIGINT, of_list BOOLEAN, "
    "field VARCHAR, reason VARCHAR, raw VARCHAR"
)


class UnknownTypesError(InputError):
    """The events have types that params do not name. types: how often each comes."""

    def __init__(self, message: str, types: dict[str, int]) -> None:
        super().__init__(message)
        self.types = types


def create_staged(database: duckdb.DuckDBPyConnection, feeds: list[Feed]) -> list[str]:
    """Create the empty table `staged`; returns the attributes of items that its rows tell too."""
    attributes = [name for name in ATTRIBUTES if any(name in feed.attributes for feed in feeds)]
    told = "".join(f", {name} VARCHAR" for name in attributes)
    database.execute(f"CREATE TABLE staged ({STAGED}{told})")
    return attributes


def stage(database: duckdb.DuckDBPyConnection, feed: Feed, params: Ingest, attributes: list[str]) -> None:
    """Insert a feed's rows into `staged`; a cell that holds a list of items becomes one row an item.

    Raises InputError if a needed column is missing, the text is not in its encoding, or ids are floats that lost digits.
    """
    database.execute(f"INSERT INTO staged BY NAME {_staged(feed, params, attributes)}")
    _refuse_lost_digits(database, feed)
    if feed.table.unreadable is None:
        return
    database.execute(f"CREATE OR REPLACE TEMP TABLE unreadable AS {feed.table.unreadable}")
    wrong = database.execute("SELECT min(line) FROM unreadable WHERE problem = 'invalid encoding'").fetchall()[0][0]
    if wrong is not None:
        raise not_utf8(feed.table.path, feed.table.text, wrong)
    # `row` counted readable rows alone until here; in the quarantine it counts all
    database.execute(
        """
        UPDATE staged SET row = row + unreadable_before FROM (
            SELECT good.rowid AS id, unreadable_before FROM staged AS good ASOF JOIN (
                SELECT line - nth AS good_before, max(nth) AS unreadable_before
                FROM (SELECT line, row_number() OVER (ORDER BY line) AS nth FROM unreadable) GROUP BY 1
            ) ON good.row > good_before
            WHERE good.reason IS NOT NULL AND good.source_file = (SELECT any_value(source_file) FROM unreadable)
        ) WHERE staged.rowid = id
        """
    )
    database.execute(
        "INSERT INTO staged BY NAME SELECT source_file, line AS row, 'row' AS field, problem AS reason, raw FROM unreadable"
    )


def _staged(feed: Feed, params: Ingest, attributes: list[str]) -> str:
    """SQL: the rows of a feed in the columns of `staged`, as far as they could be read."""
    by_user = "session_id" not in feed.fields
    if by_user and "user_id" not in feed.fields:
        raise _lacks(feed, "needs a column session_id, or user_id to make sessions of")
    if not {"timestamp", "position"} & feed.fields.keys():
        raise _lacks(feed, "needs a column timestamp, or position where only the order is known")
    cells = {name: feed.fields.get(name, "CAST(NULL AS VARCHAR)") for name in (*FIELDS, "position")}
    if by_user:
        cells["session_id"] = cells["user_id"]
    if "event_id" not in feed.fields:
        cells["event_id"] = "source_file || ':' || lpad(CAST(row AS VARCHAR), 12, '0')"
    default = quoted(params.event_types[0])
    cells["event_type"] = f"CASE WHEN {feed.untyped} THEN {default} ELSE {cells['event_type']} END"
    position = "TRY_CAST(position AS BIGINT)"
    if "timestamp" not in feed.fields:
        moment = f"{EARLIEST_MS} + {position}"
    else:
        moment = "TRY_CAST(timestamp AS BIGINT)" if feed.timed_in_ms else "moment_ms(timestamp)"
    told = {name: feed.attributes.get(name, "CAST(NULL AS VARCHAR)") for name in attributes}
    named = ", ".join(f"{sql} AS {name}" for name, sql in {**cells, **told}.items())
    rows = f"SELECT *, {named}, ids_of({cells['item_id']}) AS ids FROM ({feed.table.rows})"
    rows = f"SELECT *, unnest(ids) AS one, unnest(range(len(ids))) AS nth, len(ids) > 1 AS of_list FROM ({rows})"
    rows = f"""
        SELECT * REPLACE (
            id_text(session_id) AS session_id, id_text(user_id) AS user_id, id_text(trim(one)) AS item_id,
            CASE WHEN of_list THEN event_id || '-' || lpad(CAST(nth AS VARCHAR), 4, '0') ELSE event_id END AS event_id
        ), {moment} AS moment FROM ({rows})
    """
    latest = f"{int(time.time() * MS_PER_SECOND) + MS_PER_DAY}"  # clocks may be a day ahead
    checked = validated(rows, params.event_types, latest, GUEST if by_user else ("session_id", "empty"))
    part = quoted(feed.part) if feed.part else "CAST(NULL AS VARCHAR)"
    return f"""
        SELECT source_file, row, {part} AS part, {by_user} AS by_user, event_id, session_id, user_id, item_id,
            event_type, moment, coalesce({position}, row) AS position, of_list, field, reason,
            CASE WHEN reason IS NOT NULL THEN {feed.table.raw} END AS raw{"".join(f", {name}" for name in told)}
        FROM ({checked})
    """


def _lacks(feed: Feed, needs: str) -> InputError:
    return InputError(
        f"{feed.table.path}: {needs}; it has {', '.join(feed.table.cells)}. ingest.columns maps our names to yours"
    )


def _refuse_lost_digits(database: duckdb.DuckDBPyConnection, feed: Feed) -> None:
    """Raises InputError if an id is a float too large to be exact: other ids may have become the same one."""
    rows = database.execute(
        f"SELECT source_file, row, field, CASE field {' '.join(f'WHEN {quoted(f)} THEN {f}' for f in REQUIRED_IDS)} END "
        "FROM staged WHERE reason = ? ORDER BY source_file, row LIMIT 1",
        [LOST_DIGITS],
    ).fetchall()
    for file, row, field, value in rows:
        column = feed.columns.get(field, field)
        raise InputError(f"{file}: row {row}: {field} (column {column}): {value} is {LOST_DIGITS}")


def refuse_unknown_types(database: duckdb.DuckDBPyConnection, params: Ingest) -> None:
    """Raises UnknownTypesError if there are types of events that params do not name."""
    unknown = database.execute(
        "SELECT event_type, count(*), min_by(source_file || ': row ' || row, row) FROM staged "
        "WHERE field = 'event_type' AND event_type IS NOT NULL GROUP BY 1 ORDER BY 1"
    ).fetchall()
    if unknown:
        examples = "; ".join(f"{name!r} ({count} rows, first {where})" for name, count, where in unknown[:5])
        raise UnknownTypesError(
            f"event types that ingest.event_types does not name ({', '.join(params.event_types)}): {examples}",
            {name: count for name, count, _ in unknown},
        )
