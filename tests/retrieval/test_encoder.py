"""The session encoder learns what follows what, and the same seed gives the same bits."""

import numpy as np
import pytest
from numba import get_num_threads, set_num_threads

from nextclick.events.prefixes import Prefixes, next_clicks
from nextclick.events.sessions import SessionLog, Vocabulary
from nextclick.retrieval.encoder_training import train_encoder


@pytest.fixture(scope="module")
def two_aisles() -> Prefixes:
    """Sessions that stay among the first twenty items or among the last twenty, never both."""
    random = np.random.default_rng(0)
    aisles = random.integers(0, 2, 600)
    items = (aisles[:, None] * 20 + random.integers(0, 20, (600, 5))).ravel().astype(np.int32)
    vocabulary = Vocabulary(np.array([f"{i:02d}" for i in range(40)]))
    offsets = np.arange(0, 3001, 5)
    log = SessionLog(
        vocabulary, offsets, items, np.zeros(3000, np.int8), np.arange(3000), np.arange(600).astype(np.str_)
    )
    return next_clicks(log)


def test_the_next_item_lies_in_the_aisle_of_the_session(two_aisles):
    encoder = train_encoder(two_aisles, dimensions=8, epochs=4, negatives=32)
    nearest = (encoder.encode(two_aisles) @ encoder.vectors.T).argmax(axis=1)
    assert np.mean(nearest // 20 == two_aisles.targets // 20) > 0.99


def test_the_same_seed_gives_the_same_bits_in_however_many_threads(two_aisles):
    first = train_encoder(two_aisles, dimensions=8, epochs=1, seed=3)
    threads = get_num_threads()
    set_num_threads(1)
    try:
        second = train_encoder(two_aisles, dimensions=8, epochs=1, seed=3)
    finally:
        set_num_threads(threads)
    np.testing.assert_array_equal(first.vectors, second.vectors)
    other = train_encoder(two_aisles, dimensions=8, epochs=1, seed=4)
    assert not np.array_equal(first.vectors, other.vectors)
