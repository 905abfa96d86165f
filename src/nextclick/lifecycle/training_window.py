"""The newest days of the live log as a file of its own, which DVC keeps: what a retraining learns from does not change
while it learns, and can be read again when the log has forgotten it."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import duckdb

from nextclick.errors import InputError
from nextclick.events.schema import quoted
from nextclick.events.tables import lock_of, parquet_files
from nextclick.files import locked, scratch_folder
from nextclick.logs.event_log import LOG

FOLDER = Path("data/raw/window")


def newest_day(root: Path) -> date:
    """The day of the newest event, which is not over yet. Raises InputError where the log is empty."""
    days = sorted(path.name.removeprefix("date=") for path in (root / LOG).glob("date=*") if parquet_files(path))
    if not days:
        raise InputError(f"{root / LOG}: no live events; ingest.path asks for a window of them")
    return date.fromisoformat(days[-1])


def cut_window(root: Path, days: int, until: date) -> int:
    """Write the events of so many days before `until` to data/raw/window, each once and in the order of time, with what
    describes the items; returns how many there are. Raises InputError where there are none."""
    live, since = root / LOG, until - timedelta(days=days)
    with locked(lock_of(live), shared=True), scratch_folder(root / FOLDER.with_name(".window")) as scratch:
        files = [
            str(file)
            for file in parquet_files(live)
            if since.isoformat() <= file.parent.name.removeprefix("date=") < until.isoformat()
        ]
        if not files:
            raise InputError(f"{live}: no events from {since} to {until}")
        out = scratch / "events.parquet"
        with duckdb.connect(config={"threads": 1}) as database:
            database.execute("SET TimeZone = 'UTC'")
            database.execute(
                f"COPY (SELECT * EXCLUDE (arrived, late, file) FROM "
                f"read_parquet([{', '.join(map(quoted, files))}], hive_partitioning = false, filename = 'file') "
                "QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY timestamp, file, session_id) = 1 "
                f"ORDER BY timestamp, event_id) TO {quoted(str(out))} (FORMAT parquet)"
            )
            counted = database.execute(f"SELECT count(*) FROM read_parquet({quoted(str(out))})").fetchall()[0][0]
        (root / FOLDER).mkdir(parents=True, exist_ok=True)
        for described in (*live.parent.glob("items.*"), out):
            shutil.copy(described, scratch / f".{described.name}")
            (root / FOLDER / described.name).unlink(missing_ok=True)  # it may be a link into DVC's cache
            (scratch / f".{described.name}").replace(root / FOLDER / described.name)
    return int(counted)
