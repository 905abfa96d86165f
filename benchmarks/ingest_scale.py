"""How long it takes to read and to split a log, and how much memory, as the log grows.

Example: python benchmarks/ingest_scale.py --events 50000000 --format csv

One JSON object a size on stdout. `plain_seconds` is what DuckDB takes to bring the same file into Parquet as it is,
measured in turns with ours; `ratio` is how many times as long ours takes. Memory is bounded: what does not fit goes to
disk, so 50 million events need some 10 GiB in the temporary folder (TMPDIR).
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import duckdb
import typer

from nextclick.events.ingest import ingest
from nextclick.events.split import split
from nextclick.params import Ingest, Split

SMALLER = (1_000_000, 5_000_000, 20_000_000)  # sizes to compare the largest with
# a month of sessions of ten events, a minute apart, over 200,000 items of unequal popularity, in no order of time
LOG = """
SELECT 'e' || lpad(CAST(event AS VARCHAR), 12, '0') AS event_id,
    's' || event // 10 AS session_id,
    'u' || hash(event // 10) % 1000000 AS user_id,
    'i' || CAST(floor(200000 * pow(hash(event) / 2e19, 3)) AS BIGINT) AS item_id,
    ['view', 'view', 'view', 'cart', 'purchase'][1 + CAST(hash(event, 1) % 5 AS BIGINT)] AS event_type,
    1767571200000 + hash(event // 10) % 2592000000 + event % 10 * 60000 AS timestamp
FROM range({events}) AS log(event)
"""


def main(
    events: Annotated[int, typer.Option(min=1, help="Of the largest log.")] = 50_000_000,
    format: Annotated[str, typer.Option(help="parquet or csv")] = "parquet",
) -> None:
    for size in (*(size for size in SMALLER if size < events), events):
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measured(size, Path(folder), format)), flush=True)


def measured(events: int, folder: Path, format: str) -> dict:
    log = folder / f"events.{format}"
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({LOG.format(events=events)}) TO '{log}'")
    before = in_own_process(plain, log, folder / "plain.parquet")[1]
    read, read_seconds, read_mib = in_own_process(ingest, Ingest(path=str(log)), folder, folder / "interim")
    after = in_own_process(plain, log, folder / "plain.parquet")[1]
    _, split_seconds, split_mib = in_own_process(split, folder / "interim/events.parquet", Split(), folder / "split")
    assert read["accepted"] == events
    file_mib = log.stat().st_size / 2**20
    return {
        "format": format,
        "events": events,
        "file_mib": round(file_mib),
        "ingest_seconds": round(read_seconds, 1),
        "ingest_mib_per_second": round(file_mib / read_seconds, 1),
        "plain_seconds": round((before + after) / 2, 1),
        "ratio": round(2 * read_seconds / (before + after), 2),
        "ingest_peak_mib": read_mib,
        "split_seconds": round(split_seconds, 1),
        "split_peak_mib": split_mib,
    }


def plain(log: Path, out: Path) -> dict:
    """Bring a file into Parquet by DuckDB alone."""
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT * FROM '{log}') TO '{out}' (FORMAT parquet)")
    return {}


def in_own_process(work: Callable[..., dict], *arguments: object) -> tuple[dict, float, int]:
    """The result, the seconds, and the peak memory in MiB of a process that does nothing else."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_timed, work, *arguments).result()


def _timed(work: Callable[..., dict], *arguments: object) -> tuple[dict, float, int]:
    start = time.perf_counter()
    result = work(*arguments)
    return result, time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    typer.run(main)
