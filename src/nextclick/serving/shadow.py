"""What another bundle would have shown: computed after the answer by a thread of its own, logged and never shown."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import replace

import numpy as np
from numba import set_num_threads

from nextclick.features.store.online import StoredState
from nextclick.serving.loaded_bundle import LoadedBundle
from nextclick.serving.observability import DROPPED_SHADOWS
from nextclick.serving.prediction_writer import PredictionWriter
from nextclick.serving.query import Query
from nextclick.serving.recommend import recommend

MAX_WAITING = 2_000  # queries; more are dropped, and counted
CHECK_SECONDS = 0.05  # between two checks of the queue
log = logging.getLogger(__name__)


class Shadow:
    """predictions: a writer of the shadow's own, apart from that of the answers that were shown."""

    def __init__(self, predictions: PredictionWriter, max_staleness_ms: float) -> None:
        self._predictions = predictions
        self._max_staleness_ms = max_staleness_ms
        # not a queue.Queue: waking the thread at each answer would cost the next request
        self._waiting: deque[tuple[Query, StoredState, int]] = deque()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def put(self, bundle: LoadedBundle, query: Query, session: StoredState, at_ms: int) -> None:
        """Let `bundle` answer a query too, from the same stored session."""
        if len(self._waiting) >= MAX_WAITING:
            DROPPED_SHADOWS.inc()
            return
        ids = np.array([query.bundle.catalogue.ids[item] for item in query.filters.exclude], np.str_)
        excluded = bundle.recommender.snapshot.vocabulary.indices(ids)
        filters = replace(query.filters, exclude=tuple(excluded[excluded >= 0].tolist()))
        self._waiting.append((replace(query, bundle=bundle, filters=filters), session, at_ms))

    def close(self) -> None:
        """Compute what is still waiting, then end."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        set_num_threads(1)  # holds for this thread
        while not self._stopped.wait(CHECK_SECONDS):
            self._compute_waiting()
        self._compute_waiting()

    def _compute_waiting(self) -> None:
        while self._waiting:
            query, session, at_ms = self._waiting.popleft()
            try:
                (answer,) = recommend([query], [session], at_ms, self._max_staleness_ms)
                self._predictions.put(answer)
            except Exception:  # a shadow that fails degrades no answer; it is counted
                DROPPED_SHADOWS.inc()
                log.exception("shadow failed")
