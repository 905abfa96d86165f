"""Makes one visit of one visitor of each session: ids that users share, that last for days, or that are missing."""

from __future__ import annotations

import duckdb

from nextclick.events.schema import EARLIEST_MS, MAX_ID_CHARS, quoted
from nextclick.units import MS_PER_DAY, MS_PER_MINUTE

ASSUMED_DAYS = 90  # over which the training sessions of a source without times are distributed
LONGEST_MS = MS_PER_DAY  # a session that goes on for longer is several visits
AMBIGUOUS_GUEST = "empty: its session id has several users"

# sessions in the order of their ids (by number where they are numbers), train before test, evenly spread and apart
_ORDER_AS_TIME = f"""
    SELECT * EXCLUDE (nth, longest, apart) REPLACE (
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


def part_users(database: duckdb.DuckDBPyConnection) -> int:
    """Make an id that several users have one session for each of them, in the table `staged`; its rows without a user
    become invalid, since whose they are cannot be known. Returns how many ids several users had.

    Creates `spans` too, of each session's users and times.
    """
    database.execute(f"CREATE TABLE spans AS {_SPANS.format(rows='rows_read WHERE reason IS NULL')}")
    database.execute("CREATE TABLE shared AS SELECT session_id FROM spans WHERE first_user <> last_user")
    several = database.execute("SELECT count(*) FROM shared").fetchall()[0][0]
    if several:
        of_user = "session_id || '~' || user_id"
        told = ", ".join(f"{quoted(name)}, {name}" for name in ("event_id", "session_id", "item_id", "event_type"))
        shared = "WHERE reason IS NULL AND NOT holds_list AND session_id IN (SELECT session_id FROM shared)"
        database.execute(
            f"UPDATE staged SET field = 'user_id', reason = '{AMBIGUOUS_GUEST}', "
            f"raw = CAST(json_object({told}) AS VARCHAR) {shared} AND user_id IS NULL"
        )
        database.execute(
            f"UPDATE staged SET session_id = CASE WHEN length({of_user}) > {MAX_ID_CHARS} THEN md5({of_user}) "
            f"ELSE {of_user} END {shared}"
        )
        _renew(database, "spans", "rows_read WHERE reason IS NULL")
    return several


def create_events(database: duckdb.DuckDBPyConnection, gap_minutes: float, timed: bool) -> int:
    """Create `events`, the rows of the view `valid` with a session for each visit, and `sessions`, in the order of
    their ends: users' events, and sessions that last for more than a day, are cut where nothing happened for
    `gap_minutes`.

    timed: whether the source has times; without, `position` becomes time and nothing is cut. Returns how many sessions
    lasted for more than a day.
    """
    repeated = database.execute("SELECT count(*) FROM repeated").fetchall()[0][0]
    cut = f"SELECT * FROM spans WHERE by_user OR last - first > {LONGEST_MS}"
    rows, long = database.execute(f"SELECT count(*), count(*) FILTER (NOT by_user) FROM ({cut})").fetchall()[0]
    if not timed:
        long = 0
        database.execute(f"CREATE TABLE events AS {_ORDER_AS_TIME}")
    elif rows:
        long_rows = f"SELECT * FROM valid SEMI JOIN ({cut}) AS cut USING (session_id)"
        database.execute(
            f"CREATE TABLE events AS SELECT * FROM valid ANTI JOIN ({cut}) AS cut USING (session_id) "
            f"UNION ALL {_cut_by_inactivity(long_rows, gap_minutes)}"
        )
    else:  # a view is read twice, which is less than what one more table would take
        database.execute("CREATE VIEW events AS SELECT * FROM valid")
    if rows or repeated or not timed:
        _renew(database, "spans", "events")
    database.execute(
        "CREATE TABLE sessions AS SELECT session_id, row_number() OVER (ORDER BY last, session_id) AS nth FROM spans"
    )
    return long


_SPANS = """
    SELECT session_id, min(moment) AS first, max(moment) AS last, min(user_id) AS first_user, max(user_id) AS last_user,
        bool_or(by_user) AS by_user
    FROM {rows} GROUP BY session_id
"""


def _renew(database: duckdb.DuckDBPyConnection, table: str, rows: str) -> None:
    database.execute(f"CREATE OR REPLACE TABLE {table} AS {_SPANS.format(rows=rows)}")


def _cut_by_inactivity(rows: str, minutes: float) -> str:
    """SQL: the rows of each session cut into visits, a new one after every `minutes` without an event."""
    gap = int(minutes * MS_PER_MINUTE)
    order = "PARTITION BY session_id ORDER BY moment, position, event_id"
    return f"""
        SELECT * EXCLUDE (opens, visit)
            REPLACE (session_id || '-' || lpad(CAST(visit AS VARCHAR), 6, '0') AS session_id)
        FROM (
            SELECT *, sum(opens) OVER ({order}) AS visit
            FROM (
                SELECT *, CAST(coalesce(moment - lag(moment) OVER ({order}) > {gap}, true) AS INTEGER) AS opens
                FROM ({rows})
            )
        )
    """
