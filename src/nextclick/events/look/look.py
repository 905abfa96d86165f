"""Looks at people's own data: guesses how ingest has to read it, reads it so, and says what came out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
from pydantic import ValidationError

from nextclick.errors import InputError, problems_of
from nextclick.events.ingest import ingest
from nextclick.events.look.column_names import STRONG, key, order_of_types, rank
from nextclick.events.look.guess import MOST_TYPES, Guess, Question, guess, guess_attributes
from nextclick.events.look.recognise import recognised
from nextclick.events.look.samples import columns_of, evenly, head_of
from nextclick.events.readers import Reader, Table
from nextclick.events.source_files import source_files
from nextclick.events.sources import ATTRIBUTES, EVENT_FIELDS
from nextclick.events.staging import UnknownTypesError
from nextclick.events.tables import utc_database
from nextclick.events.text_files import EncodingError, endings
from nextclick.events.values import macros
from nextclick.params import Ingest

MOST_FILES = 20  # of a folder, at whose first rows one looks
ATTEMPTS = 4  # at reading the whole: rows behind the sample may show what it did not
BY_NAMES = "--set format=generic reads the columns by their names instead"
LISTS = ("event_types", "header", "nobody")


def look(path: Path, columns: dict[str, str], settings: dict[str, str], root: Path) -> tuple[dict, dict, list[str]]:
    """The section `ingest` of params.yaml for a file or folder; what ingest reports when it reads it so; and sentences
    on what is uncertain in the guess.

    path: from the folder `root`, or absolute. columns: their columns by our names, as a person answered; empty for one
    to leave out. settings: other keys of the section, as text.

    Raises Question where a person has to decide, and InputError as ingest does.
    """
    if not (root / path).exists():
        raise InputError(f"{path}: no such file or folder")
    unknown = columns.keys() - {*EVENT_FIELDS, *ATTRIBUTES}
    if unknown:
        names = ", ".join((*EVENT_FIELDS, *ATTRIBUTES))
        raise InputError(f"--column {', '.join(sorted(unknown))}: no such field; there are {names}")
    given = {name: _typed(name, text) for name, text in settings.items()}
    notes: list[str] = []
    encoding: dict[str, str] = {}
    with TemporaryDirectory(prefix="nextclick-look-") as folder:
        for attempt in range(ATTEMPTS):
            try:
                section, uncertain = _guessed(path, root, columns, {**encoding, **given}, Path(folder) / str(attempt))
                section = {"path": str(path), **section}
                read = _read(section, given, root, Path(folder) / "read")
                return section, read, [*notes, *uncertain]
            except EncodingError as error:
                if encoding or "encoding" in given or not error.looks:
                    raise
                encoding = {"encoding": error.looks}
                notes.append(
                    f"the text is not UTF-8; its letters look like {error.looks}, which is a guess: is this right? "
                    f"{error.row[:60]}"
                )
            except duckdb.Error as error:
                raise InputError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    raise InputError(f"{path}: cannot be read in one encoding")


def _typed(name: str, text: str) -> Any:
    """The value of a key of the section `ingest`. Raises InputError if there is no such key or it cannot be that."""
    if name not in Ingest.model_fields or name in ("path", "columns"):
        others = ", ".join(field for field in Ingest.model_fields if field not in ("path", "columns"))
        raise InputError(f"--set {name}: no such key of the section ingest; there are {others}")
    value: Any = text
    if name in LISTS:
        value = [one.strip() for one in text.strip("[] ").split(",")]
    try:
        checked = Ingest.model_validate({name: value})
    except ValidationError as error:
        raise InputError(f"--set {problems_of(error)}") from error
    return getattr(checked, name)


def _guessed(
    given_path: Path, root: Path, answers: dict[str, str], given: dict[str, Any], scratch: Path
) -> tuple[dict[str, Any], list[str]]:
    """The section without its path, and what is uncertain of it."""
    path, source = root / given_path, str(given_path)
    (scratch / "texts").mkdir(parents=True)
    (scratch / "heads").mkdir()
    with utc_database(str(scratch / "sample.duckdb")) as database:
        database.execute("SET enable_progress_bar = false")
        database.execute(f"SET TimeZone = '{given.get('timezone', 'UTC')}'")
        database.execute(macros(given.get("nobody", ()), given.get("timestamp_format")))
        looker = _Looker(Reader(database, scratch / "texts", given.get("encoding", "utf-8")), scratch / "heads")
        sign = recognised(path, looker.names) if "format" not in given and not answers else None
        name = sign.format if sign else given.get("format", "generic")
        types = {"event_types": given.get("event_types", Ingest().event_types)}
        if name != "generic":
            told = [f"{sign.shown} told the format, {name}; {BY_NAMES}"] if sign else []
            return {**given, "format": name, "columns": {}, **types}, told
        files = source_files(path)
        tables, header = looker.tables(files.events, files.root, given.get("header"))
        if not answers:
            _ask_for_file(given_path, tables, _named_as_events)
        guessed = guess(database, source, columns_of(database, tables), answers, given)
        _ask_for_file(given_path, tables, _has_columns(guessed))
        if files.items:
            described, _ = looker.tables(files.items, files.items_root, None, named=True)
            guess_attributes(database, files.items[0].name, columns_of(database, described), guessed, given)
    section: dict[str, Any] = {"format": "generic", "columns": guessed.columns}
    if header and "header" not in given:
        ours = {theirs: name for name, theirs in guessed.columns.items()}
        section["header"] = [ours.get(theirs, theirs) for theirs in header]
        section["columns"] = {}
        guessed.notes.append("the first row looks like data, so ingest.header names the columns")
    section["columns"] = {name: theirs for name, theirs in section["columns"].items() if name != theirs}
    return {**section, **types, **guessed.settings, **given}, guessed.notes


class _Looker:
    """Opens the first rows of files. scratch: a folder for copies of them."""

    def __init__(self, reader: Reader, scratch: Path) -> None:
        self._reader, self._scratch = reader, scratch

    def names(self, path: Path) -> list[str]:
        """The names of a file's columns; none if it has none that can be read."""
        try:
            head, root = head_of(path, path.parent, self._scratch)
            return list(self._reader.table(head, root).cells)
        except EncodingError:
            raise
        except InputError:
            return []

    def tables(
        self, files: list[Path], root: Path, header: list[str] | None, named: bool = False
    ) -> tuple[list[Table], list[str] | None]:
        """The tables of some of the files, and names for the columns if the first row of all is data. named: whether
        that row surely holds names."""
        opened = [head_of(file, root, self._scratch) for file in evenly(files, MOST_FILES)]
        delimited = [head for head, _ in opened if endings(head)[0] not in (".parquet", ".json", ".jsonl", ".ndjson")]
        if header is None and not named and delimited and all(map(self._begins_with_data, delimited)):
            header = [f"c{i + 1}" for i in range(len(self._reader.first_row(delimited[0])))]
        tables: list[Table] = []
        for head, folder in opened:
            columnar = endings(head)[0] == ".parquet"
            tables += self._reader.parquet([head], folder) if columnar else [self._reader.table(head, folder, header)]
        return tables, header

    def _begins_with_data(self, path: Path) -> bool:
        """Whether a text file's first row looks like data: a cell of it is a number or a time, and none is a name."""
        cells = self._reader.first_row(path)
        if any(rank(name, cell) in (0, 1) for name in STRONG for cell in cells if key(cell)):
            return False
        return any(re.fullmatch(r"-?\d+([.,]\d+)?|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*", cell) for cell in cells)


