"""What another bundle would have shown: computed after the answer by a thread of its own, logged and never shown."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numba import set_num_threads

from nextclick.features.store.online import StoredState
from nextclick.serving.loaded_bundle import Model
from nextclick.serving.metrics import DROPPED_SHADOWS

if TYPE_CHECKING:
    from nextclick.serving.recommend import Engine, Query

MOST_WAITING = 2_000  # queries; more are dropped, and counted
LOOK_EVERY = 0.05  # seconds
log = logging.getLogger(__name__)


class Shadow:
    """engine: one of the shadow's own, whose prediction log is apart from that of the lists that were shown."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # not a queue.Queue: waking the thread at each answer would cost the next request
        self._waiting: deque[tuple[Query, StoredState, int]] = deque()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def put(self, model: Model, query: Query, known: StoredState, now: int) -> None:
        """query: as it was answered. known: what was read of its session."""
        if len(self._waiting) >= MOST_WAITING:
            DROPPED_SHADOWS.inc()
            return
        ids = np.array([query.model.shop.ids[item] for item in query.filters.exclude], np.str_)
        excluded = model.recommender.snapshot.vocabulary.numbers(ids)
        filters = replace(query.filters, exclude=tuple(excluded[excluded >= 0].tolist()))
        self._waiting.append((replace(query, model=model, filters=filters), known, now))

    def close(self) -> None:
        """Compute what is left."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        set_num_threads(1)  # holds for this thread
        while not self._stopped.wait(LOOK_EVERY):
            self._empty()
        self._empty()

    def _empty(self) -> None:
        while self._waiting:
            query, known, now = self._waiting.popleft()
            try:
                self._engine.rank([query], [known], True, now)
            except Exception:  # a shadow that fails costs nobody a list; it is counted
                DROPPED_SHADOWS.inc()
                log.exception("shadow failed")
