"""Opens the source that params name, as feeds of events and of items: any columns, or a published shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nextclick.errors import InputError
from nextclick.events import published
from nextclick.events.feeds import Feed, Source
from nextclick.events.readers import Reader, Table
from nextclick.events.schema import ITEM_FIELDS
from nextclick.events.source_files import part_of, source_files
from nextclick.events.text_files import endings
from nextclick.params import Ingest

EVENT_FIELDS = ("event_id", "session_id", "user_id", "item_id", "event_type", "timestamp", "position")
ATTRIBUTES = ITEM_FIELDS[1:]  # of an item, which rows of events may tell too


def open_source(reader: Reader, params: Ingest, root: Path) -> Source:
    """The feeds of `params.path`, a path from `root` unless it is absolute. Raises InputError if a file or a column is
    missing."""
    path = root / params.path
    if not path.exists():
        raise InputError(f"{path}: no such file or folder (ingest.path)")
    if params.columns and params.format != "generic":
        raise InputError(f"ingest.columns is for ingest.format generic; {params.format} has columns of its own")
    return FORMATS[params.format](reader, path, params)


def _generic(reader: Reader, path: Path, params: Ingest) -> Source:
    """Any columns. One that the first file lacks is taken from the files that have it."""
    unknown = set(params.columns) - {*EVENT_FIELDS, *ATTRIBUTES}
    if unknown:
        names = ", ".join((*EVENT_FIELDS, *ATTRIBUTES))
        raise InputError(f"ingest.columns: {', '.join(sorted(unknown))}: no such field; there are {names}")
    files = source_files(path)
    tables = _tables(reader, files.events, files.root, params.header)
    theirs = {ours: params.columns.get(ours, ours) for ours in (*EVENT_FIELDS, *ATTRIBUTES)}
    described = [table for table, _ in _tables(reader, files.items, files.items_root, None)]
    for ours in params.columns:
        of_items = described if ours in ATTRIBUTES else []
        if not any(theirs[ours] in table for table in (*(table for table, _ in tables), *of_items)):
            tables[0][0].cell(theirs[ours])  # raises the error that names what there is
    feeds = []
    for table, part in tables:
        fields = {ours: table.cell(theirs[ours]) for ours in EVENT_FIELDS if theirs[ours] in table or ours == "item_id"}
        # a file that describes its items beside its events says so in columns that the events do not need
        attributes = {ours: table.cell(theirs[ours]) for ours in ATTRIBUTES if theirs[ours] in table}
        columns = {ours: theirs[ours] for ours in (*fields, *attributes)}
        untyped = table.absent(theirs["event_type"])
        feeds.append(Feed(table, fields, part, attributes, columns, theirs["timestamp"] in table.times, untyped))
    items = []
    for table in described:
        # a catalogue may have our names where the events have theirs
        named = {ours: ours if name not in table and ours in table else name for ours, name in theirs.items()}
        attributes = {ours: table.cell(named[ours]) for ours in ATTRIBUTES if named[ours] in table}
        items.append(Feed(table, {"item_id": table.cell(named["item_id"])}, None, attributes))
    return Source(feeds, items, files.unread)


def _tables(reader: Reader, files: list[Path], root: Path, header: list[str] | None) -> list[tuple[Table, str | None]]:
    """The tables of files in the order of their paths, and the part of each; Parquet files of one schema and part are
    one table."""
    tables: list[tuple[Table, str | None]] = []
    for part in dict.fromkeys(map(part_of, files)):
        of_part = [file for file in files if part_of(file) == part]
        columnar = [file for file in of_part if endings(file)[0] == ".parquet"]
        tables += [(table, part) for table in reader.parquet(columnar, root)]
        tables += [(reader.table(file, root, header), part) for file in of_part if file not in columnar]
    return tables


FORMATS: dict[str, Callable[[Reader, Path, Ingest], Source]] = {"generic": _generic, **published.FORMATS}
