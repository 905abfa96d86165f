"""The session encoder learns what follows what, and the same seed gives the same bits."""

import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import get_num_threads, set_num_threads

from nextclick.events.prefixes import Prefixes, next_clicks
from nextclick.events.sessions import SessionLog, Vocabulary
from nextclick.retrieval.encoder_training import train_encoder


def aisles() -> Prefixes:
    """Sessions that stay among the first twenty items or among the last twenty, never both."""
    random = np.random.default_rng(0)
    aisle = random.integers(0, 2, 600)
    items = (aisle[:, None] * 20 + random.integers(0, 20, (600, 5))).ravel().astype(np.int32)
    vocabulary = Vocabulary(np.array([f"{i:02d}" for i in range(40)]))
    offsets = np.arange(0, 3001, 5)
    log = SessionLog(
        vocabulary, offsets, items, np.zeros(3000, np.int8), np.arange(3000), np.arange(600).astype(np.str_)
    )
    return next_clicks(log)


two_aisles = pytest.fixture(aisles, scope="module")


def fingerprint() -> str:
    encoder = train_encoder(aisles(), dimensions=70, epochs=1, seed=3)
    return hashlib.sha256(encoder.vectors.tobytes() + encoder.item_weight.tobytes()).hexdigest()


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


@pytest.mark.parametrize("processor", ["haswell", "x86-64"])
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the processors are of the x86-64 family")
def test_another_processor_gives_the_same_bits(processor, tmp_path):
    """dvc.lock is only then the same on everybody's machine. Numba compiles for the one named; BLAS keeps its kernel,
    which run_notebook chooses: it may have done so in this process, too late for it, so both are processes of their
    own."""
    other = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    here, there = (
        subprocess.run(
            [sys.executable, "-c", "from test_encoder import fingerprint; print(fingerprint())"],
            cwd=Path(__file__).parent,
            env=os.environ | changed,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()[-1]
        for changed in ({}, other)
    )
    assert here == there
