"""Raw files in; canonical events, items and quarantine out. Every row read ends in exactly one of them, or is counted
as a duplicate."""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb

from nextclick.errors import InputError
from nextclick.events.schema import EARLIEST_MS, FIELDS, ITEM_FIELDS, MOMENT, first_broken, quoted, rules
from nextclick.events.sources import Feed, Source, open_source
from nextclick.params import Ingest
from nextclick.progress import progress_bar

MEMORY_SHARE = 0.5  # of the machine's; what does not fit goes to disk
ASSUMED_DAYS = 90  # over which the training sessions of a source without times are spread


def connect(scratch: Path) -> duckdb.DuckDBPyConnection:
    """A database on disk in `scratch`, so that data larger than memory can pass through."""
    connection = duckdb.connect(str(scratch / "scratch.duckdb"))
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET temp_directory = {quoted(str(scratch / 'spill'))}")
    limit = connection.execute("SELECT current_setting('memory_limit')").fetchall()[0][0]
    size, unit = limit.split()
    # the library's own limit is 80 % of the machine's memory
    connection.execute(f"SET memory_limit = '{float(size) * MEMORY_SHARE / 0.8:.0f} {unit}'")
    connection.execute(MOMENT)
    return connection


def ingest(params: Ingest, root: Path, out: Path) -> dict:
    """Write events.parquet, items.parquet and quarantine.parquet to the folder `out`; returns the counts.

    rows == accepted + duplicates + quarantined, always. Of events with the same id the first read is kept.
    clock is `order` where the source has no times and ours are made up from its order.
    Raises InputError on a missing file or column, an event type that params do not name, or when no row is good.
    """
    source = open_source(params, root)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".scratch-") as scratch:
        connection = connect(Path(scratch))
        try:
            return _ingest(connection, source, params, out)
        except duckdb.Error as error:
            names = ", ".join(str(feed.table.path) for feed in source.events)
            raise InputError(f"{names}: cannot be read: {error}") from error
        finally:
            connection.close()


def _ingest(connection: duckdb.DuckDBPyConnection, source: Source, params: Ingest, out: Path) -> dict:
    steps = progress_bar(total=len(source.events) + 3, desc="ingest", unit="step")
    for number, feed in enumerate(source.events):
        staged = _staged(feed, params)
        connection.execute(f"{'INSERT INTO' if number else 'CREATE TABLE'} staged {'' if number else 'AS'} {staged}")
        steps.update()
    _refuse_unknown_types(connection, params)
    given_ids = any("event_id" in feed.fields for feed in source.events)
    first = "QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY source_file, row) = 1" if given_ids else ""
    connection.execute(f"CREATE TABLE good AS SELECT * FROM staged WHERE reason IS NULL {first}")
    clock = (
        "order"
        if any("position" in feed.fields and "timestamp" not in feed.fields for feed in source.events)
        else "real"
    )
    by_user = all("session_id" not in feed.fields for feed in source.events)
    timed = _ORDER_AS_TIME if clock == "order" else "SELECT * FROM good"
    cut = _cut_by_inactivity(params.session_gap_minutes) if by_user else "SELECT * FROM timed"
    connection.execute(f"CREATE TABLE events AS WITH timed AS ({timed}) {cut}")
    steps.update()
    fields = "event_id, session_id, user_id, item_id, event_type, make_timestamptz(moment * 1000) AS timestamp, part"
    write(
        connection,
        f"SELECT {fields} FROM events "
        "ORDER BY max(moment) OVER (PARTITION BY session_id), session_id, moment, event_id",
        out / "events.parquet",
    )
    steps.update()
    write(
        connection,
        "SELECT source_file, row, field, reason, raw FROM staged WHERE reason IS NOT NULL ORDER BY source_file, row",
        out / "quarantine.parquet",
    )
    write(connection, _items(source), out / "items.parquet")
    steps.update()
    steps.close()
    return _counts(connection, clock, [feed.table.path for feed in source.events])


