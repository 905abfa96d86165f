"""Item statistics of live events on disk: a file for each version, named by the time at which it was published."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from nextclick.errors import InputError
from nextclick.events.sessions import Vocabulary
from nextclick.features.item_statistics import ItemStatistics
from nextclick.features.store.offline import statistics_of
from nextclick.files import written_whole
from nextclick.units import MS_PER_HOUR

CLOCK_SKEW_MS = MS_PER_HOUR  # by which the clocks of those who publish and read may differ
STATISTICS = Path("data/live/statistics")


def published_versions(root: Path) -> list[Path]:
    """The files of the versions, oldest first. Those that are yet to come, which only a clock that was ahead can have
    written, are left out: the newest of them would keep all others from being published and used."""
    now = time.time_ns() // 1_000_000 + CLOCK_SKEW_MS
    files = (root / STATISTICS).glob("[!.]*.parquet")
    return sorted((file for file in files if published_at(file) <= now), key=published_at)


def published_at(version: Path) -> int:
    """When a version was published, in ms since 1970 UTC."""
    return int(version.stem)


def write_version(root: Path, at_ms: int, rows: pd.DataFrame) -> Path:
    """Write a version, rows of the view item_statistics, in one step; returns its file."""
    path = root / STATISTICS / f"{at_ms}.parquet"
    with written_whole(path) as scratch:
        rows.to_parquet(scratch, index=False)
    return path


def read_version(file: Path, vocabulary: Vocabulary, bundled: ItemStatistics) -> ItemStatistics:
    """The statistics of a version for the items of a bundle, which has statistics of its own (`bundled`).

    Raises InputError, naming the file, if it cannot be read or counts fewer clicks than the bundle.
    """
    try:
        statistics = statistics_of(pq.read_table(file), vocabulary, bundled)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{file}: no item statistics of this shop: {error}") from error
    if statistics.clicks.sum() < bundled.clicks.sum():
        raise InputError(f"{file}: knows of fewer clicks than the bundle: data/interim was missing when it was made")
    return statistics
