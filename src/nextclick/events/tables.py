"""Reads files of any kind as SQL over text, row by row: a line that does not parse is a row too, so no line is lost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from nextclick.errors import InputError
from nextclick.events.schema import named, quoted

MAX_LINE_BYTES = 64 * 2**20
BYTE_ORDER_MARK = 0xFEFF  # which Excel writes at the start of a file
# cells between separators; a cell in quotes may hold the separator, and "" for a quote
QUOTED_CELL = '("(?:[^"]|"")*"|[^{separator}]*){separator}'


@dataclass(frozen=True)
class Table:
    """rows: SQL that yields `row` (1 is the first data row), `raw` (its text), `problem` (null if it parses), and the
    columns to which `cells` refer. cells: SQL of each column's text, by the column's name."""

    path: Path
    rows: str
    cells: dict[str, str]

    def cell(self, column: str) -> str:
        """SQL of the column's text, null if it is empty. Raises InputError, which names the existing columns, if there
        is no such column."""
        if column not in self.cells:
            raise InputError(
                f"{self.path}: no column {column}; it has {', '.join(self.cells)}. "
                "With ingest.format generic, ingest.columns maps our names to yours"
            )
        return f"nullif(trim({self.cells[column]}), '')"

    def fields(self, **columns: str) -> dict[str, str]:
        """SQL of the text of columns, by our names for them. Raises InputError as `cell` does."""
        return {ours: self.cell(theirs) for ours, theirs in columns.items()}


def lines(path: Path, skip: int = 0, encoding: str = "utf-8") -> str:
    """SQL that yields the `row` and `line` of each line of a text file, in its order, after the first `skip`."""
    return (
        f"SELECT row_number() OVER () AS row, ltrim(coalesce(line, ''), chr({BYTE_ORDER_MARK})) AS line "
        f"FROM read_csv({quoted(str(path))}, "
        f"columns={{'line': 'VARCHAR'}}, auto_detect=false, header=false, delim=chr(1), quote='', escape='', "
        f"new_line='\\n', skip={skip}, max_line_size={MAX_LINE_BYTES}, null_padding=true, strict_mode=false, "
        f"encoding={quoted(encoding)})"
    )


def delimited(path: Path, separator: str, header: list[str] | None = None, encoding: str = "utf-8") -> Table:
    """A text file with one row a line. Without `header`, its first line names the columns.

    With a separator of several characters, as MovieLens has one, quotes have no meaning. Raises InputError if a column
    has no name of its own or the first line cannot be read.
    """
    columns = header or [name.strip().strip('"') for name in first_line(path).split(separator)]
    repeated = {name for name in columns if columns.count(name) > 1}
    if repeated:
        raise InputError(f"{path}: names the column {', '.join(sorted(repeated))} more than once in its first line")
    pattern = QUOTED_CELL.format(separator="\\" + separator if separator in "|^" else separator)
    quoted_cells = (
        f"[CASE WHEN regexp_full_match(c, '\".*\"') THEN replace(c[2:-2], '\"\"', '\"') ELSE c END "
        f"FOR c IN regexp_extract_all(line || {quoted(separator)}, {quoted(pattern)}, 1)]"
    )
    cut = f"string_split(line, {quoted(separator)})"
    if len(separator) == 1:
        cut = f"CASE WHEN contains(line, '\"') THEN {quoted_cells} ELSE {cut} END"
    rows = (
        f"SELECT row, line AS raw, cells, CASE WHEN len(cells) <> {len(columns)} THEN "
        f"'expected {len(columns)} columns, found ' || len(cells) END AS problem "
        f"FROM (SELECT row, line, {cut} AS cells FROM "
        f"(SELECT row, rtrim(line, chr(13)) AS line FROM ({lines(path, 0 if header else 1, encoding)})))"
    )
    return Table(path, rows, {name: f"cells[{i + 1}]" for i, name in enumerate(columns)})


def json_lines(path: Path) -> Table:
    """A text file with one JSON object a line, the first of which names the columns. Raises InputError if that line is
    no JSON object."""
    first = first_line(path)
    try:
        columns = json.loads(first)
    except ValueError as error:
        raise InputError(f"{path}: row 1: expected a JSON object: {error}") from error
    if not isinstance(columns, dict):
        raise InputError(f"{path}: row 1: expected a JSON object, found {first[:80]}")
    is_object = "CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE false END"
    rows = (
        f"SELECT row, line AS raw, CASE WHEN {is_object} THEN line END AS object, "
        f"CASE WHEN NOT ({is_object}) THEN 'not a JSON object' END AS problem FROM ({lines(path)})"
    )
    return Table(
        path, rows, {name: f"json_extract_string(object, {quoted('$.' + json.dumps(name))})" for name in columns}
    )


def parquet_files(folder: Path) -> list[Path]:
    """The finished files of partitioned Parquet, ordered by path; the names of unfinished ones begin with a dot."""
    return sorted(folder.glob("**/[!.]*.parquet"))


def lock_of(folder: Path) -> Path:
    """The lock file of partitioned Parquet to which processes write: who replaces or deletes files holds it alone, and
    readers share it."""
    return folder.with_name(f".{folder.name}.lock")


def parquet_rows(files: Iterable[Path], **options: str) -> str:
    """SQL: the table of the rows of Parquet files, in which a folder's `date=...` is no column.

    options: further ones of DuckDB's read_parquet, as SQL.
    """
    listed = ", ".join(quoted(str(file)) for file in files)
    given = {"hive_partitioning": "false", **options}
    return f"read_parquet([{listed}], {', '.join(f'{name} = {value}' for name, value in given.items())})"


def each_event_once(order: str = "timestamp, position, file, session_id") -> str:
    """SQL: the clause that keeps one row of each event_id, the first in this order. By default it is the oldest, and of
    those the first by the name of its `file`, since a writer that was killed may write an event again."""
    return f"QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY {order}) = 1"


def utc_database(path: str = ":memory:", **config: int) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection that reads and writes times in UTC, whatever the machine's time zone is."""
    database = duckdb.connect(path, config=dict(config))
    database.execute("SET TimeZone = 'UTC'")
    return database


