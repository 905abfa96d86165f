"""What an ingest read, and how: numbers for the metrics, and one screen for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from nextclick.errors import InputError
from nextclick.events.feeds import Feed, Source
from nextclick.events.left_out import left_out_kinds
from nextclick.events.tables import parquet_rows

MOST_TIES = 0.2  # of the events; above, the order within sessions is not known well enough
EXAMPLES = 5
BOT_EVENTS, BOT_MS = 30, 2_000  # a session of so many events whose median gap is shorter is likely no person
TIES_MATTER = (
    "more than a fifth of the events share their time with another of their session; their order is that of the file, "
    "and where that is not the order of the clicks, the model learns steps that no visitor took"
)


def report(
    database: duckdb.DuckDBPyConnection, source: Source, out: Path, clock: str, identity: dict[str, int]
) -> dict[str, Any]:
    """What was read into events.parquet and items.parquet of the folder `out`, for reports/metrics/ingest.json.

    clock: `order` if the source has no times, so that ours are made from its order, else `real`. Raises InputError if no
    row is a valid event.
    """
    events = parquet_rows([out / "events.parquet"])
    reasons = _reasons(database, "rows_read")
    rows, lists = _one(database, "SELECT count(*) FILTER (NOT holds_list), count(*) FILTER (holds_list) FROM staged")
    accepted, sessions, items, users, first, last = _one(
        database,
        "SELECT count(*), (SELECT count(*) FROM sessions), count(DISTINCT item_id), count(DISTINCT user_id), "
        f"strftime(min(timestamp), '%Y-%m-%dT%H:%M:%SZ'), strftime(max(timestamp), '%Y-%m-%dT%H:%M:%SZ') FROM {events}",
    )
    examples = _examples(database)
    left_out = left_out_kinds(database)
    rows += sum(left_out.values())
    if not accepted:
        paths = ", ".join(str(feed.table.path) for feed in source.events)
        why = f"no row is a valid event: {reasons}" if rows else "holds no rows; expected events"
        why += f"; such as {_shown(examples[0])}" if examples else ""
        why += f"; no events of items: {_counted(left_out)}" if left_out else ""
        raise InputError(f"{paths}: {why}")
    ties, bots = _one(database, _TIES_AND_BOTS.format(events=events))
    described, listed = (
        (0, 0)
        if not source.items and not any(feed.attributes for feed in source.events)
        else _one(
            database,
            f"SELECT count(*) FILTER (item_id IN (SELECT item_id FROM {events})), count(*) "
            f"FROM (SELECT DISTINCT item_id FROM {parquet_rows([out / 'items.parquet'])})",
        )
    )
    types = database.execute(f"SELECT event_type, count(*) FROM {events} GROUP BY 1 ORDER BY 2 DESC, 1").fetchall()
    return {
        "rows": rows,
        "accepted": accepted,
        "duplicates": _one(database, "SELECT coalesce(sum(times - 1), 0)::BIGINT FROM repeated")[0],
        "quarantined": sum(reasons.values()),
        "reasons": reasons,
        "left_out": sum(left_out.values()),
        "left_out_kinds": left_out,
        "sessions": sessions,
        "items": items,
        "users": users,
        "items_described": described,
        "items_listed": listed,
        "item_reasons": _reasons(database, "described"),
        "item_values_unread": _unread_values(database),
        "clock": clock,
        "types": dict(types),
        "first": first,
        "last": last,
        "rows_with_lists": lists,
        **identity,
        "ties": round(ties, 4),
        "likely_bots": bots,
        "fields": _fields(source.events),
        "unread_files": source.unread[:EXAMPLES],
        "examples": examples,
    }


def screen(read: dict[str, Any]) -> str:
    """What `report` returned, as text of one screen."""
    by_type = ", ".join(f"{count:,} {name}" for name, count in read["types"].items())
    described = f"{read['items_described']:,} of {read['items']:,} items are described"
    if read["items_listed"] > read["items_described"]:
        described += (
            f"; the catalogue describes {read['items_listed'] - read['items_described']:,} more, which no event has"
        )
    lines = [
        f"rows      {read['rows']:,} read: {read['accepted']:,} events, {read['duplicates']:,} duplicates, "
        f"{read['quarantined']:,} in quarantine" + (f", {read['left_out']:,} left out" if read["left_out"] else ""),
        f"events    {by_type}",
        f"time      {read['first']} to {read['last']}"
        if read["clock"] == "real"
        else "time      only the order is known",
        f"who       {read['sessions']:,} sessions, {read['users']:,} known users, {read['likely_bots']:,} likely bots",
        f"items     {described}",
        f"ties      {read['ties']:.1%} of the events share their time with another of their session",
        "",
        *(f"{name:<12}{told}" for name, told in read["fields"].items()),
        "",
        *(f"note: {note}" for note in notes(read)),
        *(f"quarantine: {_shown(example)}" for example in read["examples"]),
    ]
    return "\n".join(lines)


def notes(read: dict[str, Any]) -> list[str]:
    """Sentences on what was changed or is doubtful."""
    told = [
        (read["sessions_of_several_users"], "{} session ids had several users: each user's is a session of its own"),
        (
            read["sessions_of_several_days"],
            "{} sessions lasted for more than a day and were cut by ingest.session_gap_minutes",
        ),
        (read["rows_with_lists"], "{} rows held a list of items: each item is an event"),
        *(
            (count, f"{{}} values of {name} in the catalogue could not be read: those items have none")
            for name, count in read["item_values_unread"].items()
        ),
    ]
    found = [text.format(f"{count:,}") for count, text in told if count]
    if read["left_out"]:
        found.append(f"left out, since they are no events of items: {_counted(read['left_out_kinds'])}")
    if read["ties"] > MOST_TIES:
        found.append(TIES_MATTER)
    if read["items_listed"] and not read["items_described"]:
        found.append("no item of the catalogue occurs in the events: their ids are written differently")
    if read["unread_files"]:
        found.append(f"not read: {', '.join(read['unread_files'])}")
    return found


def _fields(feeds: list[Feed]) -> dict[str, str]:
    """How each field was read, in words."""
    told = {}
    for name in ("item_id", "session_id", "user_id", "event_type", "timestamp", "position", "event_id"):
        of = [feed for feed in feeds if name in feed.fields]
        columns = list(dict.fromkeys(feed.columns.get(name, "") for feed in of))
        text = f"from {', '.join(filter(None, columns)) or 'the columns of the format'}"
        if not of:
            text = _DEFAULTS[name]
        elif len(of) < len(feeds):
            text += f", in {len(of)} of {len(feeds)} files; elsewhere {_DEFAULTS[name]}"
        told[name] = text
    for name in dict.fromkeys(name for feed in feeds for name in feed.attributes):
        told[name] = "from the events, the newest of each item at any time"
    return told


_DEFAULTS = {
    "item_id": "absent",
    "session_id": "absent: each user's events, cut by ingest.session_gap_minutes",
    "user_id": "absent: nobody is known",
    "event_type": "absent: all are of the first type in ingest.event_types",
    "timestamp": "absent: made of the order",
    "position": "absent: the order of the file",
    "event_id": "absent: made of file and row, so that an event sent twice counts twice",
}

# both read in the order of the file, in which a session's events are together and ordered
_TIES_AND_BOTS = f"""
    SELECT coalesce(avg(CAST(tied_before OR tied_after AS INTEGER)), 0),
        (SELECT count(*) FROM (
            SELECT session_id FROM (
                SELECT session_id, epoch_ms(timestamp) - epoch_ms(lag(timestamp) OVER (PARTITION BY session_id ORDER BY timestamp)) AS gap
                FROM {{events}} WHERE session_id IN (
                    SELECT session_id FROM {{events}} GROUP BY 1 HAVING count(*) >= {BOT_EVENTS}
                )
            ) GROUP BY 1 HAVING median(gap) < {BOT_MS}
        ))
    FROM (
        SELECT coalesce(session_id = lag(session_id) OVER () AND timestamp = lag(timestamp) OVER (), false) AS tied_before,
            coalesce(session_id = lead(session_id) OVER () AND timestamp = lead(timestamp) OVER (), false) AS tied_after
        FROM {{events}}
    )
