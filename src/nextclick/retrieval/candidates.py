"""From what is known of a session to a few hundred candidate items, with a score and a rank by each source."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numba import njit

from nextclick.events.prefixes import Prefixes, known_clicks
from nextclick.retrieval.encoder import Encoder
from nextclick.retrieval.index import SessionIndex
from nextclick.retrieval.scores import N_SOURCES, SOURCES, score_items
from nextclick.threads import in_parts

OWN = SOURCES.index("own")
ENCODER = N_SOURCES  # the column of the encoder's cosine, after those of the index
COLUMNS = (*SOURCES, "encoder")
FUSED = (0, 1, 7, 8, OWN, ENCODER)  # the columns whose ranks choose the candidates
FUSION_OFFSET = 10.0
FILLER = 1e-6  # fusion of the most popular item that only fills up
DEPTH = 256  # ranks below this add nothing to the fusion
UNRANKED = 1000.0  # the rank by a source that does not know the item
LAST_PLACE = 2**31 - 1
TOGETHER, BLOCK = 16, 512  # sessions and items whose cosines are computed while both stay in the cache
BUNDLES = 3  # for which a thread keeps arrays to work in
_kept = threading.local()


@dataclass(frozen=True)
class Candidates:
    """Candidates of n sessions, best first by the fusion of their ranks.

    items: (n, width) int32, -1 behind the last. scores, ranks: (n, width, len(COLUMNS)) float32; rank 0 is the best
    among these candidates, UNRANKED where the source does not know the item. fusion: (n, width) float32.
    """

    items: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    fusion: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """(n, width) bool: where there is a candidate."""
        return self.items >= 0

    def take(self, rows: slice) -> Candidates:
        """Those of some of the sessions."""
        return Candidates(self.items[rows], self.scores[rows], self.ranks[rows], self.fusion[rows])


@dataclass(frozen=True)
class Retriever:
    """Finds candidates.

    popular: (m,) int32, the items that fill up where too few are found, best first. width: how many candidates at most.
    nearest: how many of them the encoder may add. sample, neighbours: see `score_items`. fused: the columns whose ranks
    choose the candidates.
    """

    index: SessionIndex
    encoder: Encoder
    popular: np.ndarray
    width: int = 200
    nearest: int = 150
    sample: int = 300
    neighbours: int = 500
    fused: tuple[int, ...] = FUSED

    def retrieve(self, prefixes: Prefixes) -> Candidates:
        index, log, shape = self.index, prefixes.log, (len(prefixes), self.width)
        columns = self.encoder.columns
        found = Candidates(
            np.full(shape, -1, np.int32),
            np.zeros((*shape, len(COLUMNS)), np.float32),
            np.full((*shape, len(COLUMNS)), UNRANKED, np.float32),
            np.zeros(shape, np.float32),
        )

        def fill(part: slice) -> None:
            _retrieve(
                log.items,
                prefixes.starts[part],
                prefixes.ends[part],
                self.encoder.encode(prefixes.take(part)),
                columns,
                *(index.offsets, index.items, index.sessions, index.posting_offsets, index.posting_events),
                self.popular,
                *(self.width, min(self.nearest, len(index.counts)), self.sample, self.neighbours),
                np.array(self.fused),
                *(
                    *_scratch(len(index.offsets), columns.shape[1]),
                    found.items[part],
                    found.scores[part],
                    found.ranks[part],
                    found.fusion[part],
                ),
            )

        in_parts(fill, len(prefixes))
        return found


def _scratch(n_sessions: int, n_items: int) -> tuple[np.ndarray, ...]:
    """What `_retrieve` works in, kept by each thread, for a champion and its challenger too: making it would cost a
    single request more than its use.

    similarity, matched, touched_sessions: (n_sessions,); scores: (n_items, N_SOURCES + 1); touched: (n_items,);
    cosines: (TOGETHER, n_items). Similarity and scores are zero, and the kernel leaves them so.
    """
    kept = vars(_kept).setdefault("by_size", {})
    if (n_sessions, n_items) not in kept:
        if len(kept) == BUNDLES:
            kept.clear()  # of bundles that were served before
        kept[n_sessions, n_items] = (
            np.zeros(n_sessions, np.float32),
            np.empty(n_sessions, np.int64),
            np.empty(n_sessions, np.int64),
            np.zeros((n_items, N_SOURCES + 1), np.float32),
            np.empty(n_items, np.int32),
            np.empty((TOGETHER, n_items), np.float32),
        )
    return kept[n_sessions, n_items]


@njit(cache=True)
def best_places(values, wanted):
    """The places of the `wanted` highest positive float32 values, best first; of equals the lower place first.

    The bits of a positive float order as its value does, so value and place make one integer key. The best keys are
    kept in a binary heap whose root is the lowest.
    """
    bits = values.view(np.int32)
    heap = np.empty(wanted, np.int64)
    size = 0
    lowest = np.int32(0)
    for place in range(len(values)):
        if bits[place] <= lowest:  # an equal value at a later place is worse
            continue
        key = (np.int64(bits[place]) << 32) | (LAST_PLACE - place)
        if size < wanted:
            heap[size] = key
            size += 1
            if size == wanted:
                for i in range(wanted // 2 - 1, -1, -1):
                    _sink(heap, i)
        else:
            heap[0] = key
            _sink(heap, 0)
        if size == wanted:
            lowest = np.int32(heap[0] >> 32)
    return LAST_PLACE - (np.sort(heap[:size])[::-1] & LAST_PLACE)


@njit(cache=True)
def _sink(heap, i):
    while True:
        lowest = i
        for child in (2 * i + 1, 2 * i + 2):
            if child < len(heap) and heap[child] < heap[lowest]:
                lowest = child
        if lowest == i:
            return
        heap[i], heap[lowest] = heap[lowest], heap[i]
        i = lowest


@njit(cache=True)
def all_cosines(session_vectors, columns, cosines):
    """cosines[s, i]: of session s and item i. columns: (d, n_items), the item vectors transposed.

    Items are taken in blocks that stay in the cache for all sessions of the block. Each sum runs over the dimensions in
    their order, so that a session's cosines are the same bits alone and among others.
    """
    dimensions, n_items = columns.shape
    for first in range(0, n_items, BLOCK):
        last = min(first + BLOCK, n_items)
        for s in range(len(session_vectors)):
            row = cosines[s, first:last]
            row[:] = 0
            k = 0
            while k + 4 <= dimensions:  # four at a time: the sums are read and written a quarter as often
                w, x, y, z = session_vectors[s, k : k + 4]
                a, b = columns[k, first:last], columns[k + 1, first:last]
                c, d = columns[k + 2, first:last], columns[k + 3, first:last]
                for i in range(len(row)):
                    row[i] = (((row[i] + w * a[i]) + x * b[i]) + y * c[i]) + z * d[i]
                k += 4
            while k < dimensions:
                factor, column = session_vectors[s, k], columns[k, first:last]
                for i in range(len(row)):
                    row[i] += factor * column[i]
                k += 1


@njit(cache=True, nogil=True)
def _retrieve(
    log_items,
    starts,
    ends,
    session_vectors,
    columns,
    offsets,
    items,
    sessions,
    posting_offsets,
    posting_events,
    popular,
    width,
    nearest,
    sample,
    neighbours,
    fused,
    similarity,
    matched,
    touched_sessions,
    scores,
    touched,
    cosines,
    chosen,
    chosen_scores,
    chosen_ranks,
    chosen_fusion,
):
    n = len(ends)
    for group in range(0, n, TOGETHER):
        all_cosines(session_vectors[group : group + TOGETHER], columns, cosines)
        for i in range(group, min(group + TOGETHER, n)):
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
            for item in best_places(cosines[i - group], nearest):
                if scores[item, N_SOURCES] == 0:
                    scores[item, N_SOURCES] = 1
                    touched[count] = item
                    count += 1
            found = count
            for item in popular:
                if count >= width:
                    break
                if scores[item, N_SOURCES] == 0:
                    scores[item, N_SOURCES] = 1
                    touched[count] = item
                    count += 1
            fillers = touched[found:count].copy()
            pool = np.sort(touched[:count])  # by item number, so that ties never depend on the way here
            values = np.empty((N_SOURCES + 1, count), np.float32)
            for p in range(count):
                for k in range(N_SOURCES):
                    values[k, p] = scores[pool[p], k]
                values[ENCODER, p] = cosines[i - group, pool[p]]
                scores[pool[p], :] = 0
            fusion = np.zeros(count, np.float32)
            for k in fused:
                order = best_places(values[k], DEPTH)
                for rank in range(len(order)):
                    # own items are always candidates
                    fusion[order[rank]] += 1 if k == OWN else np.float32(1 / (FUSION_OFFSET + rank))
            for place in range(len(fillers)):
                fusion[np.searchsorted(pool, fillers[place])] += np.float32(FILLER / (1 + place))
            best = best_places(fusion, width)
            for c in range(len(best)):
                chosen[i, c] = pool[best[c]]
                chosen_scores[i, c] = values[:, best[c]]
                chosen_fusion[i, c] = fusion[best[c]]
            for k in range(N_SOURCES + 1):
                order = best_places(chosen_scores[i, : len(best), k].copy(), width)
                for rank in range(len(order)):
                    chosen_ranks[i, order[rank], k] = rank
