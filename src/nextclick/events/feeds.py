"""What a source is made of: tables, and which of their cells are which fields of an event or of an item."""

from __future__ import annotations

from dataclasses import dataclass, field

from nextclick.events.readers import Table


@dataclass(frozen=True)
class Feed:
    """The rows of one table. fields: SQL of the text of each field of an event that the table has, by our name;
    `position` instead of `timestamp` if only the order is known. Of a feed of items, only `item_id`. part: train, test,
    or None if the file's name does not say. attributes: SQL of the text of the item's attributes. columns: the names
    that the table has for the fields, where it has one name for each. timed_in_ms: whether the text of `timestamp` is
    milliseconds, made of a column of times. untyped: SQL of whether a row has no field for the type of its
    event, which then is of the first. left_out: SQL of what a row is that is no event of an item, such as page_view,
    null for one that is; None if all are. Rows that are left out are counted and go nowhere else."""

    table: Table
    fields: dict[str, str]
    part: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    timed_in_ms: bool = False
    untyped: str = "false"
    left_out: str | None = None


@dataclass(frozen=True)
class Source:
    """events, items: the feeds, in a fixed order. unread: files of the source's folder that were not read."""

    events: list[Feed]
    items: list[Feed]
    unread: list[str] = field(default_factory=list)
