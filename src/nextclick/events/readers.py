"""Reads files of any kind as SQL over text, row by row: a row that does not parse is a row too, so none is lost."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from nextclick.errors import InputError
from nextclick.events.schema import named, quoted
from nextclick.events.tables import parquet_rows
from nextclick.events.text_files import (
    as_utf8,
    endings,
    first_bad_row,
    first_row,
    first_rows,
    leading_blank_lines,
    not_utf8,
)

MAX_ROW_BYTES = 16 * 2**20
RAW_CHARS = 10_000  # of a row in quarantine
FILE = "the_file_of_this_row"  # a column that no file has
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"  # of rows without a value
SEPARATORS = (",", ";", "\t", "|")
EXACT_DIGITS = {pa.float16(): 2**11, pa.float32(): 2**24, pa.float64(): 2**53}  # up to which floats hold integers


@dataclass(frozen=True)
class Table:
    """Rows of one file, or of several with the same columns.

    rows: SQL that yields, in the order of the file, `source_file`, `row` (1 is the first; null where counting would
    keep DuckDB from reading in parallel), `problem` (null if the row parses), and the columns to which `cells` and
    `raw` refer. cells: SQL of each column's text, by the column's name. raw: SQL of the row's text, for the quarantine.
    nested: columns of objects, whose parts are columns too, such as user.id. times: columns of times, whose text is
    milliseconds. is_json: whether rows are JSON objects. text: the file in UTF-8 that is read in place of `path`.
    unreadable: once `rows` was read, SQL of what is no row of the table, with `source_file`, `line`, `raw` and
    `problem`; None where `rows` yields these too.
    """

    path: Path
    rows: str
    cells: dict[str, str]
    raw: str
    nested: frozenset[str] = frozenset()
    times: frozenset[str] = frozenset()
    is_json: bool = False
    text: Path | None = None
    unreadable: str | None = None

    def __contains__(self, column: str) -> bool:
        return column in self.cells or column.partition(".")[0] in self.nested

    def cell(self, column: str) -> str:
        """SQL of the column's text, null if it is empty. Raises InputError, which names the existing columns, if there
        is no such column."""
        if column not in self:
            raise InputError(
                f"{self.path}: no column {column}; it has {', '.join(self.cells)}. With ingest.format generic, "
                "ingest.columns maps our names to yours, and ingest.header names the columns of a file without a header"
            )
        head, _, inner = column.partition(".")
        value = self.cells[column] if column in self.cells else _inside(self.cells[head], inner.split("."))
        return f"cell_text({value})"

    def absent(self, column: str) -> str:
        """SQL of whether a row has no such column at all, which is another thing than an empty one in JSON."""
        if column not in self:
            return "true"
        return f"NOT json_exists(object, {_json_path(column.split('.'))})" if self.is_json else "false"

    def fields(self, **columns: str) -> dict[str, str]:
        """SQL of the text of columns, by our names for them. Raises InputError as `cell` does."""
        return {ours: self.cell(theirs) for ours, theirs in columns.items()}


class Reader:
    """Makes tables of files. database: where their SQL will run. scratch: a folder for copies in UTF-8."""

    def __init__(self, database: duckdb.DuckDBPyConnection, scratch: Path, encoding: str = "utf-8") -> None:
        self._database, self._scratch, self._encoding = database, scratch, encoding
        self._tables = 0

    def table(self, path: Path, root: Path | None = None, header: list[str] | None = None) -> Table:
        """A file in the format that its name's ending says. root: the folder that is read, of which folders such as
        event_type=purchase are columns. header: the columns of a file that does not name them. Raises InputError."""
        ending = endings(path)[0]
        if ending == ".parquet":
            return self.parquet([path], root or path.parent)[0]
        if ending in (".jsonl", ".ndjson", ".json"):
            return self.json_lines(path, root)
        if ending in (".csv", ".tsv", ".txt", ".dat", ".inter", ".item"):
            return self.delimited(path, None, header, root=root)
        raise InputError(
            f"{path}: expected a name that ends in .parquet, .csv, .tsv, .jsonl or .json, or in these and .gz, .bz2, "
            ".zst or .zip"
        )

    def first_row(self, path: Path) -> list[str]:
        """The cells of a delimited text file's first row, which may be the names of its columns. Raises InputError."""
        text = as_utf8(path, self._encoding, self._scratch)
        return first_row(text, path, _separator(text, path))

    def delimited(
        self,
        path: Path,
        separator: str | None = None,
        header: list[str] | None = None,
        encoding: str | None = None,
        quote: str = '"',
        root: Path | None = None,
    ) -> Table:
        """A text file whose rows have cells. separator: None for the one most frequent in the first row. Without
        `header`, the first row names the columns. quote: empty where quotes have no meaning. root: see `table`.

        Raises InputError if the file cannot be read or a column has no name of its own.
        """
        text = as_utf8(path, encoding or self._encoding, self._scratch)
        if separator is None:
            separator = _separator(text, path, quote)
        names = header or first_row(text, path, separator, quote)
        columns = [name or f"column {number}" for number, name in enumerate(names, 1)]  # Excel leaves empty ones behind
        repeated = {name for name in columns if columns.count(name) > 1}
        if repeated:
            where = "in ingest.header" if header else "in its first row"
            raise InputError(f"{path}: names the column {', '.join(sorted(repeated))} more than once {where}")
        self._tables += 1
        rejects = f"unreadable_{self._tables}"
        listed = ", ".join(f"{quoted(f'c{i}')}: 'VARCHAR'" for i in range(len(columns)))
        scan = (
            f"read_csv({quoted(escape(str(text)))}, columns = {{{listed}}}, auto_detect = false, "
            f"skip = {leading_blank_lines(text)}, header = {'false' if header else 'true'}, "
            f"delim = {quoted(separator)}, quote = {quoted(quote)}, "
            f"escape = {quoted(quote)}, hive_partitioning = false, "
            f"max_line_size = {MAX_ROW_BYTES}, buffer_size = {2 * MAX_ROW_BYTES}, "
            f"store_rejects = true, rejects_table = '{rejects}', rejects_scan = '{rejects}_scan', rejects_limit = 0)"
        )
        folders = _partitions(path, root)
        cells = {name: f"c{i}" for i, name in enumerate(columns)}
        cells = {**{name: quoted(value) if value else "NULL" for name, value in folders.items()}, **cells}
        file = quoted(_name(path, root))
        rows = (
            f"SELECT {file} AS source_file, CAST(NULL AS BIGINT) AS row, CAST(NULL AS VARCHAR) AS problem, * "
            f"FROM {scan}"
        )
        unreadable = (
            f"SELECT {file} AS source_file, line - {0 if header else 1} AS line, "
            f"min_by(trim(csv_line, chr(10) || chr(13)), error_type) AS raw, min(CASE "
            "WHEN error_type IN ('MISSING COLUMNS', 'TOO MANY COLUMNS') "
            f"THEN 'expected {len(columns)} columns, found ' || regexp_extract(error_message, 'Found: ([0-9]+)', 1) "
            "WHEN error_type = 'UNQUOTED VALUE' THEN 'a quote that is never closed, or is followed by text' "
            f"WHEN error_type = 'LINE SIZE OVER MAXIMUM' THEN 'longer than {MAX_ROW_BYTES} bytes' "
            f"ELSE lower(error_type) END) AS problem FROM {rejects} GROUP BY ALL"
        )
        return Table(path, rows, cells, _as_json(cells), text=text, unreadable=unreadable)

    def json_lines(self, path: Path, root: Path | None = None) -> Table:
        """A text file of JSON objects, one a line or in one array; the columns are the keys of all of them. root: see
        `table`. Raises InputError if no line is a JSON object."""
        text = as_utf8(path, self._encoding, self._scratch)
        with text.open("rb") as file:
            is_array = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
        lines = _array(text) if is_array and _is_array(text) else _lines(text)
        is_object = "CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE false END"
        objects = f"SELECT row, line, CASE WHEN {is_object} THEN line END AS object FROM ({lines})"
        try:
            keys = self._database.execute(
                "SELECT key, min(row), max(json_type(object, '$.' || CAST(to_json(key) AS VARCHAR)) = 'OBJECT') FROM "
                f"(SELECT row, object, unnest(json_keys(object)) AS key FROM ({objects})) "
                "WHERE key NOT IN ('', '*') GROUP BY key ORDER BY 2, 1"  # which name no place in JSON
            ).fetchall()
        except duckdb.Error as error:
            line = first_bad_row(text)
            if line is not None:
                raise not_utf8(path, text, line) from error
            raise InputError(f"{path}: is no JSON that can be read: {str(error).splitlines()[0]}") from error
        if not keys:
            raise InputError(f"{path}: row 1: expected a JSON object, found {text.open(errors='replace').read(80)!r}")
        folders = {name: quoted(value) if value else "NULL" for name, value in _partitions(path, root).items()}
        cells = {name: _inside("object", [name]) for name, _, _ in keys}
        rows = (
            f"SELECT {quoted(_name(path, root))} AS source_file, row, line, object, "
            f"CASE WHEN object IS NULL THEN 'not a JSON object' END AS problem FROM ({objects})"
        )
        nested = frozenset(name for name, _, is_nested in keys if is_nested)
        return Table(path, rows, {**folders, **cells}, f"line[:{RAW_CHARS}]", nested, is_json=True)

    def parquet(self, files: Iterable[Path], root: Path) -> list[Table]:
        """A table for each schema among the Parquet files, in which timestamps are milliseconds. root: see `table`.

        Raises InputError if a file is no Parquet file.
        """
        by_schema: dict[tuple, list[Path]] = defaultdict(list)
        for path in files:
            try:
                schema = pq.read_schema(path)
            except (OSError, ValueError) as error:
                raise InputError(f"{path}: not a readable Parquet file: {error}") from error
            by_schema[(schema.remove_metadata(), tuple(_partitions(path, root)))].append(path)
        return [_parquet_table(paths, root, schema, folders) for (schema, folders), paths in by_schema.items()]


