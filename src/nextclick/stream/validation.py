"""Live messages judged by the rules that files are judged by; whatever comes in, each is an event or has a reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from nextclick.events.schema import FIELDS, MOMENT, judged
from nextclick.events.tables import utc_database
from nextclick.logs.event_log import EVENT_SCHEMA
from nextclick.units import MS_PER_MINUTE

LARGEST = 64 * 1024  # bytes of a message; an event takes some 200
CLOCK_SKEW = MS_PER_MINUTE  # ms by which the clock of whoever sends may be ahead


class Message(NamedTuple):
    """value: what was sent, a JSON object of an event's fields. arrived: when, ms since 1970 UTC."""

    value: bytes
    arrived: int


class Broken(NamedTuple):
    """place: of the message among those that were judged; field, reason: what it breaks first."""

    place: int
    field: str
    reason: str


class Judged(NamedTuple):
    """events: the good ones in their order, with the columns of `EVENT_SCHEMA`; broken: all others."""

    events: pa.Table
    broken: list[Broken]


_KNOWN = frozenset(FIELDS)
_MESSAGES = pa.schema(
    [("place", pa.int64()), ("arrived", pa.int64()), *((name, pa.string()) for name in ("problem", *FIELDS))]
)


class Validator:
    """lateness_ms: an event that arrives later after it happened is `late`. Not for several threads at once."""

    def __init__(self, event_types: list[str], lateness_ms: int) -> None:
        self._database = utc_database(threads=1)
        self._database.execute(MOMENT)
        rows = "SELECT *, moment_ms(timestamp) AS moment FROM messages"
        good = "reason IS NULL"  # only then is a moment sure to be one that can be calculated with
        self._judge = (
            f"SELECT place, {', '.join(FIELDS[:-1])}, field, reason, make_timestamptz(arrived * 1000) AS arrived, "
            f"CASE WHEN {good} THEN make_timestamptz(moment * 1000) END AS timestamp, "
            f"CASE WHEN {good} THEN arrived - moment > {lateness_ms} END AS late "
            f"FROM ({judged(rows, event_types, latest=f'arrived + {CLOCK_SKEW}')}) ORDER BY place"
        )

    def judge(self, messages: Sequence[Message]) -> Judged:
        rows = [(place, message.arrived, *_text_fields(message.value)) for place, message in enumerate(messages)]
        columns = list(zip(*rows, strict=True)) or [()] * len(_MESSAGES)
        table = pa.table(
            [pa.array(column, kind) for column, kind in zip(columns, _MESSAGES.types, strict=True)], schema=_MESSAGES
        )
        self._database.register("messages", table)
        found = self._database.sql(self._judge).to_arrow_table()
        good = pc.is_null(found["reason"])
        broken = found.filter(pc.invert(good)).select(Broken._fields).to_pydict()
        return Judged(
            found.filter(good).select(EVENT_SCHEMA.names).cast(EVENT_SCHEMA),
            [Broken(*row) for row in zip(*broken.values(), strict=True)],
        )


def _text_fields(value: bytes) -> list[str | None]:
    """The problem with a message, or None and the text of each of its fields: as a file's cells come to the rules."""
    if len(value) > LARGEST:
        return _unreadable(f"larger than {LARGEST} bytes")
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
        elif type(given) is int or (type(given) is float and name == "timestamp"):  # a bool is an int too
            text = str(given)
        elif given is None:
            text = ""
        else:
            return _unreadable(f"{name}: expected text or a number")
        if not text.isascii() and not _is_unicode(text):
            return _unreadable(f"{name}: half of a surrogate pair")
        texts.append(text or None)
    return texts


def _unreadable(problem: str) -> list[str | None]:
    return [problem, *(None for _ in FIELDS)]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