def _staged(feed: Feed, params: Ingest) -> str:
    """SQL: the rows of a feed in our columns, `field` and `reason` where they break a rule."""
    file = quoted(feed.table.path.name)
    fields = {name: feed.fields.get(name, "NULL") for name in (*FIELDS, "position")}
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
    checked = rules(params.event_types)
    columns = ", ".join(f"{sql} AS {name}" for name, sql in fields.items())
    return (
        f"SELECT {file} AS source_file, row, {quoted(feed.part) if feed.part else 'CAST(NULL AS VARCHAR)'} AS part, "
        "event_id, session_id, user_id, item_id, event_type, moment, "
        f"CASE WHEN problem IS NOT NULL THEN 'row' ELSE {first_broken(checked, 'field')} END AS field, "
        f"CASE WHEN problem IS NOT NULL THEN problem ELSE {first_broken(checked, 'reason')} END AS reason, "
        "CASE WHEN reason IS NOT NULL THEN raw END AS raw "
        f"FROM (SELECT *, {moment} AS moment FROM (SELECT row, raw, problem, {columns} FROM ({feed.table.rows})))"
    )


# sessions in the order of their ids (by number where they are numbers), train before test, evenly spread and apart
_ORDER_AS_TIME = f"""
    SELECT * REPLACE (
        EARLIEST + (place - 1) * greatest(apart, longest + 1)
            + (moment - EARLIEST) * greatest(apart // (longest + 1), 1) AS moment
    )
    FROM (
        SELECT *, dense_rank() OVER (ORDER BY part = 'test', TRY_CAST(session_id AS BIGINT), session_id) AS place,
            max(moment - EARLIEST) OVER () AS longest
        FROM good
    ), (
        SELECT {ASSUMED_DAYS * 86_400_000} // greatest(1, count(DISTINCT session_id)) AS apart
        FROM good WHERE part IS DISTINCT FROM 'test'
    )
""".replace("EARLIEST", str(EARLIEST_MS))


def _cut_by_inactivity(minutes: float) -> str:
    """SQL: a user's events become sessions, a new one after every `minutes` without an event."""
    gap = int(minutes * 60_000)
    return f"""
        SELECT * REPLACE (session_id || '-' || lpad(CAST(number AS VARCHAR), 6, '0') AS session_id)
        FROM (
            SELECT *, sum(opens) OVER (PARTITION BY session_id ORDER BY moment, event_id) AS number
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
        found = "; ".join(f"{name!r} ({count} rows, first {where})" for name, count, where in unknown[:5])
        raise InputError(
            f"event types that ingest.event_types does not name ({', '.join(params.event_types)}): {found}"
        )


def _items(source: Source) -> str:
    """SQL: one row an item, from all that the source says of it."""
    blank = "SELECT " + ", ".join(f"CAST(NULL AS VARCHAR) AS {name}" for name in ITEM_FIELDS) + " WHERE false"
    union = " UNION ALL BY NAME ".join([blank, *source.items])
    return (
        "SELECT item_id, min(title) AS title, min(category) AS category, min(TRY_CAST(price AS DOUBLE)) AS price, "
        "make_timestamptz(min(moment_ms(launched)) * 1000) AS launched "
        f"FROM ({union}) WHERE item_id IS NOT NULL GROUP BY item_id ORDER BY item_id"
    )


def write(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    """The rows of `query`, in its order, to a Parquet file."""
    connection.execute(f"COPY ({query}) TO {quoted(str(path))} (FORMAT parquet, COMPRESSION zstd)")


def _counts(connection: duckdb.DuckDBPyConnection, clock: str, files: list[Path]) -> dict:
    def one(query: str) -> int:
        return connection.execute(query).fetchall()[0][0]

    reasons = connection.execute(
        "SELECT field || ' ' || reason, count(*) FROM staged WHERE reason IS NOT NULL GROUP BY 1 ORDER BY 1"
    ).fetchall()
    counts = {
        "rows": one("SELECT count(*) FROM staged"),
        "accepted": one("SELECT count(*) FROM events"),
        "duplicates": one("SELECT (SELECT count(*) FROM staged WHERE reason IS NULL) - (SELECT count(*) FROM good)"),
        "quarantined": sum(count for _, count in reasons),
        "reasons": dict(reasons),
        "sessions": one("SELECT count(DISTINCT session_id) FROM events"),
        "items": one("SELECT count(DISTINCT item_id) FROM events"),
        "users": one("SELECT count(DISTINCT user_id) FROM events"),
        "clock": clock,
    }
    if not counts["accepted"]:
        raise InputError(f"{', '.join(map(str, files))}: no row is a good event: {counts['reasons']}")
    return counts
