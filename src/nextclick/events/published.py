"""Reads each published data set as its publisher ships it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from nextclick.errors import InputError
from nextclick.events.feeds import Feed, Source
from nextclick.events.readers import Reader, Table
from nextclick.events.schema import quoted
from nextclick.params import Ingest


def _retailrocket(reader: Reader, path: Path, _: Ingest) -> Source:
    rows = reader.delimited(_one(path, "events.csv"), ",")
    kinds = {"view": "view", "addtocart": "cart", "transaction": "purchase"}
    fields = rows.fields(user_id="visitorid", item_id="itemid", timestamp="timestamp")
    feed = Feed(rows, fields | {"event_type": _mapped(rows.cell("event"), kinds)})
    items = []
    for file in sorted((path.parent if path.is_file() else path).glob("item_properties*.csv")):
        table = reader.delimited(file, ",")
        categories = replace(
            table,
            rows=f"SELECT * FROM ({table.rows}) WHERE {table.cell('property')} = 'categoryid' "
            # a property is repeated whenever it may have changed; the first row counts
            f"QUALIFY row_number() OVER (PARTITION BY {table.cell('itemid')} "
            f"ORDER BY moment_ms({table.cell('timestamp')}), row) = 1",
        )
        items.append(Feed(categories, categories.fields(item_id="itemid"), None, categories.fields(category="value")))
    return Source([feed], items)


def _diginetica(reader: Reader, path: Path, _: Ingest) -> Source:
    rows = reader.delimited(_one(path, "train-item-views.csv"), ";")

    def cell(snake: str) -> str:  # in the files' first release session_id is sessionId
        head, _, tail = snake.partition("_")
        camel = head + tail.capitalize()
        return rows.cell(camel if camel in rows.cells else snake)

    day = f"epoch_ms(TRY_CAST({rows.cell('eventdate')} AS TIMESTAMP))"
    feed = Feed(
        rows,
        {
            "event_type": "'view'",
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
                rows = reader.delimited(path / name, ";")
                theirs = next((c for c in (ours[0], "categoryId", "category_id") if c in rows.cells), ours[0])
                items.append(
                    Feed(rows, {"item_id": cell("item_id")}, None, {ours[1]: column.format(rows.cell(theirs))})
                )
    return Source([feed], items)


def _yoochoose(reader: Reader, path: Path, _: Ingest) -> Source:
    if path.is_file():
        path = path.parent
    columns = ["session", "timestamp", "item"]
    files = [("yoochoose-clicks.dat", [*columns, "category"], "view")]
    if (path / "yoochoose-buys.dat").exists():
        files.append(("yoochoose-buys.dat", [*columns, "price", "quantity"], "purchase"))
    feeds = []
    for name, header, kind in files:
        rows = reader.delimited(_one(path, name), ",", header)
        fields = rows.fields(session_id="session", item_id="item", timestamp="timestamp")
        feeds.append(Feed(rows, fields | {"event_type": quoted(kind)}))
    return Source(feeds, [])


def _otto(reader: Reader, path: Path, _: Ingest) -> Source:
    files = [path] if path.is_file() else sorted(path.glob("*.jsonl"))
    if not files:
        raise InputError(f"{path}: expected a file that ends in .jsonl")
    kinds = {"clicks": "view", "carts": "cart", "orders": "purchase"}
    feeds = []
    for file in files:
        sessions = reader.json_lines(file)
        events = "coalesce(nullif(json_extract(object, '$.events[*]'), []), [NULL])"  # an empty session is a row too
        rows = (
            "SELECT source_file, row_number() OVER () AS row, problem, coalesce(CAST(event AS VARCHAR), line) AS line, "
            f"object, event FROM (SELECT *, unnest({events}) AS event FROM ({sessions.rows}))"
        )
        cells = {name: f"json_extract_string(event, '$.{name}')" for name in ("aid", "ts", "type")}
        cells["session"] = "json_extract_string(object, '$.session')"
        flat = Table(file, rows, cells, sessions.raw)
        fields = flat.fields(session_id="session", item_id="aid", timestamp="ts")
        feeds.append(Feed(flat, fields | {"event_type": _mapped(flat.cell("type"), kinds)}))
    return Source(feeds, [])


def _movielens(reader: Reader, path: Path, _: Ingest) -> Source:
    folder = path.parent if path.is_file() else path
    for pattern, header, theirs, items_pattern, items_header, items_theirs, separator, quote, encoding in _MOVIELENS:
        matches = sorted(folder.glob(pattern))
        if not matches or (path.is_file() and path not in matches):
            continue
        rows = reader.delimited(path if path.is_file() else matches[0], separator, header, quote=quote)
        items = []
        for file in sorted(folder.glob(items_pattern)):
            films = reader.delimited(file, separator, items_header, encoding, quote)
            cells = films.fields(**dict(zip(("item_id", "title", "category"), items_theirs, strict=True)))
            items.append(Feed(films, {"item_id": cells.pop("item_id")}, None, cells))
        return Source(
            [
                Feed(
                    rows,
                    rows.fields(**dict(zip(("user_id", "item_id", "timestamp"), theirs, strict=True))),
                    untyped="true",
                )
            ],
            items,
        )
    raise InputError(f"{path}: expected ratings.dat, ratings.csv or a file that ends in .inter")


# of each release: its ratings with their columns, its films with theirs, the separator, the quote and the films' encoding
_MOVIELENS: tuple[
    tuple[str, list[str] | None, tuple[str, ...], str, list[str] | None, tuple[str, ...], str, str, str], ...
] = (
    (
        "ratings.dat",
        ["user", "item", "rating", "timestamp"],
        ("user", "item", "timestamp"),
        "movies.dat",
        ["item", "title", "genres"],
        ("item", "title", "genres"),
        "::",
        "",
        "latin-1",
    ),
    (
        "ratings.csv",
        None,
        ("userId", "movieId", "timestamp"),
        "movies.csv",
        None,
        ("movieId", "title", "genres"),
        ",",
        '"',
        "utf-8",
    ),
    (
        "*.inter",
        None,
        ("user_id:token", "item_id:token", "timestamp:float"),
        "*.item",
        None,
        ("item_id:token", "movie_title:token_seq", "class:token_seq"),
        "\t",
        "",
        "utf-8",
    ),
)


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


FORMATS: dict[str, Callable[[Reader, Path, Ingest], Source]] = {
    "retailrocket": _retailrocket,
    "diginetica": _diginetica,
    "yoochoose": _yoochoose,
    "otto": _otto,
    "movielens": _movielens,
}
