"""In which format texts of times are written, where it is none that is read without being named."""

from __future__ import annotations

import duckdb

from nextclick.events.schema import EARLIEST_MS, quoted
from nextclick.units import MS_PER_DAY

_CLOCKS = ("", " %H:%M:%S", " %H:%M", " %H:%M:%S.%g", " %I:%M:%S %p", " %I:%M %p", ", %H:%M:%S", ", %I:%M:%S %p")
_DATES = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y")
_NAMED = ("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d %Y")
FORMATS = (
    *(date + clock for date in (*_DATES, *_NAMED) for clock in _CLOCKS),
    *("%Y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m%d", "%Y%m%d %H:%M:%S", "%Y%m%d-%H%M%S", "%Y%m%dT%H%M%S"),
    *("%d/%b/%Y:%H:%M:%S %z", "%d/%b/%Y:%H:%M:%S", "%Y-%m-%d-%H.%M.%S", "%Y.%m.%d %H:%M:%S", "%Y.%m.%d"),
    *("%a %b %d %H:%M:%S %Y", "%a, %d %b %Y %H:%M:%S"),
)
FIRST_VALUES = 200  # with which all formats are tried
NEARLY_ALL = 0.98  # of the values; the others are likely mistakes, and end in quarantine


def time_formats(database: duckdb.DuckDBPyConnection, alias: str) -> list[str]:
    """The formats that fit most of a column's values in the table `sample`, and fit nearly all: two where day and month
    cannot be told apart."""
    fitting = _fitting(database, alias, FORMATS, FIRST_VALUES)
    shares = _fitting(database, alias, tuple(fitting), None) if fitting else {}
    best = max(shares.values(), default=0.0)
    # a year of four digits is also two, followed by a rest that is none: the format with more of them is meant
    return [one for one, share in shares.items() if share == best]


def _fitting(
    database: duckdb.DuckDBPyConnection, alias: str, formats: tuple[str, ...], most: int | None
) -> dict[str, float]:
    moments = ", ".join(
        f"avg(CAST(coalesce(epoch_ms(CAST(try_strptime(v, {quoted(one)}) AS TIMESTAMPTZ)) BETWEEN {EARLIEST_MS} "
        f"AND epoch_ms(now()) + {MS_PER_DAY}, false) AS INTEGER))"
        for one in formats
    )
    values = f"SELECT {alias} AS v FROM sample WHERE {alias} IS NOT NULL {f'LIMIT {most}' if most else ''}"
    shares = database.execute(f"SELECT {moments} FROM ({values})").fetchall()[0]
    return {one: share for one, share in zip(formats, shares, strict=True) if share is not None and share >= NEARLY_ALL}


def day_first(one: str) -> str:
    """What a format has first, in words."""
    return "the day first" if one.startswith("%d") else "the month first" if one[:2] in ("%m", "%b", "%B") else one
