"""The prediction log: every answer as a row of Parquet, written by a thread of its own.

Clicks join it by session and time. It holds the features of the shown items as the ranker saw them; those of the other
candidates can be computed again from the state and the time of the item statistics.
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

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nextclick.files import written_whole
from nextclick.logs.parquet_log import day_of, partition, partitions
from nextclick.logs.prediction_log import FLUSH_SECONDS, PREDICTIONS, with_feature_names
from nextclick.serving.observability import DROPPED_PREDICTIONS, LOGGED_PREDICTIONS
from nextclick.serving.query import Answer
from nextclick.units import MS_PER_SECOND

MAX_WAITING = 20_000  # answers, some 150 MB; more are dropped, and counted
FILE_ROWS = 2048  # a file is written for so many answers, or after FLUSH_SECONDS
CHECK_SECONDS = 0.5  # between two checks of the queue
log = logging.getLogger(__name__)


class PredictionWriter:
    """Writes the answers of one bundle and day to `folder`/date=YYYY-MM-DD/, in files that appear whole; `folder` is
    SHADOW for what was not shown. Deletes days older than `days`."""

    def __init__(self, root: Path, days: int, folder: Path = PREDICTIONS) -> None:
        self._folder = root / folder
        self._days = days
        # not a queue.Queue: waking the writer at each answer would cost the next request more than the answer's row
        self._waiting: deque[Answer] = deque()
        self._stopped = threading.Event()
        self._writer = threading.Thread(target=self._write, name="prediction log", daemon=True)
        self._writer.start()

    def put(self, answer: Answer) -> None:
        if len(self._waiting) >= MAX_WAITING:
            DROPPED_PREDICTIONS.inc()
        else:
            self._waiting.append(answer)

    def close(self) -> None:
        """Write what is still waiting, then end."""
        self._stopped.set()
        self._writer.join()

    def _write(self) -> None:
        due = time.monotonic() + FLUSH_SECONDS
        while not self._stopped.wait(CHECK_SECONDS):
            if time.monotonic() >= due:
                self._write_oldest(len(self._waiting))
                due = time.monotonic() + FLUSH_SECONDS
            else:
                self._write_oldest(len(self._waiting) // FILE_ROWS * FILE_ROWS)  # the rest can wait for more
        self._write_oldest(len(self._waiting))

    def _write_oldest(self, count: int) -> None:
        """Write the oldest `count` answers."""
        for first in range(0, count, FILE_ROWS):
            answers = [self._waiting.popleft() for _ in range(min(FILE_ROWS, count - first))]
            try:
                self._write_files(answers)
            except Exception:  # the thread goes on; what it could not write is counted
                DROPPED_PREDICTIONS.inc(len(answers))
                log.exception("predictions not written")

    def _write_files(self, answers: list[Answer]) -> None:
        parts: dict[tuple[str, str], list[Answer]] = {}
        for answer in answers:
            date = datetime.fromtimestamp(answer.at_ms / MS_PER_SECOND, UTC).date().isoformat()
            parts.setdefault((date, answer.query.bundle.version), []).append(answer)
        for (date, version), part in parts.items():
            name = f"{version}-{os.getpid()}-{time.time_ns()}.parquet"
            with written_whole(partition(self._folder, date) / name) as scratch:
                pq.write_table(table_of(part), scratch, compression="zstd")
            LOGGED_PREDICTIONS.inc(len(part))
        self._delete_old_days()

    def _delete_old_days(self) -> None:
        """A clock that jumped ahead would have it delete all: nothing goes until a second day within `days` of now has
        answers, besides today."""
        now = datetime.now(UTC).date()
        oldest, today = (now - timedelta(days=self._days)).isoformat(), now.isoformat()
        folders = partitions(self._folder)
        if any(oldest <= day_of(folder) < today for folder in folders):
            for folder in folders:
                if day_of(folder) < oldest:
                    shutil.rmtree(folder, ignore_errors=True)


def table_of(answers: list[Answer]) -> pa.Table:
    """A row for each answer; all are of one bundle."""
    bundle = answers[0].query.bundle
    ids = pa.array(bundle.catalogue.ids, pa.string())

    def items(columns: list[np.ndarray]) -> pa.ListArray:
        names = pa.DictionaryArray.from_arrays(pa.array(np.concatenate(columns), pa.int32()), ids)
        return pa.ListArray.from_arrays(_offsets(columns), names)

    def numbers(columns: list[np.ndarray]) -> pa.ListArray:
        return pa.ListArray.from_arrays(_offsets(columns), pa.array(np.concatenate(columns), pa.float32()))

    rankings = [answer.ranking for answer in answers]
    counts = [np.count_nonzero(ranking.candidates >= 0) for ranking in rankings]
    return pa.table(
        {
            "request_id": [answer.query.request_id for answer in answers],
            "session_id": [answer.query.session_id for answer in answers],
            "moment": [answer.at_ms for answer in answers],
            "model_version": [bundle.version] * len(answers),
            "degraded": [answer.degraded for answer in answers],
            "stale": [answer.stale for answer in answers],
            "statistics_at": [answer.query.bundle.statistics_at for answer in answers],
            "state": [[click._asdict() for click in answer.state] for answer in answers],
            "candidates": items([ranking.candidates[:n] for ranking, n in zip(rankings, counts, strict=True)]),
            "scores": numbers([ranking.scores[:n] for ranking, n in zip(rankings, counts, strict=True)]),
            "shown": items([np.array(answer.items, np.int32) for answer in answers]),
            "features": numbers([ranking.features.ravel() for ranking in rankings]),
            "milliseconds": [answer.milliseconds.get("total") for answer in answers],
        },
        schema=with_feature_names(bundle.recommender.snapshot.feature_names),
    )


def _offsets(columns: list[np.ndarray]) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum([len(column) for column in columns])]), pa.int32())