def _separator(text: Path, source: Path, quote: str = '"') -> str:
    """The separator of a text file."""
    lengths = {one: [len(row) for row in first_rows(text, source, one, quote)] for one in SEPARATORS}
    # the one that cuts the next rows into as many cells as the first, and into most
    return max(SEPARATORS, key=lambda one: (len(set(lengths[one])) == 1 < lengths[one][0], lengths[one][0]))


def _parquet_table(paths: list[Path], root: Path, schema: pa.Schema, folders: tuple[str, ...]) -> Table:
    lower = [name.lower() for name in schema.names]
    alike = [name for name in schema.names if lower.count(name.lower()) > 1]
    if alike or "file_row_number" in lower:
        names = ", ".join(alike or ["file_row_number"])
        raise InputError(f"{paths[0]}: cannot be read with the columns {names}: rename them, so that no two are alike")
    columns = {column.name: (f"p{i}", _as_text(column)) for i, column in enumerate(schema)}
    texts = ", ".join(f"{text} AS {alias}" for alias, text in columns.values())
    cells = {name: alias for name, (alias, _) in columns.items()}
    start = len(str(root)) + 2
    for i, name in enumerate(folders):
        value = f"url_decode(regexp_extract({FILE}[{start}:], {quoted(f'(^|/){re.escape(name)}=([^/]*)/')}, 2))"
        texts += f", nullif({value}, '{NO_PARTITION}') AS f{i}"
        cells.setdefault(name, f"f{i}")
    scan = parquet_rows((Path(escape(str(path))) for path in paths), file_row_number="true", filename=quoted(FILE))
    rows = (
        f"SELECT {FILE}[{start}:] AS source_file, file_row_number + 1 AS row, "
        f"CAST(NULL AS VARCHAR) AS problem, {texts} FROM {scan}"
    )
    nested = frozenset(column.name for column in schema if pa.types.is_struct(column.type))
    times = frozenset(column.name for column in schema if _is_time(column.type))
    return Table(paths[0] if len(paths) == 1 else root, rows, cells, _as_json(cells), nested, times)


