"""Item vectors trained on sessions: a session is the weighted mean of its items, and the next item lies close to it.

A linear session encoder with a cosine softmax, after CORE (Hou et al., SIGIR 2022): unit item vectors shared by input
and output, attention by position and by item only, sampled softmax with the logQ correction (Bengio and Senecal, 2008).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit

from nextclick.events.prefixes import KEPT_EVENTS, Prefixes
from nextclick.progress import progress_bar

WINDOW = 20  # the newest clicks that the encoder reads
BATCHES, SMALLEST, LARGEST = 1000, 128, 512  # a batch is so much of the log, within these bounds,
LEAST_STEPS = 2000  # and a small log is read more often than asked, as vectors need this many steps to find their place
# sums may be taken in another order, the same at every call: so they are taken several at a time
compiled = njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})


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
        clicks, lengths = _newest_first(prefixes.log.items, prefixes.starts, prefixes.ends)
        _, means = _encode(clicks, lengths, self.vectors, self.position_weight, self.item_weight)
        return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-8)


@njit(cache=True)
def _newest_first(items, starts, ends):
    """The known clicks of each prefix, newest first, items outside the vocabulary left out; and how many they are."""
    clicks = np.full((len(ends), WINDOW), -1, np.int32)
    lengths = np.zeros(len(ends), np.int32)
    for i in range(len(ends)):
        for event in range(ends[i] - 1, max(starts[i], ends[i] - KEPT_EVENTS) - 1, -1):
            if lengths[i] == WINDOW:
                break
            if items[event] >= 0:
                clicks[i, lengths[i]] = items[event]
                lengths[i] += 1
    return clicks, lengths


@compiled
def _encode(clicks, lengths, vectors, position_weight, item_weight):
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


@compiled
def _encode_backward(clicks, lengths, vectors, attention, d_means, d_vectors, d_position, d_item):
    slopes = np.zeros(WINDOW, np.float32)
    for i in range(len(clicks)):
        mean_slope = np.float32(0)
        for t in range(lengths[i]):
            item = clicks[i, t]
            slope = np.float32(0)
            for k in range(vectors.shape[1]):
                slope += d_means[i, k] * vectors[item, k]
                d_vectors[item, k] += attention[i, t] * d_means[i, k]
            slopes[t] = slope
            mean_slope += attention[i, t] * slope
        for t in range(lengths[i]):
            d_weight = attention[i, t] * (slopes[t] - mean_slope)
            d_position[t, 0] += d_weight
            d_item[clicks[i, t], 0] += d_weight


@compiled
def _to_unit(rows, raw, lengths, unit):
    for r in rows:
        square = np.float32(0)
        for k in range(raw.shape[1]):
            square += raw[r, k] * raw[r, k]
        lengths[r] = np.sqrt(square) + np.float32(1e-8)
        for k in range(raw.shape[1]):
            unit[r, k] = raw[r, k] / lengths[r]


@compiled
def _through_unit(rows, unit, lengths, gradient):
    """The gradient with respect to the raw vectors, in place of that with respect to their unit vectors."""
    for r in rows:
        along = np.float32(0)
        for k in range(unit.shape[1]):
            along += unit[r, k] * gradient[r, k]
        for k in range(unit.shape[1]):
            gradient[r, k] = (gradient[r, k] - along * unit[r, k]) / lengths[r]


@compiled
def _adam_step(rows, values, gradient, first, second, step, rate):
    """Adam (Kingma and Ba, 2015) on the given rows only, whose gradients are then cleared."""
    scale_first = np.float32(1 - 0.9**step)
    scale_second = np.float32(1 - 0.999**step)
    for r in rows:
        value, g, m, v = values[r], gradient[r], first[r], second[r]
        for k in range(len(value)):
            m[k] = np.float32(0.9) * m[k] + np.float32(0.1) * g[k]
            v[k] = np.float32(0.999) * v[k] + np.float32(0.001) * g[k] * g[k]
            value[k] -= np.float32(rate) * (m[k] / scale_first) / (np.sqrt(v[k] / scale_second) + np.float32(1e-8))
            g[k] = 0


class _Parameter:
    """Values of shape (rows, width), their gradient, and Adam's two moments."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values.astype(np.float32)
        self.gradient, self._first, self._second = (np.zeros_like(self.values) for _ in range(3))

    def step(self, rows: np.ndarray, step: int, rate: float) -> None:
        _adam_step(rows, self.values, self.gradient, self._first, self._second, step, rate)


