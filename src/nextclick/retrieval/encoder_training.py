"""Trains item vectors on sessions, so that the item that comes next lies close to the session before it.

A sampled softmax over cosines with the logQ correction (Bengio and Senecal, 2008), and Adam (Kingma and Ba, 2015).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import get_num_threads
from threadpoolctl import threadpool_limits

from nextclick.events.prefixes import Prefixes
from nextclick.progress import progress_bar
from nextclick.retrieval.encoder import WINDOW, Encoder, attended, compiled, newest_first

BATCHES, MIN_BATCH, MAX_BATCH = 1000, 128, 512  # a batch is so much of the log, within these bounds
PARTS = 4  # of each batch: as many threads may share it, and the sums are the same with fewer


@compiled
def _attended_backward(clicks, lengths, vectors, attention, d_means, d_vectors, d_position, d_item):
    slopes = np.zeros(WINDOW, np.float32)
    for i in range(len(clicks)):
        mean_slope = np.float32(0)
        for t in range(lengths[i]):
            item = clicks[i, t]
            slope = np.float32(0)
            for k in range(vectors.shape[1]):
                slope += d_means[i, k] * vectors[item, k]
            for k in range(vectors.shape[1]):  # apart from the sum, as it can be taken several at a time
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
    """Adam on the given rows only, whose gradients are then cleared."""
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

    def step_on_sphere(self, rows: np.ndarray, unit: np.ndarray, lengths: np.ndarray, step: int, rate: float) -> None:
        """Step where the gradient is that of the rows' unit vectors, which are then computed from the new values."""
        _through_unit(rows, unit, lengths, self.gradient)
        self.step(rows, step, rate)
        _to_unit(rows, self.values, lengths, unit)


class _Batch:
    """Predictions to learn from, and the classes among which each has to find its target: all targets and the items
    drawn."""

    def __init__(self, chosen: Prefixes, drawn: np.ndarray, drawn_chance: np.ndarray) -> None:
        """drawn: items; drawn_chance: (n_items,) of being among them."""
        self.size = len(chosen)
        self.clicks, self.lengths = newest_first(chosen.arrays)
        self.clicked = np.unique(self.clicks[self.clicks >= 0])
        self.classes = np.union1d(chosen.targets, drawn)
        self.touched = np.union1d(self.clicked, self.classes)
        self._wanted = np.searchsorted(self.classes, chosen.targets)
        self._for_each_draw = 1 / drawn_chance[self.classes]

    def slopes(self, part: slice, means: np.ndarray, class_vectors: np.ndarray, temperature: float):
        """The slopes of the batch's mean loss with respect to the means of a part's predictions, and the share of the
        part in the slopes with respect to the class vectors.

        The softmax does without subtracting the highest logit: a cosine over the temperature is too small for its
        exponential to overflow.
        """
        norms = np.linalg.norm(means, axis=1, keepdims=True) + np.float32(1e-8)
        sessions = means / norms
        target, share = (np.arange(len(means)), self._wanted[part]), np.float32(1 / (temperature * self.size))
        slope = (sessions / np.float32(temperature)) @ class_vectors.T
        np.exp(slope, out=slope)
        at_target = slope[target]  # logQ corrects the negatives only
        slope *= self._for_each_draw
        slope[target] = at_target
        slope *= share / slope.sum(axis=1, keepdims=True)
        slope[target] -= share
        d_sessions = slope @ class_vectors
        return (d_sessions - (d_sessions * sessions).sum(axis=1, keepdims=True) * sessions) / norms, slope.T @ sessions


class _Training:
    """The vectors and weights so far."""

    def __init__(self, n_items: int, dimensions: int, random: np.random.Generator) -> None:
        self.vectors = _Parameter(random.standard_normal((n_items, dimensions)) / np.sqrt(dimensions))
        self.positions = _Parameter(-0.3 * np.arange(WINDOW)[:, None])
        self.items = _Parameter(np.zeros((n_items, 1)))
        self.lengths, self.unit = np.zeros(n_items, np.float32), np.zeros_like(self.vectors.values)
        _to_unit(np.arange(n_items), self.vectors.values, self.lengths, self.unit)

    def learn(self, batch: _Batch, step: int, rate: float, temperature: float, threads: ThreadPoolExecutor) -> None:
        """One step down the slope of the batch's mean loss. step: from 1."""
        class_vectors = self.unit[batch.classes]

        def slopes(part: slice):
            clicks, lengths = batch.clicks[part], batch.lengths[part]
            weights = self.positions.values[:, 0], self.items.values[:, 0]
            attention, means = attended(clicks, lengths, self.unit, *weights)
            return clicks, lengths, attention, *batch.slopes(part, means, class_vectors, temperature)

        gradients = self.vectors.gradient, self.positions.gradient, self.items.gradient
        for clicks, lengths, attention, d_means, d_classes in threads.map(slopes, _parts(batch.size)):
            self.vectors.gradient[batch.classes] += d_classes
            _attended_backward(clicks, lengths, self.unit, attention, d_means, *gradients)

        def move(part: slice) -> None:
            self.vectors.step_on_sphere(batch.touched[part], self.unit, self.lengths, step, rate)

        list(threads.map(move, _parts(len(batch.touched))))
        self.items.step(batch.clicked, step, rate)
        self.positions.step(np.arange(WINDOW), step, rate)


def _parts(n: int) -> list[slice]:
    return [slice(n * part // PARTS, n * (part + 1) // PARTS) for part in range(PARTS)]


def train_encoder(
    prefixes: Prefixes,
    *,
    dimensions: int = 128,
    epochs: int = 3,
    min_steps: int = 2000,
    negatives: int = 2048,
    temperature: float = 0.08,
    rate: float = 0.004,
    seed: int = 7,
) -> Encoder:
    """Train on every prefix whose next item is in the vocabulary; the same seed gives the same bits.

    epochs: how often each is read, more often where that gives fewer steps than min_steps.
    """
    prefixes = prefixes.take(np.flatnonzero((prefixes.targets >= 0) & (prefixes.lengths > 0)))
    n_items = len(prefixes.log.vocabulary)
    random = np.random.default_rng(seed)
    training = _Training(n_items, dimensions, random)
    # negatives are drawn by popularity, dampened; an item seldom drawn counts for more when it is (logQ)
    chance = (np.bincount(prefixes.targets, minlength=n_items) + 1.0) ** 0.75
    chance /= chance.sum()
    cumulative = np.cumsum(chance)
    drawn_chance = (-np.expm1(negatives * np.log1p(-chance)) + 1e-9).astype(np.float32)

    size = min(max(len(prefixes) // BATCHES, MIN_BATCH), MAX_BATCH)
    per_epoch = -(-len(prefixes) // size)
    steps = max(epochs * per_epoch, min_steps) if per_epoch else 0
    progress = progress_bar(total=steps, desc="item vectors", unit="batch")
    # a thread takes its part through all products; threads of BLAS would meet after each, and wait in busy loops
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(get_num_threads()) as threads:
        for step in range(steps):
            if step % per_epoch == 0:
                order = random.permutation(len(prefixes))
            chosen = prefixes.take(order[step % per_epoch * size :][:size])
            drawn = np.searchsorted(cumulative, random.random(negatives)).clip(max=n_items - 1)
            batch = _Batch(chosen, drawn, drawn_chance)
            training.learn(batch, step + 1, rate * (1 - 0.95 * step / steps), temperature, threads)
            progress.update()
    progress.close()
    return Encoder(
        vectors=training.unit,
        position_weight=training.positions.values[:, 0].copy(),
        item_weight=training.items.values[:, 0].copy(),
    )
