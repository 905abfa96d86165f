"""Reads each data set as its publisher ships it, as feeds of events and of items."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nextclick.errors import InputError
from nextclick.events.schema import ITEM_FIELDS, named, quoted
from nextclick.events.tables import Table, delimited, json_lines, parquet_files, table
from nextclick.params import Ingest

ENDINGS = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class Feed:
    """Events of one file. fields: SQL of the text of each field that the file has, by our name; `position` instead of
    `timestamp` if only the order is known. part: train, test, or None if the file's name does not say."""

    table: Table
    fields: dict[str, str]
    part: str | None = None


@dataclass(frozen=True)
class Source:
    """events: the feeds, in a fixed order. items: SQL queries that yield source_file, row, raw, problem and some of
    ITEM_FIELDS, as text."""

    events: list[Feed]
    items: list[str]


def open_source(params: Ingest, root: Path) -> Source:
    """The feeds of `params.path`, a path from `root` unless it is absolute. Raises InputError if a file or a column is
    missing."""
    path = root / params.path
    if not path.exists():
        raise InputError(f"{path}: no such file or folder (ingest.path)")
    if params.columns and params.format != "generic":
        raise InputError(f"ingest.columns is for ingest.format generic; {params.format} has columns of its own")
    return FORMATS[params.format](path, params)


def _generic(path: Path, params: Ingest) -> Source:
    unknown = set(params.columns) - {*OURS, *ITEM_FIELDS}
    if unknown:
        raise InputError(f"ingest.columns: {', '.join(sorted(unknown))}: no such field; there are {', '.join(OURS)}")
    files = [path] if path.is_file() else [f for stem in ("events", "train", "test") for f in _by_stem(path, stem)]
    partitioned = not files and any(parquet_files(path))
    if partitioned:
        files = [path]
    if not files:
        raise InputError(
            f"{path}: expected a file events.*, or train.* and test.*, with one of {', '.join(ENDINGS)}, "
            "or folders of Parquet files"
        )
    feeds = []
    for file in files:
        rows = table(file)
        fields = {
            ours: rows.cell(params.columns.get(ours, ours))
            for ours in OURS
            if ours in params.columns or ours in rows.cells or ours == "item_id"
        }
        part = file.stem if file.stem in ("train", "test") else None
        feeds.append(Feed(rows, fields, part))
    items = [
        _items(rows, {ours: params.columns.get(ours, ours) for ours in ITEM_FIELDS})
        for file in ([] if path.is_file() else _by_stem(path.parent if partitioned else path, "items"))
        for rows in [table(file)]
    ]
    return Source(feeds, items)


OURS = ("event_id", "session_id", "user_id", "item_id", "event_type", "timestamp", "position")


def _retailrocket(path: Path, _: Ingest) -> Source:
    rows = delimited(_one(path, "events.csv"), ",")
    kinds = {"view": "view", "addtocart": "cart", "transaction": "purchase"}
    fields = rows.fields(user_id="visitorid", item_id="itemid", timestamp="timestamp")
    feed = Feed(rows, fields | {"event_type": _mapped(rows.cell("event"), kinds)})
    items = []
    for file in sorted((path.parent if path.is_file() else path).glob("item_properties*.csv")):
        properties = delimited(file, ",")
        items.append(
            f"SELECT {_origin(properties)}, {properties.cell('itemid')} AS item_id, "
            f"{properties.cell('value')} AS category FROM ({properties.rows}) "
            f"WHERE problem IS NOT NULL OR {properties.cell('property')} = 'categoryid' "
            # a property is repeated whenever it may have changed; the first row counts
            f"QUALIFY problem IS NOT NULL OR row_number() OVER "
            f"(PARTITION BY item_id ORDER BY moment_ms({properties.cell('timestamp')}), row) = 1"
        )
    return Source([feed], items)


def _diginetica(path: Path, _: Ingest) -> Source:
    rows = delimited(_one(path, "train-item-views.csv"), ";")

    def cell(snake: str) -> str:  # in the files' first release session_id is sessionId
        head, _, tail = snake.partition("_")
        camel = head + tail.capitalize()
        return rows.cell(camel if camel in rows.cells else snake)

    day = f"epoch_ms(TRY_CAST({rows.cell('eventdate')} AS TIMESTAMP))"
    feed = Feed(
        rows,
        {
            "session_id": cell("session_id"),
            "user_id": f"nullif({cell('user_id')}, 'NA')",
            "item_id": cell("item_id"),
            "timestamp": f"CAST({day} + TRY_CAST({rows.cell('timeframe')} AS BIGINT) AS VARCHAR)",
        },
    )
    items = []
    if path.is_dir():
        for name, column, ours in (
            ("products.csv", "CAST(pow(2, TRY_CAST({} AS DOUBLE)) AS VARCHAR)", ("pricelog2", "price")),
            ("product-categories.csv", "{}", ("category", "category")),
        ):
            if (path / name).exists():
                rows = delimited(path / name, ";")
                theirs = next((c for c in (ours[0], "categoryId", "category_id") if c in rows.cells), ours[0])
                value = column.format(rows.cell(theirs))
                items.append(
                    f"SELECT {_origin(rows)}, {cell('item_id')} AS item_id, {value} AS {ours[1]} FROM ({rows.rows})"
                )
    return Source([feed], items)


