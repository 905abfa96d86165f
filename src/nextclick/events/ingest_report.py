"""What an ingest read, and how: numbers for the metrics, and one screen for people."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from nextclick.errors import InputError
from nextclick.events.feeds import Feed, Source
from nextclick.events.left_out import left_out_kinds
from nextclick.events.schema import ITEM_FIELDS, printable
from nextclick.events.tables import parquet_rows
from nextclick.params import Ingest
from nextclick.units import MS_PER_DAY

LINES, WIDTH = 40, 120  # of a terminal's screen
FAR = 3  # times as long as the middle of the time range is the whole, if a few events lie far from the others
MOST_TIES = 0.2  # of the events; above, the order within sessions is not known well enough
EXAMPLES = 5
FIRST_ROWS = 1_000
BOT_EVENTS, BOT_MS = 30, 2_000  # a session of so many events whose median gap is shorter is likely no person
TIES_MATTER = (
    "more than a fifth of the events share their time with another of their session; the file's order decides, and "
    "where that is not the order of the clicks, the model learns steps that no visitor took"
)


def report(
    database: duckdb.DuckDBPyConnection, source: Source, params: Ingest, out: Path, clock: str, identity: dict[str, int]
) -> dict[str, Any]:
    """What was read into events.parquet and items.parquet of the folder `out`, for reports/metrics/ingest.json.

    clock: `order` if the source has no times, so that ours are made from its order, else `real`. Raises InputError if
    no row is a valid event.
    """
    events = parquet_rows([out / "events.parquet"])
    reasons = _reasons(database, "rows_read")
    rows, lists = _one(database, "SELECT count(*) FILTER (NOT holds_list), count(*) FILTER (holds_list) FROM staged")
    accepted, sessions, items, users, first, last = _one(
        database,
        f"SELECT (SELECT count(*) FROM {events}), count(*), (SELECT count(DISTINCT item_id) FROM {events}), "
        f"count(DISTINCT first_user), {_UTC.format('min(first)')}, {_UTC.format('max(last)')} FROM spans",
    )
    examples = _examples(database)
    left_out = left_out_kinds(database)
    rows += sum(left_out.values())
    if not accepted:
        paths = ", ".join(str(feed.table.path) for feed in source.events)
        why = f"no row is a valid event: {reasons}" if rows else "holds no rows; expected events"
        why += f"; such as {_shown(examples[0]).strip()}" if examples else ""
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
        "middle": _middle(database, events),
        "rows_with_lists": lists,
        **identity,
        "ties": round(ties, 4),
        "likely_bots": bots,
        "fields": _fields(database, source, params),
        "unread_files": source.unread[:EXAMPLES],
        "examples": examples,
    }


def screen(read: dict[str, Any], uncertain: Sequence[str] = (), tail: Sequence[str] = ()) -> str:
    """What `report` returned, as text that fits one screen of a terminal.

    uncertain: further notes, which come first. tail: lines that end the screen.
    """
    lines = [*_summary(read), "", "Each field and where it came from:", *_told(read["fields"])]
    noted = [line for note in (*uncertain, *notes(read)) for line in _wrapped(note)]
    if noted:
        lines += ["", "To know:", *noted]
    left = LINES - len(lines) - len(tail) - 2
    if read["examples"] and left > 0:
        lines += ["", "In quarantine, the first row of each reason:", *map(_shown, read["examples"][:left])]
    room = LINES - len(tail)
    if len(lines) > room:
        lines = [*lines[: room - 1], "  … the JSON result has more"]
    return "\n".join([*map(_short, lines), *tail])  # what people copy from the tail stays whole


def _summary(read: dict[str, Any]) -> list[str]:
    by_type = ", ".join(f"{count:,} {name}" for name, count in read["types"].items())
    time = "only the order is known" if read["clock"] == "order" else f"from {read['first']} to {read['last']}"
    items = f"{read['items']:,} occur in events, {read['items_described']:,} of them are described"
    if read["items_listed"] > read["items_described"]:
        more = read["items_listed"] - read["items_described"]
        items += f"; the catalogue describes {more:,} more, which no event has"
    ties = f"{read['ties']:.1%} of the events share their time with another of their session"
    return [
        f"rows      {read['rows']:,} read: {read['accepted']:,} events, {read['duplicates']:,} duplicates, "
        f"{read['quarantined']:,} in quarantine" + (f", {read['left_out']:,} left out" if read["left_out"] else ""),
        f"events    {by_type}",
        f"time      {time}",
        f"visitors  {read['sessions']:,} sessions, {read['users']:,} known users, {read['likely_bots']:,} likely bots",
        f"items     {items}",
        *([f"order     {ties}"] if read["clock"] == "real" else []),
    ]


def _told(fields: dict[str, str]) -> list[str]:
    """A line for each field; attributes of items that came in one way share one."""
    by_text: dict[str, list[str]] = {}
    for name, text in fields.items():
        by_text.setdefault(text if name in ITEM_FIELDS[1:] else f"{name} {text}", []).append(name)
    return [f"  {', '.join(names):<12}  {fields[names[0]]}" for names in by_text.values()]


def _wrapped(note: str) -> list[str]:
    return textwrap.wrap(note, WIDTH, initial_indent="- ", subsequent_indent="  ", max_lines=3, placeholder=" …")


def _short(line: str) -> str:
    shown = printable(line)
    return shown if len(shown) <= WIDTH else shown[: WIDTH - 1] + "…"


def notes(read: dict[str, Any]) -> list[str]:
    """Sentences on what was changed or is doubtful."""
    told = [
        (
            read["sessions_of_several_users"],
            "ingest made a session for each user of a session id that several users share: of {} ids",
        ),
        (
            read["sessions_of_several_days"],
            "ingest cut sessions that last for more than a day, by ingest.session_gap_minutes: {} of them",
        ),
        (read["rows_with_lists"], "ingest made an event of each item where a row holds a list of items: of {} rows"),
        (read["reasons"].get("timestamp in the future"), "rows whose time lies in the future are in quarantine: {}"),
        (read["reasons"].get("timestamp before 1990"), "rows whose time lies before 1990 are in quarantine: {}"),
        *(
            (count, f"ingest could not read some values of {name} in the catalogue, whose items have none: {{}}")
            for name, count in read["item_values_unread"].items()
        ),
    ]
    found = [text.format(f"{count:,}") for count, text in told if count]
    if read["middle"]:
        found.append(
            f"98% of the events lie between {read['middle'][0]} and {read['middle'][1]}, and a few far from them: "
            "split.by time takes the newest days for the test, so see whether a clock was wrong"
        )
    if read["left_out"]:
        found.append(f"ingest left out what are no events of items: {_counted(read['left_out_kinds'])}")
    if read["ties"] > MOST_TIES:
        found.append(TIES_MATTER)
    if read["items_listed"] and not read["items_described"]:
        found.append("no item of the catalogue occurs in the events: both write their ids differently")
    if sum(read["item_reasons"].values()):
        found.append(f"rows of the catalogue are in quarantine, too: {sum(read['item_reasons'].values()):,}")
    if read["unread_files"]:
        found.append(f"ingest left these files unread: {', '.join(read['unread_files'])}")
    return found


def _middle(database: duckdb.DuckDBPyConnection, events: str) -> list[str]:
    """The days between which 98 % of the events lie, if the others lie far from them; else empty."""
    day = f"epoch_ms(timestamp) // {MS_PER_DAY}"
    days = database.execute(
        f"SELECT DATE '1970-01-01' + CAST({day} AS INTEGER), count(*) FROM {events} GROUP BY {day} ORDER BY 1"
    ).fetchall()
    total, seen = sum(count for _, count in days), 0
    low = high = None
    for day, count in days:
        seen += count
        low = day if low is None and seen >= 0.01 * total else low
        high = day if high is None and seen >= 0.99 * total else high
    if low is None or high is None:
        return []
    middle = (high - low).days + 1
    return [str(low), str(high)] if (days[-1][0] - days[0][0]).days + 1 > FAR * middle + 7 else []


def _fields(database: duckdb.DuckDBPyConnection, source: Source, params: Ingest) -> dict[str, str]:
    """How each field was read, in words."""
    told, feeds = {}, source.events
    absent = _ABSENT | {"event_type": f"absent: all events are of the first type, {params.event_types[0]}"}
    for name in ("item_id", "session_id", "user_id", "event_type", "timestamp", "position", "event_id"):
        of = [feed for feed in feeds if name in feed.fields]
        columns = list(dict.fromkeys(feed.columns.get(name, "") for feed in of))
        text = f"from {', '.join(filter(None, columns)) or 'the columns of the format'}"
        if not of:
            text = absent[name]
        else:
            text += f", {_kind_of_time(database, of[0], params)}" if name == "timestamp" else ""
            if len(of) < len(feeds):
                text += f"; in {len(of)} of {len(feeds)} tables, elsewhere {absent[name]}"
        told[name] = text
    for name in dict.fromkeys(name for feed in feeds for name in feed.attributes):
        columns = list(dict.fromkeys(feed.columns[name] for feed in feeds if name in feed.columns))
        named = ", ".join(columns) or "the columns of the format"
        told[name] = f"from {named}, in events: what the newest one of an item says"
    for name in dict.fromkeys(name for feed in source.items for name in feed.attributes):
        files = list(dict.fromkeys(feed.table.path.name for feed in source.items if name in feed.attributes))
        catalogue = f"from the catalogue {', '.join(files)}"
        told[name] = f"{catalogue}; where it has none, {told[name]}" if name in told else catalogue
    return told


def _kind_of_time(database: duckdb.DuckDBPyConnection, feed: Feed, params: Ingest) -> str:
    """How the text of a feed's timestamps was read, by its first rows."""
    if feed.timed_in_ms:
        return "a column of times"
    if params.timestamp_format:
        return f"as text in {params.timestamp_format}, in {params.timezone} where it names no zone"
    size = "abs(TRY_CAST(v AS DOUBLE))"
    rows = f"SELECT {feed.fields['timestamp']} AS v FROM ({feed.table.rows}) LIMIT {FIRST_ROWS}"
    kinds = database.execute(
        f"SELECT CASE WHEN {size} IS NULL THEN 'text, in {params.timezone} where it names no zone' "
        f"WHEN {size} < 1e11 THEN 'seconds' WHEN {size} < 1e14 THEN 'milliseconds' WHEN {size} < 1e17 "
        f"THEN 'microseconds' ELSE 'nanoseconds' END FROM ({rows}) WHERE v IS NOT NULL "
        "GROUP BY 1 ORDER BY count(*) DESC, 1"
    ).fetchall()
    return "as " + " and ".join(kind for (kind,) in kinds) if kinds else "of which the first rows have none"