"""


def _one(database: duckdb.DuckDBPyConnection, query: str) -> tuple:
    return database.execute(query).fetchall()[0]


def _reasons(database: duckdb.DuckDBPyConnection, table: str) -> dict[str, int]:
    query = f"SELECT field || ' ' || reason, count(*) FROM {table} WHERE reason IS NOT NULL GROUP BY 1 ORDER BY 1"
    return dict(database.execute(query).fetchall())


def _counted(kinds: dict[str, int]) -> str:
    return ", ".join(f"{times:,} {kind}" for kind, times in kinds.items())


def _unread_values(database: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """How many prices and launches of the catalogue are given but could not be read."""
    price, launched = _one(
        database,
        "SELECT count(*) FILTER (price IS NOT NULL AND price_read IS NULL), "
        "count(*) FILTER (launched IS NOT NULL AND launched_ms IS NULL) FROM described WHERE reason IS NULL",
    )
    return {name: count for name, count in (("price", price), ("launched", launched)) if count}


def _examples(database: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """A row of the quarantine for each of the most frequent reasons."""
    rows = database.execute(
        "SELECT field || ' ' || reason AS why, count(*) AS times, arg_min(source_file, row) AS file, min(row) AS row, "
        f"arg_min(raw, row)[:200] AS raw FROM rows_read WHERE reason IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {EXAMPLES}"
    ).fetchall()
    return [dict(zip(("why", "times", "file", "row", "raw"), row, strict=True)) for row in rows]


def _shown(example: dict[str, Any]) -> str:
    return f"{example['file']}: row {example['row']}: {example['why']} ({example['times']:,} rows): {example['raw']}"
