"""Items as the shop describes them: in a catalogue, or in its events, where what an item is may change with time."""

from __future__ import annotations

from pathlib import Path

import duckdb

from nextclick.events.feeds import Feed
from nextclick.events.schema import EARLIEST_MS, LOST_DIGITS, quoted
from nextclick.events.staging import refuse_encoding
from nextclick.events.tables import write
from nextclick.events.values import price_of

TEXTS = ("title", "category", "brand", "price", "launched")


def write_items(
    database: duckdb.DuckDBPyConnection, feeds: list[Feed], attributes: list[str], decimal: str | None, path: Path
) -> None:
    """Write the rows of items to `path`, and the rows that describe them to the table `described`, with their reason if
    they cannot be used. A price or a launch that cannot be read is null and costs nothing else of its item.

    attributes: those of items that the table `events` tells too. decimal: see `price_of`.

    The file has ITEM_FIELDS and known_from: null for a row of a catalogue, one an item; else the time from which on
    events told these values.
    """
    described = " UNION ALL BY NAME ".join([_NO_ROWS, *map(_rows_of, feeds)])
    repeated = "row_number() OVER (PARTITION BY source_file, item_id ORDER BY row) > 1"
    reason = (
        "CASE WHEN problem IS NOT NULL THEN problem WHEN item_id IS NULL THEN 'empty' "
        f"WHEN lost_digits(item_id) THEN {quoted(LOST_DIGITS)} "
        f"WHEN {repeated} THEN 'an earlier row describes this item' END"
    )
    database.execute(
        f"CREATE TABLE described AS SELECT * REPLACE (CASE WHEN reason IS NOT NULL THEN raw END AS raw), "
        "CASE WHEN problem IS NOT NULL THEN 'row' WHEN reason IS NOT NULL THEN 'item_id' END AS field "
        f"FROM (SELECT *, {reason} AS reason, {price_of('price', decimal)} AS price_read, "
        f"CASE WHEN iso_moment_of(launched, whole_number(launched)) >= {EARLIEST_MS} "
        f"THEN iso_moment_of(launched, whole_number(launched)) END AS launched_ms FROM ({described}))"
    )
    for feed in feeds:
        if feed.table.text and feed.table.unreadable:
            refuse_encoding(database, feed.table.path, feed.table.text, feed.table.unreadable)
            database.execute(
                "INSERT INTO described BY NAME SELECT source_file, line AS row, 'row' AS field, problem AS reason, raw "
                f"FROM ({feed.table.unreadable})"
            )
    one_row = (
        "SELECT item_id, min(title) AS title, min(category) AS category, min(brand) AS brand, "
        "min(price_read) AS price, make_timestamptz(min(launched_ms) * 1000) AS launched, "
        "CAST(NULL AS TIMESTAMPTZ) AS known_from "
        "FROM described WHERE reason IS NULL GROUP BY item_id"
    )
    told = f"UNION ALL BY NAME {_told_by_events(attributes, decimal)}" if attributes else ""
    write(database, f"SELECT * FROM ({one_row} {told}) ORDER BY item_id, known_from NULLS FIRST", path)


_NO_ROWS = (
    "SELECT CAST(NULL AS BIGINT) AS row, "
    + ", ".join(f"CAST(NULL AS VARCHAR) AS {name}" for name in ("source_file", "raw", "problem", "item_id", *TEXTS))
    + " WHERE false"
)


def _rows_of(feed: Feed) -> str:
    values = {"item_id": f"id_text({feed.fields['item_id']})", **feed.attributes}
    values = {
        name: f"id_text({sql})" if name in ("title", "category", "brand") else sql for name, sql in values.items()
    }
    listed = ", ".join(f"{sql} AS {name}" for name, sql in values.items())
    return (
        f"SELECT source_file, coalesce(row, row_number() OVER ()) AS row, problem, {feed.table.raw} AS raw, {listed} "
        f"FROM ({feed.table.rows})"
    )


def _told_by_events(attributes: list[str], decimal: str | None) -> str:
    """SQL: a row for each time from which on an item's attributes, by the newest event that tells each, are others."""
    read = {name: price_of("price", decimal) if name == "price" else f"id_text({name})" for name in attributes}
    values = ", ".join(f"{sql} AS {name}" for name, sql in read.items())
    order = "PARTITION BY item_id ORDER BY moment, position, event_id"
    newest = ", ".join(f"last_value({name} IGNORE NULLS) OVER ({order}) AS {name}" for name in attributes)
    known = " OR ".join(f"{name} IS NOT NULL" for name in attributes)
    changed = " OR ".join(f"{name} IS DISTINCT FROM lag({name}) OVER ({order})" for name in attributes)
    listed = ", ".join(attributes)
    return f"""(
        SELECT item_id, {listed}, make_timestamptz(moment * 1000) AS known_from FROM (
            SELECT item_id, moment, position, event_id, {newest}
            FROM (SELECT item_id, moment, position, event_id, {values} FROM events)
        ) WHERE {known} QUALIFY {changed}
    )"""
