"""From what is known of a session to a few hundred candidate items, with a score and a rank by each source."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from nextclick.events.prefixes import Prefixes, known_clicks
from nextclick.retrieval.encoder import Encoder
from nextclick.retrieval.index import SessionIndex
from nextclick.retrieval.scores import N_SOURCES, OWN, SOURCES, Neighbours, Scores, score_items, touch
from nextclick.threads import in_parts

COLUMNS = (*SOURCES, "encoder")
ENCODER = COLUMNS.index("encoder")  # its cosine
# the columns whose ranks choose the candidates
FUSED = tuple(map(COLUMNS.index, ("neighbours", "neighbours_near", "after", "near", "own", "encoder")))
FUSION_OFFSET = 10.0
FILLER = 1e-6  # fusion of the most popular item that only fills up
DEPTH = 256  # ranks below this add nothing to the fusion
UNRANKED = 1000.0  # the rank by a source that does not know the item
LAST_POSITION = 2**31 - 1
TOGETHER, BLOCK = 16, 512  # sessions and items whose cosines are computed while both stay in the cache
BUNDLES = 3  # for which a thread keeps arrays to work in
_scratch_by_thread = threading.local()


class Candidates(NamedTuple):
    """Candidates of n sessions, best first by the fusion of their ranks.

    items: (n, width) int32, -1 behind the last. scores, ranks: (n, width, len(COLUMNS)) float32; rank 0 is the best
    among these candidates, UNRANKED where the source does not know the item. fusion: (n, width) float32.
    """

    items: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    fusion: np.ndarray

    @classmethod
    def none(cls, n: int, width: int) -> Candidates:
        """Arrays in which no session has a candidate yet."""
        return cls(
            items=np.full((n, width), -1, np.int32),
            scores=np.zeros((n, width, len(COLUMNS)), np.float32),
            ranks=np.full((n, width, len(COLUMNS)), UNRANKED, np.float32),
            fusion=np.zeros((n, width), np.float32),
        )

    @property
    def present(self) -> np.ndarray:
        """(n, width) bool: where there is a candidate."""
        return self.items >= 0

    def take(self, rows: slice) -> Candidates:
        """The candidates of some of the sessions; a view, so that what is written into it is written here."""
        return Candidates(*(array[rows] for array in self))


class _Limits(NamedTuple):
    """See `Retriever`."""

    width: int
    nearest: int
    sample: int
    neighbours: int


class _Scratch(NamedTuple):
    """What `_retrieve` works in. cosines: (TOGETHER, n_items) float32."""

    neighbours: Neighbours
    scores: Scores
    cosines: np.ndarray


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
        candidates, columns = Candidates.none(len(prefixes), self.width), self.encoder.columns
        limits = _Limits(self.width, min(self.nearest, len(self.index.counts)), self.sample, self.neighbours)

        def fill(part: slice) -> None:
            some = prefixes.take(part)
            _retrieve(
                some.arrays,
                self.encoder.encode(some),
                columns,
                self.index,
                self.popular,
                limits,
                np.array(self.fused),
                _scratch(len(self.index.offsets) - 1, columns.shape[1]),
                candidates.take(part),
            )

        in_parts(fill, len(prefixes))
        return candidates


def _scratch(n_sessions: int, n_items: int) -> _Scratch:
    """The scratch arrays of this thread, which keeps them for a champion and its challenger too: making them would cost
    a single request more than their use. The kernel leaves them as it finds them."""
    by_size = vars(_scratch_by_thread).setdefault("by_size", {})
    if (n_sessions, n_items) not in by_size:
        if len(by_size) == BUNDLES:
            by_size.clear()  # of bundles that were served before
        cosines = np.empty((TOGETHER, n_items), np.float32)
        by_size[n_sessions, n_items] = _Scratch(Neighbours.over(n_sessions, np.float32), Scores.over(n_items), cosines)
    return by_size[n_sessions, n_items]


@njit(cache=True)
def best_positions(values, wanted):
    """The positions of the `wanted` highest positive float32 values, best first; of equals the lower position first.

    The bits of a positive float order as its value does, so value and position make one integer key. The best keys are
    kept in a binary heap whose root is the lowest.
    """
    bits = values.view(np.int32)
    heap = np.empty(wanted, np.int64)
    size = 0
    lowest = np.int32(0)
    for position in range(len(values)):
        if bits[position] <= lowest:  # an equal value at a later position is worse
            continue
        key = (np.int64(bits[position]) << 32) | (LAST_POSITION - position)
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
    return LAST_POSITION - (np.sort(heap[:size])[::-1] & LAST_POSITION)


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
def _retrieve(prefixes, session_vectors, columns, index, popular, limits, fused, scratch, candidates):
    n, cosines = len(prefixes.ends), scratch.cosines
    items, chosen_scores, ranks, chosen_fusion = candidates
    scores, touched = scratch.scores
    for group in range(0, n, TOGETHER):
        all_cosines(session_vectors[group : group + TOGETHER], columns, cosines)
        for i in range(group, min(group + TOGETHER, n)):
            clicks = known_clicks(prefixes, i)
            count = score_items(clicks, index, limits.sample, limits.neighbours, scratch.neighbours, scratch.scores)
            for item in best_positions(cosines[i - group], limits.nearest):
                count = touch(item, scores, touched, count)
            n_found = count
            for item in popular:
                if count >= limits.width:
                    break
                count = touch(item, scores, touched, count)
            fillers = touched[n_found:count].copy()
            pool = np.sort(touched[:count])  # by item index, so that ties never depend on the way here
            values = np.empty((N_SOURCES + 1, count), np.float32)
            for p in range(count):
                for k in range(N_SOURCES):
                    values[k, p] = scores[pool[p], k]
                values[ENCODER, p] = cosines[i - group, pool[p]]
                scores[pool[p], :] = 0
            fusion = np.zeros(count, np.float32)
            for k in fused:
                order = best_positions(values[k], DEPTH)
                for rank in range(len(order)):
                    # own items are always candidates
                    fusion[order[rank]] += 1 if k == OWN else np.float32(1 / (FUSION_OFFSET + rank))
            for rank in range(len(fillers)):
                fusion[np.searchsorted(pool, fillers[rank])] += np.float32(FILLER / (1 + rank))
            best = best_positions(fusion, limits.width)
            for c in range(len(best)):
                items[i, c] = pool[best[c]]
                chosen_scores[i, c] = values[:, best[c]]
                chosen_fusion[i, c] = fusion[best[c]]
            for k in range(N_SOURCES + 1):
                order = best_positions(chosen_scores[i, : len(best), k].copy(), limits.width)
                for rank in range(len(order)):
                    ranks[i, order[rank], k] = rank
