"""Rows of a format that are no events of items: they are counted by what they are, and go no further."""

from __future__ import annotations

from dataclasses import replace

import duckdb

from nextclick.events.feeds import Feed

KINDS = 20  # that are told by their names


def create_left_out(database: duckdb.DuckDBPyConnection) -> None:
    """Create the empty table `left_out`, of how many rows were left out of which kind."""
    database.execute("CREATE TABLE left_out (kind VARCHAR, times BIGINT)")


def without_left_out(database: duckdb.DuckDBPyConnection, feed: Feed) -> Feed:
    """The feed without the rows that it leaves out, which are counted in the table `left_out`. A row that could not be
    read stays."""
    if feed.left_out is None:
        return feed
    kind = f"CASE WHEN problem IS NULL THEN {feed.left_out} END"
    # counted before any is left out, so that the others keep their numbers
    numbered = f"SELECT * REPLACE (coalesce(row, row_number() OVER ()) AS row) FROM ({feed.table.rows})"
    database.execute(
        f"INSERT INTO left_out SELECT {kind} AS kind, count(*) FROM ({numbered}) GROUP BY kind HAVING kind IS NOT NULL"
    )
    rows = f"SELECT * FROM ({numbered}) WHERE {kind} IS NULL"
    return replace(feed, table=replace(feed.table, rows=rows))


def left_out_kinds(database: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """How many rows of each kind were left out, the most frequent first; those of rarer kinds are told as one."""
    query = "SELECT kind, sum(times)::BIGINT AS times FROM left_out GROUP BY kind ORDER BY times DESC, kind"
    kinds = database.execute(query).fetchall()
    rest = sum(times for _, times in kinds[KINDS:])
    return dict(kinds[:KINDS]) | ({"of rarer kinds": rest} if rest else {})