_ABSENT = {
    "item_id": "absent",
    "session_id": "absent: ingest.session_gap_minutes cuts each user's events into sessions",
    "user_id": "absent: no visitor is known again",
    "timestamp": "absent: the order makes it",
    "position": "absent: the file's order decides between events of one time",
    "event_id": "absent: file and row make it, so an event that was sent twice counts twice",
}

# both read in the order of the file, in which a session's events are together and ordered
_TIES_AND_BOTS = f"""
    SELECT coalesce(avg(CAST(tied_before OR tied_after AS INTEGER)), 0),
        (SELECT count(*) FROM (
            SELECT session_id FROM (
                SELECT session_id, epoch_ms(timestamp) - epoch_ms(lag(timestamp) OVER visit) AS gap
                FROM {{events}} WHERE session_id IN (
                    SELECT session_id FROM {{events}} GROUP BY 1 HAVING count(*) >= {BOT_EVENTS}
                ) WINDOW visit AS (PARTITION BY session_id ORDER BY timestamp)
            ) GROUP BY 1 HAVING median(gap) < {BOT_MS}
        ))
    FROM (
        SELECT
            coalesce(session_id = lag(session_id) OVER () AND timestamp = lag(timestamp) OVER (), false) AS tied_before,
            coalesce(session_id = lead(session_id) OVER () AND timestamp = lead(timestamp) OVER (), false) AS tied_after
        FROM {{events}}
    )
"""
_UTC = "strftime(make_timestamp({} * 1000), '%Y-%m-%dT%H:%M:%SZ')"


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
        "arg_min(raw, row)[:200] AS raw FROM (SELECT field, reason, source_file, row, raw FROM rows_read UNION ALL "
        "SELECT field, reason, source_file, row, raw FROM described) WHERE reason IS NOT NULL "
        f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {EXAMPLES}"
    ).fetchall()
    return [dict(zip(("why", "times", "file", "row", "raw"), row, strict=True)) for row in rows]


def _shown(example: dict[str, Any]) -> str:
    return f"  {example['times']:,} {example['why']}; {example['file']} row {example['row']}: {example['raw']}"
