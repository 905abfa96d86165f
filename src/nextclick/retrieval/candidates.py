"""From what is known of a session to a few hundred candidate items, with a score and a rank by each source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import get_num_threads, njit, prange

from nextclick.events.prefixes import Prefixes
from nextclick.retrieval.encoder import Encoder
from nextclick.retrieval.index import SessionIndex
from nextclick.retrieval.scores import N_SOURCES, SOURCES, score_items

WINDOW = 30  # the newest clicks that retrieval reads
ENCODER = N_SOURCES  # the column of the encoder's cosine, after those of the index
COLUMNS = (*SOURCES, "encoder")
FUSED = (0, 1, 7, 8, ENCODER)  # the columns whose ranks choose the candidates
FUSION_OFFSET = 10.0
UNRANKED = 1000.0  # the rank by a source that does not know the item


@dataclass(frozen=True)
class Candidates:
    """Candidates of n sessions, best first by the fusion of their ranks.

    items: (n, width) int32, -1 behind the last. scores, ranks: (n, width, len(COLUMNS)) float32; rank 0 is the best,
    UNRANKED where the source does not know the item. fusion: (n, width) float32.
    """

    items: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    fusion: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """(n, width) bool: where there is a candidate."""
        return self.items >= 0


@dataclass(frozen=True)
class Retriever:
    """Finds candidates. width: how many at most; nearest: how many of them the encoder may add;
    sample, neighbours: see `score_items`."""

    index: SessionIndex
    encoder: Encoder
    width: int = 200
    nearest: int = 150
    sample: int = 1000
    neighbours: int = 500

    def retrieve(self, prefixes: Prefixes) -> Candidates:
        index = self.index
        return Candidates(
            *_retrieve(
                prefixes.log.items,
                prefixes.starts,
                prefixes.ends,
                self.encoder.encode(prefixes),
                self.encoder.vectors,
                *(index.offsets, index.items, index.sessions, index.posting_offsets, index.posting_events),
                *(self.width, min(self.nearest, len(self.encoder.vectors)), self.sample, self.neighbours),
                get_num_threads(),
            )
        )


@njit(cache=True)
def known_clicks(items, start, end):
    """The last WINDOW clicks of a session on items of the vocabulary, oldest first."""
    clicks = np.empty(WINDOW, np.int32)
    place = WINDOW
    event = end - 1
    while event >= start and place > 0:
        if items[event] >= 0:
            place -= 1
            clicks[place] = items[event]
        event -= 1
    return clicks[place:]


@njit(cache=True)
def _nearest(cosines, wanted):
    """The `wanted` items of the highest cosine, in a binary heap whose root is the lowest of them."""
    heap = np.arange(wanted)
    for i in range(wanted // 2 - 1, -1, -1):
        _sink(heap, cosines, i)
    for item in range(wanted, len(cosines)):
        if cosines[item] > cosines[heap[0]]:
            heap[0] = item
            _sink(heap, cosines, 0)
    return heap


@njit(cache=True)
def _sink(heap, values, i):
    while True:
        lowest = i
        for child in (2 * i + 1, 2 * i + 2):
            if child < len(heap) and values[heap[child]] < values[heap[lowest]]:
                lowest = child
        if lowest == i:
            return
        heap[i], heap[lowest] = heap[lowest], heap[i]
        i = lowest


@njit(cache=True, parallel=True)
def _retrieve(
    log_items,
    starts,
    ends,
    session_vectors,
    vectors,
    offsets,
    items,
    sessions,
    posting_offsets,
    posting_events,
    width,
    nearest,
    sample,
    neighbours,
    threads,
):
    n = len(ends)
    n_items = len(vectors)
    chosen = np.full((n, width), -1, np.int32)
    chosen_scores = np.zeros((n, width, N_SOURCES + 1), np.float32)
    chosen_ranks = np.zeros((n, width, N_SOURCES + 1), np.float32)
    chosen_fusion = np.zeros((n, width), np.float32)
    for thread in prange(threads):  # each thread has its own scratch and takes every so-many-th session
        similarity = np.zeros(len(offsets), np.float32)
        matched = np.zeros(len(offsets), np.int64)
        touched_sessions = np.zeros(len(offsets), np.int64)
        scores = np.zeros((n_items, N_SOURCES + 1), np.float32)
        touched = np.zeros(n_items, np.int64)
        cosines = np.zeros(n_items, np.float32)
        for i in range(thread, n, threads):
            clicks = known_clicks(log_items, starts[i], ends[i])
            count = score_items(
                clicks,
                offsets,
                items,
                sessions,
                posting_offsets,
                posting_events,
                sample,
                neighbours,
                similarity,
                matched,
                touched_sessions,
                scores,
                touched,
            )
            np.dot(vectors, session_vectors[i], cosines)
            for item in _nearest(cosines, nearest):
                if scores[item, N_SOURCES] == 0:
                    scores[item, N_SOURCES] = 1
                    touched[count] = item
                    count += 1
            pool = np.sort(touched[:count])  # by item number, so that ties never depend on the way here
            values = np.empty((N_SOURCES + 1, count), np.float32)
            ranks = np.full((N_SOURCES + 1, count), UNRANKED, np.float32)
            fusion = np.zeros(count, np.float32)
            for p in range(count):
                for k in range(N_SOURCES):
                    values[k, p] = scores[pool[p], k]
                values[ENCODER, p] = cosines[pool[p]]
                scores[pool[p], :] = 0
            for k in range(N_SOURCES + 1):
                order = np.argsort(-values[k], kind="mergesort")
                for rank in range(count):
                    if values[k, order[rank]] > 0:
                        ranks[k, order[rank]] = min(rank, UNRANKED)
            for p in range(count):
                for k in FUSED:
                    if ranks[k, p] < UNRANKED:
                        fusion[p] += np.float32(1 / (FUSION_OFFSET + ranks[k, p]))
                if values[N_SOURCES - 1, p] > 0:  # own items are always candidates
                    fusion[p] += 1
            best = np.argsort(-fusion, kind="mergesort")[:width]
            for c in range(len(best)):
                chosen[i, c] = pool[best[c]]
                chosen_scores[i, c] = values[:, best[c]]
                chosen_ranks[i, c] = ranks[:, best[c]]
                chosen_fusion[i, c] = fusion[best[c]]
    return chosen, chosen_scores, chosen_ranks, chosen_fusion
