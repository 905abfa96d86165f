"""Recognises the formats of published data sets by the names of their files and columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from nextclick.events.column_names import key


@dataclass(frozen=True)
class Sign:
    """What tells a format: a file of such a name, which has all of these columns, whatever their case and marks. If
    none are listed, the name is enough."""

    format: str
    file: str
    columns: str = ""


SIGNS = (
    Sign("retailrocket", "*events*.csv", "timestamp visitorid event itemid transactionid"),
    Sign("diginetica", "*train-item-views*.csv", "session_id user_id item_id timeframe eventdate"),
    Sign("yoochoose", "*yoochoose-clicks*.dat"),
    Sign("otto", "*.jsonl", "session events"),
    Sign("movielens", "ratings.dat"),
    Sign("movielens", "ratings.csv", "userId movieId rating timestamp"),
    Sign("movielens", "*.inter", "user_id item_id timestamp"),
)


def recognised(path: Path, columns_of: Callable[[Path], list[str]]) -> Sign | None:
    """The sign of the format that a file, or a file in a folder, has; None if it has none that is known.

    columns_of: reads the names of a file's columns.
    """
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    for sign in SIGNS:
        for file in files:
            if not fnmatch(file.name.lower(), sign.file.lower()):
                continue
            if not sign.columns or {*map(key, sign.columns.split())} <= {*map(key, columns_of(file))}:
                return sign
    return None
