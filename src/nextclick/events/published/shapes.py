"""What published formats share: how files, columns by one of several names, and rows with several items are read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from nextclick.errors import InputError
from nextclick.events.readers import Reader, Table
from nextclick.events.schema import quoted
from nextclick.events.source_files import source_files
from nextclick.events.text_files import endings

NULL = "CAST(NULL AS VARCHAR)"


@dataclass(frozen=True)
class Opened:
    """The tables of a source's files, by path, and the files in its folder that were not read."""

    tables: list[Table]
    unread: list[str]


def opened(reader: Reader, path: Path, *kinds: str) -> Opened:
    """The tables of a file, or of those files in a folder whose names end in one of `kinds`, plain or compressed.

    Raises InputError if there is none, or if a file cannot be read.
    """
    if path.is_file():
        return Opened([reader.table(path)], [])
    found = source_files(path)
    files = [file for file in found.events if endings(file)[0] in kinds]
    if not files:
        held = ", ".join(file.name for file in found.events[:5])
        raise InputError(f"{path}: expected files that end in {', '.join(kinds)}, plain or compressed; it holds {held}")
    columnar = [file for file in files if endings(file)[0] == ".parquet"]
    tables = [reader.table(file, found.root) for file in files if file not in columnar]
    others = [file for file in (*found.events, *found.items) if file not in files]
    unread = [*(str(file.relative_to(found.root)) for file in others), *found.unread]
    return Opened([*tables, *reader.parquet(columnar, found.root)], unread)


def one_file(path: Path, name: str) -> Path:
    """The file of that name, or one named after it, as diginetica-train-item-views.sample.csv. Raises InputError unless
    there is exactly one."""
    if path.is_file():
        return path
    stem, ending = name.rsplit(".", 1)
    return path / name if (path / name).exists() else only_file(path, f"*{stem}*.{ending}", name)


def only_file(path: Path, pattern: str, expected: str) -> Path:
    """The file itself, or the one in a folder whose name fits the pattern. Raises InputError, which tells the expected
    name, unless there is exactly one."""
    matches = [path] if path.is_file() else sorted(path.glob(pattern))
    if len(matches) > 1:
        raise InputError(f"{path}: which one is meant: {', '.join(file.name for file in matches)}?")
    if not matches:
        raise InputError(f"{path / expected}: no such file; this format has one of that name")
    return matches[0]


def column(table: Table, *names: str) -> str | None:
    """The table's spelling of the first of the names that it has, in whatever case; None if it has none of them."""
    spelled = {name.lower(): name for name in table.cells}
    return next((spelled[name.lower()] for name in names if name.lower() in spelled), None)


def needed(table: Table, *names: str) -> str:
    """SQL of the text of the first of the columns that has a value. Raises InputError if the table has none of them."""
    if column(table, *names) is None:
        raise InputError(
            f"{table.path}: no column {' or '.join(names)}, which this format has; it has {', '.join(table.cells)}"
        )
    return optional(table, *names)


def optional(table: Table, *names: str) -> str:
    """SQL of the text of the first of the columns that has a value, null where the table has none of them."""
    cells = [table.cell(found) for name in names if (found := column(table, name)) is not None]
    return f"coalesce({', '.join(cells)})" if cells else NULL


def need_somewhere(tables: Iterable[Table], *names: str) -> None:
    """Raises InputError if no table has one of the columns, which files of JSON lack where no row has a value."""
    tables = list(tables)
    if not any(column(table, *names) for table in tables):
        needed(tables[0], *names)


def mapped(value: str, ours: dict[str, str]) -> str:
    """SQL: the publisher's event type as ours; an unknown one stays as it is, to be named in the error."""
    cases = " ".join(f"WHEN {quoted(theirs)} THEN {quoted(name)}" for theirs, name in ours.items())
    return f"CASE {value} {cases} ELSE {value} END"


def is_one_of(value: str, names: Iterable[str]) -> str:
    """SQL: whether a text is one of the names, false where it is null."""
    return f"coalesce({value} IN ({', '.join(map(quoted, names))}), false)"


def numbered(table: Table) -> Table:
    """The table, all of whose rows have their number, for formats in which the order of the rows means something."""
    rows = f"SELECT * REPLACE (coalesce(row, row_number() OVER ()) AS row) FROM ({table.rows})"
    return replace(table, rows=rows)


def refused(table: Table, condition: str, reason: str) -> Table:
    """The table, whose rows that meet a condition in SQL go to quarantine with that reason."""
    problem = f"CASE WHEN problem IS NULL AND {condition} THEN {quoted(reason)} ELSE problem END"
    return replace(table, rows=f"SELECT * REPLACE ({problem} AS problem) FROM ({table.rows})")


def json_of(text: str) -> str:
    """SQL: a text as JSON, null where it is none."""
    return f"CASE WHEN json_valid({text}) THEN CAST({text} AS JSON) END"


def searched_once(table: Table, *names: str) -> Table:
    """The table, each of whose rows is searched for those of the columns that it has, in whatever case, at once where
    rows are JSON, which else are parsed again for each column."""
    if not table.is_json:
        return table
    found = list(dict.fromkeys(spelled for name in names if (spelled := column(table, name)) is not None))
    paths = ", ".join(quoted(f"$.{json.dumps(name, ensure_ascii=False)}") for name in found)
    rows = f"SELECT *, json_extract_string(object, [{paths}]) AS found FROM ({table.rows})"
    cells = {name: f"found[{i}]" for i, name in enumerate(found, 1)}
    return replace(table, rows=rows, cells={**table.cells, **cells}) if found else table


def one_row_an_item(table: Table, products: str, keys: Iterable[str], condition: str) -> Table:
    """The table with a row for each element of the JSON array `products`, in the column `product` with the texts of
    those keys, for the rows that meet a condition in SQL; all others, and those whose array is empty, are one row
    without a product.

    The column `product_suffix` tells the rows of one row apart, and is empty where there is one.
    """
    shape = quoted(json.dumps([dict.fromkeys(keys, "VARCHAR")]))
    elements = f"CASE WHEN {condition} AND json_type({products}) = 'ARRAY' THEN json_transform({products}, {shape}) END"
    listed = f"SELECT *, coalesce(nullif({elements}, []), [NULL]) AS products FROM ({numbered(table).rows})"
    rows = f"SELECT *, unnest(products) AS product, unnest(range(len(products))) AS product_nth FROM ({listed})"
    suffix = "CASE WHEN len(products) > 1 THEN '-' || lpad(CAST(product_nth AS VARCHAR), 4, '0') ELSE '' END"
    return replace(table, rows=f"SELECT *, {suffix} AS product_suffix FROM ({rows})")


def of_product(name: str) -> str:
    """SQL of the text of one of the product's keys; see `one_row_an_item`."""
    return f"nullif(trim(product.{name}), '')"
