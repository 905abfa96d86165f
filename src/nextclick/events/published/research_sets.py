"""Reads the data sets on which papers measure recommenders, as their publishers ship them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from nextclick.errors import InputError
from nextclick.events.feeds import Feed, Source
from nextclick.events.published.shapes import mapped, needed, numbered, one_file, only_file, optional, refused
from nextclick.events.readers import Reader, Table
from nextclick.events.schema import quoted
from nextclick.params import Ingest


def retailrocket(reader: Reader, path: Path, _: Ingest) -> Source:
    rows = reader.delimited(one_file(path, "events.csv"), ",")
    kinds = {"view": "view", "addtocart": "cart", "transaction": "purchase"}
    fields = rows.fields(user_id="visitorid", item_id="itemid", timestamp="timestamp")
    feed = Feed(rows, fields | {"event_type": mapped(rows.cell("event"), kinds)})
    items = []
    for file in sorted((path.parent if path.is_file() else path).glob("item_properties*.csv")):
        table = numbered(reader.delimited(file, ","))
        categories = replace(
            table,
            rows=f"SELECT * FROM ({table.rows}) WHERE {table.cell('property')} = 'categoryid' "
            # a property is repeated whenever it may have changed; the first row counts
            f"QUALIFY row_number() OVER (PARTITION BY {table.cell('itemid')} "
            f"ORDER BY moment_ms({table.cell('timestamp')}), row) = 1",
        )
        items.append(Feed(categories, categories.fields(item_id="itemid"), None, categories.fields(category="value")))
    return Source([feed], items)


def diginetica(reader: Reader, path: Path, _: Ingest) -> Source:
    rows = reader.delimited(one_file(path, "train-item-views.csv"), ";")

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


def yoochoose(reader: Reader, path: Path, _: Ingest) -> Source:
    if path.is_file():
        path = path.parent
    columns = ["session", "timestamp", "item"]
    files = [("yoochoose-clicks.dat", [*columns, "category"], "view")]
    if (path / "yoochoose-buys.dat").exists():
        files.append(("yoochoose-buys.dat", [*columns, "price", "quantity"], "purchase"))
    feeds = []
    for name, header, kind in files:
        rows = reader.delimited(one_file(path, name), ",", header)
        fields = rows.fields(session_id="session", item_id="item", timestamp="timestamp")
        feeds.append(Feed(rows, fields | {"event_type": quoted(kind)}))
    return Source(feeds, [])


def otto(reader: Reader, path: Path, _: Ingest) -> Source:
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
        feeds.append(Feed(flat, fields | {"event_type": mapped(flat.cell("type"), kinds)}))
    return Source(feeds, [])


@dataclass(frozen=True)
class _Release:
    """A form in which MovieLens was released: the files of ratings and of films, the columns of a rating's user, film
    and time and of a film's id, title and genres, and how both files are written. header: the columns of files that do
    not name them, ratings' and films'."""

    ratings: str
    films: str
    rating: tuple[str, str, str]
    film: tuple[str, str, str]
    separator: str
    quote: str = ""
    header: tuple[list[str] | None, list[str] | None] = (None, None)
    encoding_of_films: str = "utf-8"


_MOVIELENS = (
    _Release(
        ratings="ratings.dat",
        films="movies.dat",
        rating=("user", "item", "timestamp"),
        film=("item", "title", "genres"),
        separator="::",
        header=(["user", "item", "rating", "timestamp"], ["item", "title", "genres"]),
        encoding_of_films="latin-1",
    ),
    _Release(
        ratings="ratings.csv",
        films="movies.csv",
        rating=("userId", "movieId", "timestamp"),
        film=("movieId", "title", "genres"),
        separator=",",
        quote='"',
    ),
    _Release(
        ratings="*.inter",
        films="*.item",
        rating=("user_id:token", "item_id:token", "timestamp:float"),
        film=("item_id:token", "movie_title:token_seq", "class:token_seq"),
        separator="\t",
    ),
)


def movielens(reader: Reader, path: Path, _: Ingest) -> Source:
    """MovieLens in any of its releases, or as RecBole has it."""
    folder = path.parent if path.is_file() else path
    for release in _MOVIELENS:
        matches = sorted(folder.glob(release.ratings))
        if not matches or (path.is_file() and path not in matches):
            continue
        of_ratings, of_films = release.header
        rows = reader.delimited(
            path if path.is_file() else matches[0], release.separator, of_ratings, quote=release.quote
        )
        user, item, time = release.rating
        events = Feed(rows, rows.fields(user_id=user, item_id=item, timestamp=time), untyped="true")
        items = []
        for file in sorted(folder.glob(release.films)):
            films = reader.delimited(file, release.separator, of_films, release.encoding_of_films, release.quote)
            item, title, genres = release.film
            items.append(Feed(films, films.fields(item_id=item), None, films.fields(title=title, category=genres)))
        return Source([events], items)
    raise InputError(f"{path}: expected ratings.dat, ratings.csv or a file that ends in .inter")


def lastfm_1k(reader: Reader, path: Path, _: Ingest) -> Source:
    """Last.fm 1K: the tracks that a thousand people heard. A track without an id is known by its artist and name."""
    header = ["user", "time", "artist_id", "artist", "track_id", "track"]
    file = one_file(path, "userid-timestamp-artid-artname-traid-traname.tsv")
    rows = reader.delimited(file, "\t", header, quote="")
    title = f"{rows.cell('artist')} || ' \u2013 ' || {rows.cell('track')}"
    fields = rows.fields(user_id="user", timestamp="time")
    fields["item_id"] = f"coalesce({rows.cell('track_id')}, {title})"
    return Source([Feed(rows, fields, attributes={"title": title, "brand": rows.cell("artist")}, untyped="true")], [])


def tenrec(reader: Reader, path: Path, _: Ingest) -> Source:
    """Tenrec's videos or articles: what was shown to users, in the order of the file, of which clicks are events."""
    rows = numbered(reader.delimited(only_file(path, "*.csv", "QK-video.csv"), ","))
    clicked = f"TRY_CAST({needed(rows, 'click')} AS DOUBLE)"
    user = needed(rows, "user_id")
    shown = refused(rows, f"({clicked} IN (0, 1)) IS NOT true", "click is neither 0 nor 1")
    fields = {
        "user_id": user,
        "item_id": needed(rows, "item_id"),
        "position": f"row_number() OVER (PARTITION BY {user} ORDER BY row)",
    }
    levels = [f"id_text({optional(rows, name)})" for name in ("video_category", "category_first", "category_second")]
    category = {"category": f"nullif(concat_ws('/', {', '.join(levels)}), '')"}
    left_out = f"CASE WHEN {clicked} = 0 THEN 'shown and not clicked' END"
    return Source([Feed(shown, fields, attributes=category, untyped="true", left_out=left_out)], [])