def _as_text(column: pa.Field) -> str:
    """SQL: a Parquet column's value as text."""
    name, kind = named(column.name), column.type
    if _is_time(kind):
        return f"CAST(epoch_ms(CAST({name} AS TIMESTAMPTZ)) AS VARCHAR)"
    if pa.types.is_floating(kind):
        # a whole number that became a float is one again, if the float can hold it. NaN is no value; it is told by its
        # text, since DuckDB takes its tests for false where the file's statistics leave it out
        text = f"CAST({name} AS VARCHAR)"
        return (
            f"CASE WHEN {text} IN ('nan', 'inf', '-inf') THEN NULL "
            f"WHEN abs({name}) < {EXACT_DIGITS[kind]} AND {name} = trunc({name}) "
            f"THEN CAST(TRY_CAST({name} AS BIGINT) AS VARCHAR) WHEN abs({name}) >= {EXACT_DIGITS[kind]} "
            f"THEN printf('%.16e', CAST({name} AS DOUBLE)) ELSE {text} END"
        )
    if pa.types.is_decimal(kind):
        return f"regexp_replace(CAST({name} AS VARCHAR), '[.]0+$', '')"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return f"try(decode({name}))"
    if pa.types.is_nested(kind):
        return f"CAST(to_json({name}) AS VARCHAR)"
    return f"CAST({name} AS VARCHAR)"


