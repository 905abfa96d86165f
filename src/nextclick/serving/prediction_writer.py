"""What was shown, to whom, and why: every answer as a row of Parquet, written by a thread of its own.

Clicks join it by session and moment; features are those of the shown items as the ranker saw them, and the state and
the moment of the item statistics are there to compute those of the other candidates again.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nextclick.events.session_state import SessionState
from nextclick.serving.loaded_bundle import Model
from nextclick.serving.metrics import DROPPED_PREDICTIONS, LOGGED_PREDICTIONS

FOLDER, SHADOW = Path("data/predictions"), Path("data/shadow")
MOST_WAITING = 20_000  # answers, some 150 MB; more are dropped, and counted
ROWS, SECONDS, LOOK_EVERY = 2048, 60.0, 0.5  # a file is written for so many answers, or after so long
CLICK = pa.struct(
    [("timestamp", pa.int64()), ("event_id", pa.string()), ("item_id", pa.string()), ("event_type", pa.int8())]
)
log = logging.getLogger(__name__)


class Prediction(NamedTuple):
    """moment: ms since 1970 UTC. candidates, scores: (width,), -1 and -inf behind the last. shown: item numbers, those
    that were ranked first; features: theirs, (n_ranked, n_features). milliseconds: see `Answer`; `total` comes last."""

    request_id: str
    session_id: str
    moment: int
    model: Model
    degraded: str | None
    stale: list[str]
    state: SessionState
    candidates: np.ndarray
    scores: np.ndarray
    shown: list[int]
    features: np.ndarray
    milliseconds: dict[str, float]


class PredictionLog:
    """Rows of one bundle and day go to FOLDER/date=YYYY-MM-DD/, in files that are whole when they are there; what was
    not shown goes to the folder SHADOW. Days older than `days` are deleted."""

    def __init__(self, root: Path, days: int, folder: Path = FOLDER) -> None:
        self._folder = root / folder
        self._days = days
        # not a queue.Queue: waking the writer at each answer would cost the next request more than the answer's row
        self._waiting: deque[Prediction] = deque()
        self._stopped = threading.Event()
        self._writer = threading.Thread(target=self._write, name="prediction log", daemon=True)
        self._writer.start()

    def put(self, prediction: Prediction) -> None:
        if len(self._waiting) >= MOST_WAITING:
            DROPPED_PREDICTIONS.inc()
        else:
            self._waiting.append(prediction)

    def close(self) -> None:
        """Write what is left."""
        self._stopped.set()
        self._writer.join()

    def _write(self) -> None:
        due = time.monotonic() + SECONDS
        while not self._stopped.wait(LOOK_EVERY):
            if time.monotonic() >= due:
                self._write_out(len(self._waiting))
                due = time.monotonic() + SECONDS
            else:
                self._write_out(len(self._waiting) // ROWS * ROWS)  # what is left, and what comes meanwhile, can wait
        self._write_out(len(self._waiting))

    def _write_out(self, count: int) -> None:
        """The oldest so many rows."""
        for first in range(0, count, ROWS):
            rows = [self._waiting.popleft() for _ in range(min(ROWS, count - first))]
            try:
                self._write_files(rows)
            except Exception:  # the thread goes on; what it could not write is counted
                DROPPED_PREDICTIONS.inc(len(rows))
                log.exception("predictions not written")

    def _write_files(self, rows: list[Prediction]) -> None:
        parts: dict[tuple[str, str], list[Prediction]] = {}
        for row in rows:
            date = datetime.fromtimestamp(row.moment / 1e3, UTC).date().isoformat()
            parts.setdefault((date, row.model.version), []).append(row)
        for (date, version), part in parts.items():
            folder = self._folder / f"date={date}"
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{version}-{os.getpid()}-{time.time_ns()}.parquet"
            pq.write_table(table_of(part), path.with_suffix(".part"), compression="zstd")
            path.with_suffix(".part").replace(path)
            LOGGED_PREDICTIONS.inc(len(part))
        self._forget()

    def _forget(self) -> None:
        oldest = (datetime.now(UTC).date() - timedelta(days=self._days)).isoformat()
        for folder in self._folder.glob("date=*"):
            if folder.name.removeprefix("date=") < oldest:
                shutil.rmtree(folder, ignore_errors=True)


def table_of(rows: list[Prediction]) -> pa.Table:
    """Answers of one bundle, a row each."""
    model = rows[0].model
    ids = pa.array(model.shop.ids, pa.string())

    def items(columns: list[np.ndarray]) -> pa.ListArray:
        names = pa.DictionaryArray.from_arrays(pa.array(np.concatenate(columns), pa.int32()), ids)
        return pa.ListArray.from_arrays(_offsets(columns), names)

    def numbers(columns: list[np.ndarray]) -> pa.ListArray:
        return pa.ListArray.from_arrays(_offsets(columns), pa.array(np.concatenate(columns), pa.float32()))

    found = [np.count_nonzero(row.candidates >= 0) for row in rows]
    return pa.table(
        {
            "request_id": pa.array([row.request_id for row in rows], pa.string()),
            "session_id": pa.array([row.session_id for row in rows], pa.string()),
            "moment": pa.array([row.moment for row in rows], pa.timestamp("ms", "UTC")),
            "model_version": pa.array([model.version] * len(rows), pa.string()),
            "degraded": pa.array([row.degraded for row in rows], pa.string()),
            "stale": pa.array([row.stale for row in rows], pa.list_(pa.string())),
            "statistics_at": pa.array([row.model.statistics_at for row in rows], pa.timestamp("ms", "UTC")),
            "state": pa.array([[click._asdict() for click in row.state] for row in rows], pa.list_(CLICK)),
            "candidates": items([row.candidates[:count] for row, count in zip(rows, found, strict=True)]),
            "scores": numbers([row.scores[:count] for row, count in zip(rows, found, strict=True)]),
            "shown": items([np.array(row.shown, np.int32) for row in rows]),
            "features": numbers([row.features.ravel() for row in rows]),
            "milliseconds": pa.array([row.milliseconds.get("total") for row in rows], pa.float32()),
        }
    ).replace_schema_metadata({"features": ",".join(model.recommender.snapshot.feature_names)})


def _offsets(columns: list[np.ndarray]) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum([len(column) for column in columns])]), pa.int32())