def _ask_for_file(path: Path, tables: list[Table], has_events: Callable[[Table], bool]) -> None:
    """Ask which file is meant if a folder holds files of events and others."""
    events = [table for table in tables if has_events(table)]
    others = [table for table in tables if table not in events]
    if not events or not others:
        return
    listed = [f"  {table.path.name}  {', '.join(table.cells)}" for table in [*events, *others][:8]]
    raise Question(
        "\n".join(
            [
                f"{path}: which of its files hold the events? Their columns differ:",
                *listed,
                f"Answer by naming the file, such as nextclick look {path / events[0].path.name}, or move the others "
                "away; ingest reads a file items.* that describes items beside a file events.*",
            ]
        )
    )


def _named_as_events(table: Table) -> bool:
    """Whether a table has columns for an item, its visitor or visit, and the time, by their names."""

    def has(*fields: str) -> bool:
        return any(rank(field, name) in (0, 1, 2) for field in fields for name in table.cells)

    return has("item_id") and has("session_id", "user_id") and has("timestamp", "position")


def _has_columns(guessed: Guess) -> Callable[[Table], bool]:
    """Whether a table has the columns that an event needs."""
    item = guessed.columns["item_id"]
    owners = [guessed.columns[name] for name in ("session_id", "user_id") if name in guessed.columns]
    times = [guessed.columns[name] for name in ("timestamp", "position") if name in guessed.columns]
    return lambda table: item in table and any(map(table.__contains__, owners)) and any(map(table.__contains__, times))


def _read(section: dict[str, Any], given: dict[str, Any], root: Path, out: Path) -> dict[str, Any]:
    """What ingest reports, of the whole. Event types that the sample did not show are added to the section, and the
    most frequent view comes first in it."""
    if section["format"] != "generic":
        try:
            return ingest(Ingest.model_validate(section), root, out)
        except EncodingError:
            raise
        except InputError as error:
            if "format" in given:
                raise
            raise InputError(f"{error}. The data looks like the format {section['format']}; {BY_NAMES}") from error
    fixed = "event_types" in given
    try:
        read = ingest(Ingest.model_validate(section), root, out)
    except UnknownTypesError as error:
        known = section["event_types"]
        if fixed or len(known) + len(error.types) > MOST_TYPES:
            raise
        section["event_types"] = order_of_types({**dict.fromkeys(known, 0), **error.types})
        read = ingest(Ingest.model_validate(section), root, out)
    if fixed or read["fields"]["event_type"].startswith("absent"):
        return read
    first = section["event_types"][0]
    section["event_types"] = order_of_types({**dict.fromkeys(section["event_types"], 0), **read["types"]})
    # rows that do not tell their type are of the first
    return read if section["event_types"][0] == first else ingest(Ingest.model_validate(section), root, out)