def _is_time(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind)


def _inside(cell: str, path: list[str]) -> str:
    """SQL: the text of a part of a JSON object, by its keys from the outside in."""
    return f"json_extract_string({cell}, {_json_path(path)})"


def _json_path(path: list[str]) -> str:
    keys = "".join("." + json.dumps(key, ensure_ascii=False) for key in path)
    return quoted("$" + keys)


def _as_json(cells: dict[str, str]) -> str:
    pairs = ", ".join(f"{quoted(name)}, {cell}" for name, cell in cells.items())
    return f"CAST(json_object({pairs}) AS VARCHAR)[:{RAW_CHARS}]"


def _lines(text: Path) -> str:
    """SQL that yields the `row` and `line` of each line of a UTF-8 text file that is not blank, in its order."""
    return (
        f"SELECT row_number() OVER () AS row, line FROM read_csv({quoted(escape(str(text)))}, "
        "columns = {'line': 'VARCHAR'}, auto_detect = false, header = false, delim = chr(1), quote = '', escape = '', "
        "hive_partitioning = false, "
        f"max_line_size = {MAX_ROW_BYTES}, buffer_size = {2 * MAX_ROW_BYTES}, strict_mode = false) "
        "WHERE line IS NOT NULL"
    )


def _array(text: Path) -> str:
    """SQL that yields the `row` and `line` of each element of a file that is one JSON array."""
    return (
        f"SELECT row_number() OVER () AS row, CAST(json AS VARCHAR) AS line FROM read_json_objects("
        f"{quoted(escape(str(text)))}, format = 'array', hive_partitioning = false, "
        f"maximum_object_size = {MAX_ROW_BYTES})"
    )


def _is_array(text: Path) -> bool:
    """Whether a file that begins with a bracket is one array, and not lines that are arrays."""
    with text.open("rb") as file:
        first = file.readline(MAX_ROW_BYTES).strip()
        rest = file.read(64).strip()
    try:
        json.loads(first)
    except ValueError:
        return True
    return not rest


def _name(path: Path, root: Path | None) -> str:
    return str(path.relative_to(root)) if root else path.name


def _partitions(path: Path, root: Path | None) -> dict[str, str | None]:
    """The columns that the folders between `root` and the file are, as Hive writes event_type=purchase."""
    folders = path.relative_to(root).parts[:-1] if root else ()
    pairs = (folder.partition("=") for folder in folders)
    values = {name: unquote(value) for name, equals, value in pairs if equals and name}
    return {name: None if value == NO_PARTITION else value for name, value in values.items()}
