"""Looks at the first rows of files: what each of their columns holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from nextclick.errors import InputError
from nextclick.events.look.column_names import EVENT_WORDS
from nextclick.events.readers import Table
from nextclick.events.schema import EARLIEST_MS, printable, quoted
from nextclick.events.text_files import endings, not_utf8, unpacking
from nextclick.units import MS_PER_DAY

SAMPLE_ROWS = 100_000
HEAD_BYTES = 32 * 2**20  # of a text file, in which its part of the sample lies
FEW = 5_000  # rows at which one looks where it takes longer
DEPTH = 3  # of objects in objects whose parts are columns
SHOWN = 3
_NUMBER = "'-?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?'"


@dataclass(frozen=True)
class Column:
    """What a sample tells of a column. All shares are of the rows that have a value.

    alias: its name in the table `sample`. examples: some values. filled: share of rows that have one. distinct, rows:
    how many values and rows there are. numeric, fractions, moments: shares of numbers, of numbers with a fraction, and
    of times that can be read and are likely. timed: whether the column is one of times. daily: whether all times are
    midnight. words: share of values that are words for events. objects: share of objects and of lists of them.
    """

    name: str
    alias: str
    examples: tuple[str, ...]
    filled: float
    distinct: int
    rows: int
    numeric: float
    fractions: float
    moments: float
    timed: bool
    daily: bool
    words: float
    objects: float

    @property
    def unique(self) -> bool:
        """Whether no value, or next to none, occurs twice."""
        return self.distinct >= 0.999 * self.rows > 0

    @property
    def shown(self) -> str:
        """The examples on one line."""
        return ", ".join(one if len(one) <= 30 else one[:29] + "…" for one in map(printable, self.examples)) or "empty"


def head_of(path: Path, root: Path, scratch: Path) -> tuple[Path, Path]:
    """A file in which to look for the columns of a large text file, and the folder from which its path is the same."""
    if endings(path)[0] == ".parquet" or (not endings(path)[1] and path.stat().st_size <= HEAD_BYTES):
        return path, root
    with unpacking(path) as file:
        head = b""
        while len(head) < HEAD_BYTES and (more := file.read(HEAD_BYTES - len(head))):
            head += more
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[" or head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return path, root  # one array, or text of wide letters: neither can be cut at a line end
    if len(head) == HEAD_BYTES:
        head = head[: head.rfind(b"\n") + 1] or head
    copy = scratch / path.relative_to(root)
    copy = copy.with_name(copy.name.removesuffix(path.suffix)) if endings(path)[1] else copy
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(head)
    return copy, scratch


def columns_of(database: duckdb.DuckDBPyConnection, tables: list[Table]) -> list[Column]:
    """The columns of the tables' first rows, which become the table `sample`.

    Raises EncodingError if a file is not in its encoding, and InputError if no row can be read.
    """
    database.execute("CREATE OR REPLACE TABLE sample (source_file VARCHAR)")
    aliases: dict[str, str] = {}
    for table in tables:
        _insert(database, table, {name: name for name in table.cells}, aliases, SAMPLE_ROWS // len(tables))
    for _ in range(DEPTH - 1):
        _insert_parts(database, tables, aliases)
    if not database.execute("SELECT count(*) FROM sample").fetchall()[0][0]:
        raise _unread(database, tables)
    timed = {name for table in tables for name in table.times}
    columns = [_column(database, name, alias, name in timed) for name, alias in aliases.items()]
    return columns


def _insert(
    database: duckdb.DuckDBPyConnection, table: Table, names: dict[str, str], aliases: dict[str, str], rows: int
) -> None:
    for name in names:
        if name not in aliases:
            aliases[name] = f"x{len(aliases)}"
            database.execute(f"ALTER TABLE sample ADD COLUMN {aliases[name]} VARCHAR")
    cells = ", ".join(f"{table.cell(theirs)} AS {aliases[name]}" for name, theirs in names.items())
    database.execute(
        f"INSERT INTO sample BY NAME SELECT source_file, {cells} FROM ({table.rows}) WHERE problem IS NULL LIMIT {rows}"
    )
    if table.unreadable and table.text:
        unreadable = f"SELECT min(line) FROM ({table.unreadable}) WHERE problem = 'invalid encoding'"
        wrong = database.execute(unreadable).fetchall()[0][0]
        if wrong is not None:
            raise not_utf8(table.path, table.text, wrong)


def _unread(database: duckdb.DuckDBPyConnection, tables: list[Table]) -> InputError:
    """The error of tables of which no row could be read, with an example."""
    for table in tables:
        if table.unreadable:
            query = f"SELECT line, problem, raw[:{FEW}] FROM ({table.unreadable}) ORDER BY line LIMIT 1"
            for line, problem, raw in database.execute(query).fetchall():
                return InputError(f"{table.path}: none of its first rows can be read; row {line}: {problem}: {raw}")
    return InputError(f"{tables[0].path}: holds no rows; expected events")


def _insert_parts(database: duckdb.DuckDBPyConnection, tables: list[Table], aliases: dict[str, str]) -> None:
    """Add the parts of the columns that hold objects, such as user.id, as columns of their own."""
    nested = {name for table in tables for name in table.nested}
    for name, alias in list(aliases.items()):
        if name.partition(".")[0] not in nested:
            continue
        objects = f"SELECT {alias} AS cell FROM sample WHERE json_valid({alias}) AND json_type({alias}) = 'OBJECT'"
        keys = database.execute(
            f"SELECT DISTINCT unnest(json_keys(cell)) AS key FROM ({objects} LIMIT {FEW}) ORDER BY 1"
        ).fetchall()
        for (inner,) in keys:
            part = f"{name}.{inner}"
            if part in aliases or "." in inner:
                continue
            aliases[part] = f"x{len(aliases)}"
            database.execute(f"ALTER TABLE sample ADD COLUMN {aliases[part]} VARCHAR")
            value = f"json_extract_string({alias}, [{quoted('/' + inner.replace('~', '~0').replace('/', '~1'))}])[1]"
            database.execute(f"UPDATE sample SET {aliases[part]} = nullif(trim({value}), '') WHERE json_valid({alias})")


def _column(database: duckdb.DuckDBPyConnection, name: str, alias: str, timed: bool) -> Column:
    words = ", ".join(map(quoted, sorted(EVENT_WORDS)))
    moment = "TRY_CAST(v AS BIGINT)" if timed else "moment_ms(v)"
    likely = f"{moment} BETWEEN {EARLIEST_MS} AND epoch_ms(now()) + {MS_PER_DAY}"
    filled, rows, distinct = database.execute(
        f"SELECT coalesce(count({alias}) / count(*), 0), count({alias}), count(DISTINCT {alias}) FROM sample"
    ).fetchall()[0]
    shares = ", ".join(
        f"coalesce(avg(CAST(coalesce({is_so}, false) AS INTEGER)), 0)"
        for is_so in (
            f"regexp_full_match(v, {_NUMBER})",
            f"regexp_full_match(v, {_NUMBER}) AND TRY_CAST(v AS DOUBLE) <> trunc(TRY_CAST(v AS DOUBLE))",
            likely,
            f"lower(regexp_replace(v, '[^\\p{{L}}\\p{{N}}]', '', 'g')) IN ({words})",
            "regexp_matches(v, '^\\[? *\\{')",
        )
    )
    values = (
        f"SELECT {alias} AS v FROM sample WHERE {alias} IS NOT NULL USING SAMPLE reservoir({FEW} ROWS) REPEATABLE (1)"
    )
    numeric, fractions, moments, of_words, objects, daily = database.execute(
        f"SELECT {shares}, coalesce(bool_and({moment} % {MS_PER_DAY} = 0), false) FROM ({values})"
    ).fetchall()[0]
    examples = database.execute(
        f"SELECT {alias} FROM sample WHERE {alias} IS NOT NULL GROUP BY 1 ORDER BY min(rowid) LIMIT {SHOWN}"
    ).fetchall()
    shown = tuple(example for (example,) in examples)
    return Column(
        name, alias, shown, filled, distinct, rows, numeric, fractions, moments, timed, daily, of_words, objects
    )


def share_of_short(database: duckdb.DuckDBPyConnection, alias: str, moment: str | None) -> float | None:
    """Of the values that occur again, the share whose rows all lie within a day or, without times, side by side: near 1
    for sessions, low for items. None if too few rows could tell. moment: SQL of a row's time in ms."""
    if moment is None:
        close = "max(nth) - min(nth) + 1 = count(*)"
        rows = f"SELECT {alias} AS v, rowid AS nth FROM sample"
    else:
        close = f"max(nth) - min(nth) <= {MS_PER_DAY}"
        rows = f"SELECT {alias} AS v, {moment} AS nth FROM sample"
        span = database.execute(f"SELECT max(nth) - min(nth) FROM ({rows})").fetchall()[0][0]
        if span is None or span < 3 * MS_PER_DAY:
            return None
    again, share = database.execute(
        f"SELECT count(*), avg(CAST(close AS INTEGER)) FROM (SELECT {close} AS close FROM ({rows}) "
        "WHERE v IS NOT NULL AND nth IS NOT NULL GROUP BY v HAVING count(*) > 1)"
    ).fetchall()[0]
    return share if again >= 20 else None


def share_that(database: duckdb.DuckDBPyConnection, alias: str, condition: str) -> float:
    """The share of a column's values, `v` in the condition, of which it is true; 0 if there is none."""
    query = (
        f"SELECT coalesce(avg(CAST(coalesce({condition}, false) AS INTEGER)), 0) FROM (SELECT {alias} AS v FROM sample)"
    )
    return database.execute(f"{query} WHERE v IS NOT NULL").fetchall()[0][0]


def type_counts(database: duckdb.DuckDBPyConnection, alias: str, item: str | None) -> dict[str, int]:
    """How often each value occurs, in rows that have an item."""
    of_items = f"AND {item} IS NOT NULL" if item else ""
    return dict(
        database.execute(
            f"SELECT {alias}, count(*) FROM sample WHERE {alias} IS NOT NULL {of_items} GROUP BY 1 ORDER BY 2 DESC, 1"
        ).fetchall()
    )


def evenly(files: list[Path], most: int) -> Iterable[Path]:
    """At most so many of the files, from the first to the last."""
    if len(files) <= most:
        return files
    return [files[i * (len(files) - 1) // (most - 1)] for i in range(most)]
