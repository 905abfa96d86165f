"""Splits events into those of the training and those of the evaluation, by time or by file; sessions stay whole."""

from __future__ import annotations

from pathlib import Path

import duckdb

from nextclick.errors import InputError
from nextclick.events.click_order import positioned
from nextclick.events.ingest import connect
from nextclick.events.schema import quoted
from nextclick.events.tables import write
from nextclick.files import move_files, scratch_folder
from nextclick.params import Split
from nextclick.units import MS_PER_HOUR

PARTS = ("train", "test", "embargoed")


def split(events: Path, params: Split, out: Path) -> dict:
    """Write train.parquet, test.parquet and embargoed.parquet, in the columns of `events`; returns the counts.

    By time: the test window is the last `test_days`. Sessions that ended before it are for training; those that began
    `embargo_hours` or more after it opens are for the test; all others, through which one could learn of the other, are
    embargoed. By file: by the names train.* and test.* of the source.

    Raises InputError if no session is left for the training or for the test.
    """
    with scratch_folder(out / ".scratch-split") as scratch, connect(scratch) as connection:
        try:
            connection.execute(f"CREATE VIEW events AS FROM {positioned(f'read_parquet({quoted(str(events))})')}")
        except duckdb.Error as error:
            raise InputError(f"{events}: not a Parquet file that ingest wrote: {str(error).splitlines()[0]}") from error
        if params.by == "file":
            side = "coalesce(min(part), 'embargoed')"
        else:
            opens = f"(SELECT max(epoch_ms(timestamp)) - {int(params.test_days * 24 * MS_PER_HOUR)} FROM events)"
            side = (
                f"CASE WHEN max(epoch_ms(timestamp)) < {opens} THEN 'train' "
                f"WHEN min(epoch_ms(timestamp)) >= {opens} + {int(params.embargo_hours * MS_PER_HOUR)} THEN 'test' "
                "ELSE 'embargoed' END"
            )
        connection.execute(
            f"CREATE TABLE sides AS SELECT session_id, max(timestamp) AS ended, count(*) AS events, {side} AS side "
            "FROM events GROUP BY session_id"
        )
        counts = {}
        for part in PARTS:
            counts[f"{part}_sessions"], counts[f"{part}_events"] = connection.execute(
                f"SELECT count(*), coalesce(sum(events), 0)::BIGINT FROM sides WHERE side = '{part}'"
            ).fetchall()[0]
        for part in ("train", "test"):
            if not counts[f"{part}_sessions"]:
                change = f"test_days (now {params.test_days})" if params.by == "time" else "by (now file)"
                first, last = connection.execute("SELECT min(timestamp), max(timestamp) FROM events").fetchall()[0]
                raise InputError(
                    f"{events}: the split leaves no sessions to {part}: {counts}; change split.{change}, or see "
                    f"whether its first event belongs on {first:%Y-%m-%d}, its last on {last:%Y-%m-%d}"
                )
        for part in PARTS:
            write(
                connection,
                f"SELECT events.* FROM events JOIN sides USING (session_id) WHERE side = '{part}' "
                "ORDER BY ended, session_id, timestamp, position, event_id",
                scratch / f"{part}.parquet",
            )
        move_files(tuple(f"{part}.parquet" for part in PARTS), scratch, out)
    return counts
