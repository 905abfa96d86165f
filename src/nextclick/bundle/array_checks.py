"""Whether the arrays of a bundle fit together, which compiled code takes for granted: an index out of range would read
other memory, or end the process."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nextclick.errors import InputError
from nextclick.features.item_statistics import HALF_LIVES_DAYS
from nextclick.ranking.snapshot import Snapshot
from nextclick.retrieval.encoder import WINDOW

UNIT_LENGTH_WITHIN = 1e-3


class _Checks:
    """Raises InputError, which names the file of the array and what was expected of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def array(self, name: str, array: np.ndarray, kinds: str, *shape: int | None) -> None:
        """kinds: the allowed kinds of NumPy types, as in "f". shape: None is any length."""
        fits = len(shape) == array.ndim and all(a in (None, b) for a, b in zip(shape, array.shape, strict=True))
        if array.dtype.kind not in kinds or not fits:
            wanted = " x ".join("n" if length is None else str(length) for length in shape)
            raise self._wrong(name, f"{wanted} of kind {kinds}, got {array.shape} of {array.dtype}")

    def true(self, name: str, so: object, expected: str) -> None:
        if not so:
            raise self._wrong(name, expected)

    def within(self, name: str, array: np.ndarray, low: int, end: int) -> None:
        inside = not array.size or (array.min() >= low and array.max() < end)
        self.true(name, inside, f"numbers from {low} to {end - 1}")

    def offsets(self, name: str, array: np.ndarray, groups: int | None, end: int) -> None:
        self.array(name, array, "i", None if groups is None else groups + 1)
        self.true(name, len(array) and array[0] == 0 and array[-1] == end, f"offsets from 0 to {end}")
        self.true(name, (np.diff(array) >= 0).all(), "offsets that ascend")

    def finite(self, name: str, array: np.ndarray) -> None:
        self.true(name, np.isfinite(array).all(), "finite numbers")

    def _wrong(self, name: str, expected: str) -> InputError:
        return InputError(f"{self._folder / name}.npy: expected {expected}; make the bundle again with `dvc repro`")


def check_arrays(folder: Path, snapshot: Snapshot) -> None:
    """Raises InputError, which names the file, unless all arrays of a bundle's snapshot fit together."""
    check, n = _Checks(folder), len(snapshot.vocabulary)
    ids = snapshot.vocabulary.ids
    check.array("vocabulary-ids", ids, "U", None)
    check.true("vocabulary-ids", n > 0 and (ids[1:] > ids[:-1]).all(), "at least one id, each once and in order")
    _check_index(check, snapshot, n)
    _check_encoder(check, snapshot, n)
    _check_statistics(check, snapshot, n)
    catalogue = snapshot.knowledge.catalogue
    for name in ("category", "department"):
        check.array(f"catalogue-{name}", getattr(catalogue, name), "i", n)
    check.array("catalogue-price", catalogue.price, "f", n)
    check.array("catalogue-titles", catalogue.titles, "f", n, None)
    check.finite("catalogue-titles", catalogue.titles)


def _check_index(check: _Checks, snapshot: Snapshot, n: int) -> None:
    index = snapshot.retriever.index
    events = len(index.items)
    check.array("index-items", index.items, "i", None)
    check.within("index-items", index.items, 0, n)
    check.offsets("index-offsets", index.offsets, None, events)
    check.array("index-sessions", index.sessions, "i", events)
    check.within("index-sessions", index.sessions, 0, len(index.offsets) - 1)
    expected = np.repeat(np.arange(len(index.offsets) - 1), np.diff(index.offsets))
    check.true("index-sessions", np.array_equal(index.sessions, expected), "the sessions that index-offsets names")
    check.offsets("index-posting_offsets", index.posting_offsets, n, events)
    check.array("index-posting_events", index.posting_events, "i", events)
    check.within("index-posting_events", index.posting_events, 0, events)
    postings = index.items[index.posting_events]
    expected = np.repeat(np.arange(n), np.diff(index.posting_offsets))
    check.true("index-posting_events", np.array_equal(postings, expected), "the events of each item of index-items")


def _check_encoder(check: _Checks, snapshot: Snapshot, n: int) -> None:
    encoder = snapshot.knowledge.encoder
    check.array("encoder-vectors", encoder.vectors, "f", n, None)
    check.array("encoder-position_weight", encoder.position_weight, "f", WINDOW)
    check.array("encoder-item_weight", encoder.item_weight, "f", n)
    for name in ("vectors", "position_weight", "item_weight"):
        check.finite(f"encoder-{name}", getattr(encoder, name))
    lengths = np.linalg.norm(encoder.vectors, axis=1)
    check.true("encoder-vectors", (np.abs(lengths - 1) < UNIT_LENGTH_WITHIN).all(), "vectors of unit length")


def _check_statistics(check: _Checks, snapshot: Snapshot, n: int) -> None:
    statistics = snapshot.knowledge.statistics
    for name in ("clicks", "clicks_lately", "last_seen"):
        array = getattr(statistics, name)
        check.array(f"statistics-{name}", array, "f", n)
        check.finite(f"statistics-{name}", array)
        check.true(f"statistics-{name}", (array >= 0).all(), "numbers that are not negative")
    for name in ("first_click", "last_click"):
        check.array(f"statistics-{name}", getattr(statistics, name), "i", n)
    check.array("statistics-types", statistics.types, "U", None)
    types = len(statistics.types)
    check.array("statistics-by_type", statistics.by_type, "f", types, n)
    check.array("statistics-decayed", statistics.decayed, "f", None, n)
    check.true("statistics-decayed", len(statistics.decayed) in (0, len(HALF_LIVES_DAYS)), "a row for each half-life")
    check.array("statistics-decayed_by_type", statistics.decayed_by_type, "f", None, None, n)
    for name in ("by_type", "decayed", "decayed_by_type"):
        check.finite(f"statistics-{name}", getattr(statistics, name))