def train_encoder(
    prefixes: Prefixes,
    *,
    dimensions: int = 128,
    epochs: int = 3,
    negatives: int = 2048,
    temperature: float = 0.08,
    rate: float = 0.004,
    seed: int = 7,
) -> Encoder:
    """Train on every prefix whose next item is in the vocabulary; the same seed and thread count give the same bits.

    epochs: how often each is read, more often where that gives fewer than LEAST_STEPS.
    """
    known = np.flatnonzero((prefixes.targets >= 0) & (prefixes.lengths > 0))
    prefixes = prefixes.take(known)
    n_items = len(prefixes.log.vocabulary)
    random = np.random.default_rng(seed)
    vectors = _Parameter(random.standard_normal((n_items, dimensions)) / np.sqrt(dimensions))
    positions = _Parameter(-0.3 * np.arange(WINDOW)[:, None])
    items = _Parameter(np.zeros((n_items, 1)))
    lengths, unit = np.zeros(n_items, np.float32), np.zeros_like(vectors.values)
    _to_unit(np.arange(n_items), vectors.values, lengths, unit)

    # negatives are drawn by popularity, dampened; an item seldom drawn counts for more when it is (logQ)
    chance = (np.bincount(prefixes.targets, minlength=n_items) + 1.0) ** 0.75
    chance /= chance.sum()
    cumulative = np.cumsum(chance)
    drawn_chance = (-np.expm1(negatives * np.log1p(-chance)) + 1e-9).astype(np.float32)

    mark = np.zeros(n_items, bool)
    batch = min(max(len(prefixes) // BATCHES, SMALLEST), LARGEST)
    per_epoch = -(-len(prefixes) // batch)
    steps = max(epochs * per_epoch, LEAST_STEPS) if per_epoch else 0
    progress = progress_bar(total=steps, desc="item vectors", unit="batch")
    for step in range(steps):
        if step % per_epoch == 0:
            order = random.permutation(len(prefixes))
        chosen = prefixes.take(order[step % per_epoch * batch :][:batch])
        clicks, known_clicks = _newest_first(chosen.log.items, chosen.starts, chosen.ends)
        attention, means = _encode(clicks, known_clicks, unit, positions.values[:, 0], items.values[:, 0])
        norms = np.linalg.norm(means, axis=1, keepdims=True) + np.float32(1e-8)
        sessions = means / norms

        drawn = np.searchsorted(cumulative, random.random(negatives)).clip(max=n_items - 1)
        mark[chosen.targets] = mark[drawn] = True
        classes = np.flatnonzero(mark)
        mark[classes] = False
        target = (np.arange(len(chosen)), np.searchsorted(classes, chosen.targets))
        class_vectors = unit[classes]
        # the softmax in place, without subtracting the highest logit: a cosine over the temperature is too small for
        # its exponential to overflow
        slope = (sessions / np.float32(temperature)) @ class_vectors.T
        np.exp(slope, out=slope)
        at_target = slope[target]  # logQ corrects the negatives only
        slope *= 1 / drawn_chance[classes]
        slope[target] = at_target
        slope *= 1 / (slope.sum(axis=1, keepdims=True) * np.float32(temperature * len(chosen)))
        slope[target] -= np.float32(1 / (temperature * len(chosen)))

        d_sessions = slope @ class_vectors
        vectors.gradient[classes] += slope.T @ sessions
        d_means = (d_sessions - (d_sessions * sessions).sum(axis=1, keepdims=True) * sessions) / norms
        _encode_backward(
            clicks, known_clicks, unit, attention, d_means, vectors.gradient, positions.gradient, items.gradient
        )
        mark[clicks[clicks >= 0]] = True
        clicked = np.flatnonzero(mark)
        mark[classes] = True
        touched = np.flatnonzero(mark)
        mark[touched] = False
        _through_unit(touched, unit, lengths, vectors.gradient)
        rate_now = rate * (1 - 0.95 * step / steps)
        vectors.step(touched, step + 1, rate_now)
        items.step(clicked, step + 1, rate_now)
        positions.step(np.arange(WINDOW), step + 1, rate_now)
        _to_unit(touched, vectors.values, lengths, unit)
        progress.update()
    progress.close()
    return Encoder(unit, positions.values[:, 0].copy(), items.values[:, 0].copy())
