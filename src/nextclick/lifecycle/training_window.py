"""Cuts the newest days of the live log into a file of its own, which DVC versions: what a retraining learns from does
not change while it learns, and can be read again when the log no longer holds it."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

from nextclick.errors import InputError
from nextclick.events.tables import lock_of
from nextclick.files import locked, scratch_folder
from nextclick.logs.event_log import LIVE_EVENTS, write_events_once
from nextclick.logs.parquet_log import files_of_days

TRAINING_WINDOW = Path("data/raw/window")


def cut_window(root: Path, days: int, until: date) -> int:
    """Write the events of so many days before `until` to data/raw/window, each once and in the order of time, with what
    describes the items; returns how many there are. Raises InputError if there are none."""
    live, since = root / LIVE_EVENTS, until - timedelta(days=days)
    with locked(lock_of(live), shared=True), scratch_folder(root / TRAINING_WINDOW.with_name(".window")) as scratch:
        files = files_of_days(live, since, until - timedelta(days=1))
        if not files:
            raise InputError(f"{live}: no events from {since} to {until}")
        out = scratch / "events.parquet"
        count = write_events_once(files, out)
        (root / TRAINING_WINDOW).mkdir(parents=True, exist_ok=True)
        for described in (*live.parent.glob("items.*"), out):
            shutil.copy(described, scratch / f".{described.name}")
            (root / TRAINING_WINDOW / described.name).unlink(missing_ok=True)  # it may be a link into DVC's cache
            (scratch / f".{described.name}").replace(root / TRAINING_WINDOW / described.name)
    return count
