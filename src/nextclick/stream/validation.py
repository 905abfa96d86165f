"""Validates live messages by the rules that files pass too: each one is an event, or is invalid for a reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from nextclick.errors import InputError
from nextclick.events.schema import FIELDS, TEXT_FIELDS, Rule, validated
from nextclick.events.tables import utc_database
from nextclick.events.values import macros
from nextclick.logs.event_log import EVENT_SCHEMA
from nextclick.units import MS_PER_DAY, MS_PER_MINUTE

MAX_BYTES = 64 * 1024  # of a message; an event takes some 200
LIST_OF_ITEMS = "item_id: a list of items: send one event for each"
ROW_FIELD = "row of the online store"  # what is named instead of a field where no message is at fault
CLOCK_SKEW_MS = MS_PER_MINUTE  # by which the clock of a sender may be ahead


OLDEST_DAYS = 366  # before its arrival; older events are history, which `ingest` reads from files
TOO_OLD = Rule(
    "timestamp",
    f"more than {OLDEST_DAYS} days before it arrived: bring history as files, with `nextclick ingest`",
    f"moment < arrived - {OLDEST_DAYS * MS_PER_DAY}",
)
MAX_DATES = 31  # of the events of one request, each of which gets a file


class TooManyDatesError(InputError):
    """A request has events of more than MAX_DATES dates."""


class Message(NamedTuple):
    """value: what was sent, a JSON object of an event's fields. arrived: when, ms since 1970 UTC. position: that of the
    event if it has none of its own; it ascends with the messages of a session."""

    value: bytes
    arrived: int
    position: int


class InvalidMessage(NamedTuple):
    """place: of the message among those that were validated. field, reason: of the first rule that it breaks."""

    place: int
    field: str
    reason: str


class Receipt(NamedTuple):
    """accepted: how many events are valid. late: how many of those came too late to change a session. invalid: all
    other messages."""

    accepted: int
    late: int
    invalid: list[InvalidMessage]


class ValidatedEvents(NamedTuple):
    """events: the valid ones in their order, with the columns of `EVENT_SCHEMA`. invalid: all other messages."""

    events: pa.Table
    invalid: list[InvalidMessage]

    def require_few_dates(self) -> None:
        """Raises TooManyDatesError."""
        dates = pc.count_distinct(pc.floor_temporal(self.events["timestamp"], unit="day")).as_py()
        if dates > MAX_DATES:
            raise TooManyDatesError(f"events of at most {MAX_DATES} dates at once, got {dates}")

    def receipt(self) -> Receipt:
        return Receipt(self.events.num_rows, pc.sum(self.events["late"]).as_py() or 0, self.invalid)


_KNOWN = frozenset(FIELDS)
_MESSAGES = pa.schema(
    [
        *((name, pa.int64()) for name in ("place", "arrived", "arrival_position")),
        *((name, pa.string()) for name in ("problem", *FIELDS)),
    ]
)


class Validator:
    """Not for several threads at once."""

    def __init__(self, event_types: list[str], lateness_ms: int, nobody: Sequence[str] = ()) -> None:
        """lateness_ms: an event that arrives longer than this after it happened is `late`. nobody: further words for a
        missing id, see `macros`."""
        self._database = utc_database(threads=1)
        self._database.execute(macros(nobody))
        ids = ", ".join(f"id_text({name}) AS {name}" for name in TEXT_FIELDS if name.endswith("_id"))
        rows = f"SELECT * REPLACE ({ids}), moment_ms(timestamp) AS moment FROM messages"
        valid = "reason IS NULL"  # DuckDB can calculate with `moment` only then
        self._validation = (
            f"SELECT place, {', '.join(TEXT_FIELDS)}, field, reason, make_timestamptz(arrived * 1000) AS arrived, "
            f"CASE WHEN {valid} THEN make_timestamptz(moment * 1000) END AS timestamp, "
            f"coalesce(TRY_CAST(position AS BIGINT), arrival_position) AS position, "
            f"CASE WHEN {valid} THEN arrived - moment > {lateness_ms} END AS late "
            f"FROM ({validated(rows, event_types, latest=f'arrived + {CLOCK_SKEW_MS}', more=[TOO_OLD])}) ORDER BY place"
        )

    def validate(self, messages: Sequence[Message]) -> ValidatedEvents:
        rows = [
            (place, message.arrived, message.position, *_text_fields(message.value))
            for place, message in enumerate(messages)
        ]
        columns = list(zip(*rows, strict=True)) or [()] * len(_MESSAGES)
        table = pa.table(
            [pa.array(column, kind) for column, kind in zip(columns, _MESSAGES.types, strict=True)], schema=_MESSAGES
        )
        self._database.register("messages", table)
        checked = self._database.sql(self._validation).to_arrow_table()
        valid = pc.is_null(checked["reason"])
        invalid = checked.filter(pc.invert(valid)).select(InvalidMessage._fields).to_pydict()
        return ValidatedEvents(
            checked.filter(valid).select(EVENT_SCHEMA.names).cast(EVENT_SCHEMA),
            [InvalidMessage(*row) for row in zip(*invalid.values(), strict=True)],
        )


def _text_fields(value: bytes) -> list[str | None]:
    """The problem with a message, or None, and the text of each of its fields, as a file's cells come to the rules."""
    if len(value) > MAX_BYTES:
        return _unreadable(f"larger than {MAX_BYTES} bytes")
    try:
        event = json.loads(value.decode())
    except (ValueError, RecursionError):
        return _unreadable("not a JSON object")
    if not isinstance(event, dict):
        return _unreadable("not a JSON object")
    if not event.keys() <= _KNOWN:
        return _unreadable(f"has a field other than {', '.join(FIELDS)}")
    texts: list[str | None] = [None]
    for name in FIELDS:
        given = event.get(name)
        if isinstance(given, str):
            text = given.strip(" ")
        elif type(given) is int or (type(given) is float and (name == "timestamp" or _is_whole_id(name, given))):
            text = str(given)  # a bool, which is an int too, is not
        elif isinstance(given, list) and name == "item_id":
            return _unreadable(LIST_OF_ITEMS)
        elif given is None:
            text = ""
        else:
            return _unreadable(f"{name}: expected {'a whole number' if name == 'position' else 'text or a number'}")
        if name == "item_id" and text.startswith("[") and text.endswith("]"):
            return _unreadable(LIST_OF_ITEMS)
        if text.encode(errors="replace").decode() != text:
            return _unreadable(f"{name}: half of a surrogate pair")
        texts.append(text or None)
    return texts


def _is_whole_id(name: str, given: float) -> bool:
    return name.endswith("_id") and given.is_integer()


def _unreadable(problem: str) -> list[str | None]:
    return [problem, *(None for _ in FIELDS)]
