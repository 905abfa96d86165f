"""A linear session encoder, after CORE (Hou et al., SIGIR 2022): a session is the weighted mean of its items' vectors.

The same unit vectors are input and output; attention is by position and by item only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit

from nextclick.events.prefixes import Prefixes, known_clicks

WINDOW = 20  # the newest clicks that the encoder reads
# without fastmath: sums in the order of the code, so that every processor makes the same vectors
compiled = njit(cache=True, nogil=True, error_model="numpy")


@dataclass(frozen=True)
class Encoder:
    """vectors: (n_items, d) float32 of unit length. position_weight: (WINDOW,), item_weight: (n_items,), log scale."""

    vectors: np.ndarray
    position_weight: np.ndarray
    item_weight: np.ndarray

    @cached_property
    def columns(self) -> np.ndarray:
        """(d, n_items): the vectors transposed, the form in which all their cosines are computed fast."""
        return np.ascontiguousarray(self.vectors.T)

    def encode(self, prefixes: Prefixes) -> np.ndarray:
        """(n, d) float32: the unit vector of each prefix; its dot with an item's vector is their cosine."""
        clicks, lengths = newest_first(prefixes.arrays)
        _, means = attended(clicks, lengths, self.vectors, self.position_weight, self.item_weight)
        return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-8)


@njit(cache=True)
def newest_first(prefixes):
    """The newest WINDOW known clicks of each of some PrefixArrays, newest first, -1 behind the last; and how many they
    are."""
    clicks = np.full((len(prefixes.ends), WINDOW), -1, np.int32)
    lengths = np.zeros(len(prefixes.ends), np.int32)
    for i in range(len(prefixes.ends)):
        newest = known_clicks(prefixes, i)[::-1][:WINDOW]
        clicks[i, : len(newest)] = newest
        lengths[i] = len(newest)
    return clicks, lengths


@compiled
def attended(clicks, lengths, vectors, position_weight, item_weight):
    """The attention to each click, and the mean of the clicks' vectors that it weighs."""
    attention = np.zeros(clicks.shape, np.float32)
    means = np.zeros((len(clicks), vectors.shape[1]), np.float32)
    for i in range(len(clicks)):
        highest = np.float32(-np.inf)
        for t in range(lengths[i]):
            attention[i, t] = position_weight[t] + item_weight[clicks[i, t]]
            highest = max(highest, attention[i, t])
        total = np.float32(0)
        for t in range(lengths[i]):
            attention[i, t] = np.exp(attention[i, t] - highest)
            total += attention[i, t]
        for t in range(lengths[i]):
            attention[i, t] /= total
            for k in range(vectors.shape[1]):
                means[i, k] += attention[i, t] * vectors[clicks[i, t], k]
    return attention, means