def parquet(path: Path) -> Table:
    """A Parquet file, or a folder of them (partitions), in all of their columns; timestamps become milliseconds.

    Raises InputError if there is no readable file.
    """
    files = parquet_files(path) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: holds no Parquet files")
    columns: dict[str, pa.Field] = {}
    for file in files:  # files of a log that were written earlier may lack a column
        try:
            columns |= {field.name: field for field in pq.read_schema(file) if field.name not in columns}
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: not a readable Parquet file: {error}") from error
    texts = {
        field.name: f"epoch_ms(CAST({named(field.name)} AS TIMESTAMPTZ))"
        if str(field.type).startswith(("timestamp", "date"))
        else named(field.name)
        for field in columns.values()
    }
    packed = ", ".join(f"{named(name)} := CAST({text} AS VARCHAR)" for name, text in texts.items())
    row, several = "file_row_number + 1", "false"
    if path.is_dir():
        row, several = "row_number() OVER (ORDER BY filename, file_row_number)", "true"
    rows = (
        "SELECT row, cells, CAST(to_json(cells) AS VARCHAR) AS raw, NULL AS problem FROM ("
        f"SELECT {row} AS row, struct_pack({packed}) AS cells "
        f"FROM {parquet_rows(files, file_row_number='true', filename=several, union_by_name=several)})"
    )
    return Table(path, rows, {name: f"cells.{named(name)}" for name in texts})


def table(path: Path) -> Table:
    """A file in the format that its name's ending says, or a folder of Parquet files. Raises InputError."""
    ending = path.suffix.lower()
    if ending == ".parquet" or path.is_dir():
        return parquet(path)
    if ending in (".jsonl", ".ndjson", ".json"):
        return json_lines(path)
    if ending in (".csv", ".tsv", ".txt", ".dat", ".inter", ".item"):
        return delimited(path, separator_of(path))
    raise InputError(f"{path}: expected a name that ends in .parquet, .csv, .tsv or .jsonl")


def separator_of(path: Path) -> str:
    """The separator that is most frequent in the first line."""
    line = first_line(path)
    return max((",", ";", "\t", "|"), key=line.count)


def first_line(path: Path) -> str:
    """The first line of a text file. Raises InputError if the file is missing, empty or no UTF-8 text."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            line = file.readline(MAX_LINE_BYTES).rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if not line:
        raise InputError(f"{path}: is empty; expected rows of events")
    return line
