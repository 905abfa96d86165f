"""The one schema of an event, as rules in SQL, which files and live clicks both have to pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# an event is the same if both are: else whoever guesses the id of another session's event could take its place
EVENT_IDENTITY = ("session_id", "event_id")
TEXT_FIELDS = ("event_id", "session_id", "user_id", "item_id", "event_type")
FIELDS = (*TEXT_FIELDS, "timestamp", "position")
REQUIRED_FIELDS = tuple(name for name in FIELDS if name not in ("user_id", "position"))
ITEM_FIELDS = ("item_id", "title", "category", "brand", "price", "launched")
MAX_ID_CHARS = 256
NO_SESSION = ("session_id", "empty")
LOST_DIGITS = "a float that lost digits: write the column as text or as whole numbers"
AMBIGUOUS_ZONE = "the name of its time zone means several: expected an offset, such as +08:00"
NO_MOMENT = "not a moment: expected seconds to nanoseconds since 1970 or ISO text; see ingest.timestamp_format"
EARLIEST_MS = 631_152_000_000  # 1990; an earlier time comes from a clock that was not set
MAX_POSITION = 2**62 - 1  # of an event among those of its session that share a timestamp


@dataclass(frozen=True)
class Rule:
    """A row for which `violation` is true goes to quarantine. violation: SQL over the event's fields, all of which are
    text but `moment`, its time in ms."""

    field: str
    reason: str
    violation: str


def rules(
    event_types: list[str],
    latest: str,
    no_session: tuple[str, str] = NO_SESSION,
    made: str = "",
    more: Sequence[Rule] = (),
) -> list[Rule]:
    """The rules of all fields, in the order in which they are checked.

    latest: SQL of the ms after which an event cannot have happened yet. no_session: the field and
    the reason of an event without a session, others where a user's events are cut into sessions.
    made: a field that is made later, and has no rules yet. more: further rules, which are checked last.
    """
    types = ", ".join(quoted(name) for name in event_types)
    empty = {"session_id": no_session, "item_id": ("item_id", "empty"), "event_id": ("event_id", "empty")}
    ids = [
        rule
        for field in ("session_id", "item_id", "event_id", "user_id")
        if field != made
        for rule in (
            *([Rule(*empty[field], f"{field} IS NULL")] if field in empty else []),
            Rule(field, f"longer than {MAX_ID_CHARS} characters", f"length({field}) > {MAX_ID_CHARS}"),
            Rule(field, LOST_DIGITS, f"lost_digits({field})"),
        )
    ]
    return [
        *ids,
        Rule(
            "item_id",
            "a list of objects: expected one id, or a list of ids",
            "starts_with(item_id, '{') AND json_valid(item_id)",
        ),
        Rule(
            "item_id",
            "a list that cannot be read: expected JSON such as [1, 2]",
            "starts_with(item_id, '[') AND suffix(item_id, ']') AND contains(item_id, ',') "
            "AND ids_of(item_id) = [item_id]",
        ),
        Rule(
            "event_type",
            f"not one of {', '.join(event_types)}",
            f"event_type IS NULL OR event_type NOT IN ({types})",
        ),
        Rule("timestamp", AMBIGUOUS_ZONE, "moment IS NULL AND ambiguous_zone(timestamp)"),
        Rule("timestamp", NO_MOMENT, "moment IS NULL"),
        Rule("timestamp", "before 1990", f"moment < {EARLIEST_MS}"),
        Rule("timestamp", "in the future", f"moment > {latest}"),
        Rule(
            "position",
            f"not a whole number from 0 to {MAX_POSITION}",
            "position IS NOT NULL AND NOT (regexp_full_match(position, '[0-9]+([.]0+)?') "
            f"AND coalesce(TRY_CAST(position AS BIGINT) <= {MAX_POSITION}, false))",
        ),
        *more,
    ]


def validated(
    rows: str,
    event_types: list[str],
    latest: str,
    no_session: tuple[str, str] = NO_SESSION,
    made: str = "",
    more: Sequence[Rule] = (),
) -> str:
    """SQL: `rows` with the `field` and `reason` of the first rule that each breaks, null for a valid one.

    rows: SQL that yields an event's fields as text, ids by `id_text`, its `moment`, and a `problem` where it could not
    be read at all. latest, no_session, made, more: see `rules`.
    """
    checked = rules(event_types, latest, no_session, made, more)
    # each rule is tested once: its number first, and what it says of the few rows that break one
    broken = " ".join(f"WHEN {rule.violation} THEN {number}" for number, rule in enumerate(checked, 1))
    field = " ".join(f"WHEN {number} THEN {quoted(rule.field)}" for number, rule in enumerate(checked, 1))
    reason = " ".join(f"WHEN {number} THEN {quoted(rule.reason)}" for number, rule in enumerate(checked, 1))
    return (
        f"SELECT * EXCLUDE (broken), CASE broken WHEN 0 THEN 'row' {field} END AS field, "
        f"CASE broken WHEN 0 THEN problem {reason} END AS reason "
        f"FROM (SELECT *, CASE WHEN problem IS NOT NULL THEN 0 {broken} END AS broken FROM ({rows}))"
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
