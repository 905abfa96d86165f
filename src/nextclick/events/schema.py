"""The one schema of an event, as rules in SQL, which files and live clicks both have to pass."""

from __future__ import annotations

from dataclasses import dataclass

FIELDS = ("event_id", "session_id", "user_id", "item_id", "event_type", "timestamp")
REQUIRED_FIELDS = tuple(name for name in FIELDS if name != "user_id")
ITEM_FIELDS = ("item_id", "title", "category", "brand", "price", "launched")
MAX_ID_CHARS = 256
NO_SESSION = ("session_id", "empty")
LOST_DIGITS = "a float that lost digits: write the column as text or as whole numbers"
NO_MOMENT = "not a moment: expected seconds to nanoseconds since 1970 or ISO text; see ingest.timestamp_format"
EARLIEST_MS = 631_152_000_000  # 1990; an earlier time comes from a clock that was not set


@dataclass(frozen=True)
class Rule:
    """A row for which `violation` is true goes to quarantine. violation: SQL over the event's fields, all of which are
    text but `moment`, its time in ms."""

    field: str
    reason: str
    violation: str


def rules(event_types: list[str], latest: str, no_session: tuple[str, str] = NO_SESSION) -> list[Rule]:
    """The rules of all fields, in the order in which they are checked.

    latest: SQL of the ms after which an event cannot have happened yet. no_session: the field and
    the reason of an event without a session, others where a user's events are cut into sessions.
    """
    types = ", ".join(quoted(name) for name in event_types)
    fields = ("session_id", "item_id", "event_id", "user_id")
    ids = [
        rule
        for field, shown in zip(fields, (no_session[0], *fields[1:]), strict=True)
        for rule in (
            *(
                []
                if field == "user_id"
                else [Rule(shown, no_session[1] if field == "session_id" else "empty", f"{field} IS NULL")]
            ),
            Rule(shown, f"longer than {MAX_ID_CHARS} characters", f"length({field}) > {MAX_ID_CHARS}"),
            Rule(shown, LOST_DIGITS, f"lost_digits({field})"),
        )
    ]
    return [
        *ids,
        Rule("item_id", "a list of objects: expected one id, or a list of ids", "starts_with(item_id, '{')"),
        Rule(
            "event_type",
            f"not one of {', '.join(event_types)}",
            f"event_type IS NULL OR event_type NOT IN ({types})",
        ),
        Rule(
            "timestamp",
            "the name of its time zone means several: write an offset",
            "moment IS NULL AND ambiguous_zone(timestamp)",
        ),
        Rule("timestamp", NO_MOMENT, "moment IS NULL"),
        Rule("timestamp", "before 1990", f"moment < {EARLIEST_MS}"),
        Rule("timestamp", "in the future", f"moment > {latest}"),
    ]


def validated(rows: str, event_types: list[str], latest: str, no_session: tuple[str, str] = NO_SESSION) -> str:
    """SQL: `rows` with the `field` and `reason` of the first rule that each breaks, null for a valid one.

    rows: SQL that yields an event's fields as text, ids by `id_text`, its `moment`, and a `problem` where it could not
    be read at all. latest, no_session: see `rules`.
    """
    checked = rules(event_types, latest, no_session)
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


def printable(text: str) -> str:
    """Text without line ends and without what a terminal would take for a command."""
    return "".join(letter if letter.isprintable() else "·" for letter in text)