def _yoochoose(path: Path, _: Ingest) -> Source:
    if path.is_file():
        path = path.parent
    columns = ["session", "timestamp", "item"]
    files = [("yoochoose-clicks.dat", [*columns, "category"], "view")]
    if (path / "yoochoose-buys.dat").exists():
        files.append(("yoochoose-buys.dat", [*columns, "price", "quantity"], "purchase"))
    feeds = []
    for name, header, kind in files:
        rows = delimited(_one(path, name), ",", header)
        fields = rows.fields(session_id="session", item_id="item", timestamp="timestamp")
        feeds.append(Feed(rows, fields | {"event_type": quoted(kind)}))
    return Source(feeds, [])


def _otto(path: Path, _: Ingest) -> Source:
    files = [path] if path.is_file() else sorted(path.glob("*.jsonl"))
    if not files:
        raise InputError(f"{path}: expected a file that ends in .jsonl")
    kinds = {"clicks": "view", "carts": "cart", "orders": "purchase"}
    feeds = []
    for file in files:
        sessions = json_lines(file)
        events = "coalesce(nullif(json_extract(object, '$.events[*]'), []), [NULL])"  # an empty session is a row too
        rows = (
            "SELECT row_number() OVER () AS row, coalesce(CAST(event AS VARCHAR), raw) AS raw, problem, object, event "
            f"FROM (SELECT raw, problem, object, unnest({events}) AS event FROM ({sessions.rows}))"
        )
        cells = {name: f"json_extract_string(event, '$.{name}')" for name in ("aid", "ts", "type")}
        flat = Table(file, rows, {"session": "json_extract_string(object, '$.session')", **cells})
        fields = flat.fields(session_id="session", item_id="aid", timestamp="ts")
        feeds.append(Feed(flat, fields | {"event_type": _mapped(flat.cell("type"), kinds)}))
    return Source(feeds, [])


def _movielens(path: Path, _: Ingest) -> Source:
    folder = path.parent if path.is_file() else path
    ours, items_ours = ("user_id", "item_id", "timestamp"), ("item_id", "title", "category")
    for separator, (pattern, header, theirs), (items_pattern, items_header, items_theirs) in (
        (
            "::",
            ("ratings.dat", ["user", "item", "rating", "timestamp"], ("user", "item", "timestamp")),
            ("movies.dat", ["item", "title", "genres"], ("item", "title", "genres")),
        ),
        (
            ",",
            ("ratings.csv", None, ("userId", "movieId", "timestamp")),
            ("movies.csv", None, ("movieId", "title", "genres")),
        ),
        (
            "\t",
            ("*.inter", None, ("user_id:token", "item_id:token", "timestamp:float")),
            ("*.item", None, ("item_id:token", "movie_title:token_seq", "class:token_seq")),
        ),
    ):
        matches = sorted(folder.glob(pattern))
        if not matches or (path.is_file() and path not in matches):
            continue
        rows = delimited(path if path.is_file() else matches[0], separator, header)
        items = []
        for file in sorted(folder.glob(items_pattern)):
            films = delimited(file, separator, items_header, "latin-1" if file.suffix == ".dat" else "utf-8")
            items.append(_items(films, dict(zip(items_ours, items_theirs, strict=True))))
        return Source([Feed(rows, rows.fields(**dict(zip(ours, theirs, strict=True))))], items)
    raise InputError(f"{path}: expected ratings.dat, ratings.csv or a file that ends in .inter")


FORMATS: dict[str, Callable[[Path, Ingest], Source]] = {
    "generic": _generic,
    "retailrocket": _retailrocket,
    "diginetica": _diginetica,
    "yoochoose": _yoochoose,
    "otto": _otto,
    "movielens": _movielens,
}


def _by_stem(folder: Path, stem: str) -> Iterator[Path]:
    return (folder / f"{stem}{ending}" for ending in ENDINGS if (folder / f"{stem}{ending}").exists())


def _one(path: Path, name: str) -> Path:
    """The file of that name, or one named after it, as diginetica-train-item-views.sample.csv. Raises InputError unless
    there is exactly one."""
    if path.is_file():
        return path
    stem, ending = name.rsplit(".", 1)
    matches = [path / name] if (path / name).exists() else sorted(path.glob(f"*{stem}*.{ending}"))
    if len(matches) > 1:
        raise InputError(f"{path}: which one is meant: {', '.join(file.name for file in matches)}?")
    if not matches:
        raise InputError(f"{path / name}: no such file; this format has one of that name")
    return matches[0]


def _mapped(value: str, ours: dict[str, str]) -> str:
    """SQL: the publisher's event type as ours; an unknown one stays as it is, to be named in the error."""
    cases = " ".join(f"WHEN {quoted(theirs)} THEN {quoted(name)}" for theirs, name in ours.items())
    return f"CASE {value} {cases} ELSE {value} END"


def _items(rows: Table, columns: dict[str, str]) -> str:
    chosen = [
        f"{rows.cell(theirs)} AS {named(ours)}"
        for ours, theirs in columns.items()
        if theirs in rows.cells or ours == "item_id"
    ]
    return f"SELECT {_origin(rows)}, {', '.join(chosen)} FROM ({rows.rows})"


def _origin(rows: Table) -> str:
    return f"{quoted(rows.path.name)} AS source_file, row, raw, problem"
