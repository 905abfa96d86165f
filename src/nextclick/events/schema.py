"""The one schema of an event, as rules in SQL, which files and live clicks both have to pass."""

from __future__ import annotations

from dataclasses import dataclass

TEXT_FIELDS = ("event_id", "session_id", "user_id", "item_id", "event_type")
FIELDS = (*TEXT_FIELDS, "timestamp", "position")
REQUIRED_FIELDS = tuple(name for name in FIELDS if name not in ("user_id", "position"))
ITEM_FIELDS = ("item_id", "title", "category", "price", "launched")
MAX_ID_CHARS = 256
EARLIEST_MS = 631_152_000_000  # 1990; an earlier time comes from a clock that was not set
MAX_POSITION = 2**62 - 1  # of an event among those of its session that share a timestamp
LATEST_MS = 253_402_300_799_999  # the end of the year 9999; DuckDB cannot calculate with much later times

# SQL: reads seconds, milliseconds or ISO text as UTC milliseconds, null if it is none of them. Numbers of 11 digits and
# more are milliseconds: as seconds they would lie after the year 5000.
MOMENT = """
CREATE OR REPLACE MACRO moment_ms(value) AS CASE
    WHEN TRY_CAST(value AS DOUBLE) IS NULL THEN epoch_ms(TRY_CAST(value AS TIMESTAMPTZ))
    WHEN NOT isfinite(CAST(value AS DOUBLE)) THEN NULL
    WHEN abs(CAST(value AS DOUBLE)) >= 1e11 THEN TRY_CAST(CAST(value AS DOUBLE) AS BIGINT)
    ELSE CAST(round(CAST(value AS DOUBLE) * 1000) AS BIGINT)
END
"""


@dataclass(frozen=True)
class Rule:
    """A row for which `violation` is true goes to quarantine. violation: SQL over the event's fields, all of which are
    text but `moment`, its time in ms."""

    field: str
    reason: str
    violation: str


def rules(event_types: list[str], latest: str | None = None) -> list[Rule]:
    """The rules of all fields, in the order in which they are checked.

    latest: SQL of the ms after which an event cannot have happened yet; for live clicks, not for files.
    """
    types = ", ".join(quoted(name) for name in event_types)
    ids = [
        rule
        for field in ("session_id", "item_id", "event_id")
        for rule in (
            Rule(field, "empty", f"{field} IS NULL OR trim({field}) = ''"),
            Rule(field, f"longer than {MAX_ID_CHARS} characters", f"length({field}) > {MAX_ID_CHARS}"),
        )
    ]
    return [
        *ids,
        Rule("user_id", f"longer than {MAX_ID_CHARS} characters", f"length(user_id) > {MAX_ID_CHARS}"),
        Rule(
            "event_type",
            f"not one of {', '.join(event_types)}",
            f"event_type IS NULL OR event_type NOT IN ({types})",
        ),
        Rule("timestamp", "not a moment: expected seconds, milliseconds or ISO text", "moment IS NULL"),
        Rule("timestamp", "before 1990", f"moment < {EARLIEST_MS}"),
        Rule("timestamp", "after the year 9999", f"moment > {LATEST_MS}"),
        *([] if latest is None else [Rule("timestamp", "in the future", f"moment > {latest}")]),
        Rule(
            "position",
            f"not a whole number from 0 to {MAX_POSITION}",
            "position IS NOT NULL AND NOT (regexp_full_match(position, '[0-9]+([.]0+)?') "
            f"AND coalesce(TRY_CAST(position AS BIGINT) <= {MAX_POSITION}, false))",
        ),
    ]


def validated(rows: str, event_types: list[str], latest: str | None = None) -> str:
    """SQL: `rows` with the `field` and `reason` of the first rule that each breaks, null for a valid one.

    rows: SQL that yields an event's fields as text, its `moment`, and a `problem` where it could not be read at all.
    latest: see `rules`.
    """
    checked = rules(event_types, latest)
    field = " ".join(f"WHEN {rule.violation} THEN {quoted(rule.field)}" for rule in checked)
    reason = " ".join(f"WHEN {rule.violation} THEN {quoted(rule.reason)}" for rule in checked)
    return (
        f"SELECT *, CASE WHEN problem IS NOT NULL THEN 'row' {field} END AS field, "
        f"CASE WHEN problem IS NOT NULL THEN problem {reason} END AS reason FROM ({rows})"
    )


def quoted(text: str) -> str:
    """The text as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


def named(column: str) -> str:
    """The column's name as a SQL identifier."""
    return '"' + column.replace('"', '""') + '"'
