"""The session encoder learns what follows what, and the same seed gives the same bits."""

import hashlib
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numba import get_num_threads, set_num_threads

from nextclick.events.prefixes import Prefixes, next_clicks
from nextclick.events.sessions import SessionLog, Vocabulary
from nextclick.retrieval.encoder_training import _Batch, _Training, train_encoder


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
    encoder = train_encoder(aisles(), dimensions=70, epochs=1, min_steps=200, seed=3)
    return hashlib.sha256(encoder.vectors.tobytes() + encoder.item_weight.tobytes()).hexdigest()


def test_the_next_item_lies_in_the_aisle_of_the_session(two_aisles):
    encoder = train_encoder(two_aisles, dimensions=8, epochs=4, negatives=32)
    nearest = (encoder.encode(two_aisles) @ encoder.vectors.T).argmax(axis=1)
    assert np.mean(nearest // 20 == two_aisles.targets // 20) > 0.99


def test_the_same_seed_gives_the_same_bits_in_however_many_threads(two_aisles):
    size = {"dimensions": 8, "epochs": 1, "min_steps": 200}
    first = train_encoder(two_aisles, **size, seed=3)
    threads = get_num_threads()
    set_num_threads(1)
    try:
        second = train_encoder(two_aisles, **size, seed=3)
    finally:
        set_num_threads(threads)
    np.testing.assert_array_equal(first.vectors, second.vectors)
    other = train_encoder(two_aisles, **size, seed=4)
    assert not np.array_equal(first.vectors, other.vectors)


def loss(batch: _Batch, raw: np.ndarray, positions: np.ndarray, items: np.ndarray, targets, chance, temperature):
    """The mean loss of a batch, plainly and in double precision."""
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    losses = []
    for clicks, length, target in zip(batch.clicks, batch.lengths, targets, strict=True):
        clicked = clicks[:length]
        attention = np.exp(positions[:length, 0] + items[clicked, 0])
        session = attention @ unit[clicked]
        odds = np.exp(unit[batch.classes] @ session / np.linalg.norm(session) / temperature)
        counted = np.where(batch.classes == target, 1, 1 / chance[batch.classes])
        losses.append(np.log((odds * counted).sum()) - np.log(odds[batch.classes == target][0]))
    return np.mean(losses)


def test_the_gradient_is_the_slope_of_the_loss(two_aisles):
    """Each number on which the loss depends is moved a little to both sides."""
    random = np.random.default_rng(0)
    some = two_aisles.take(random.choice(len(two_aisles), 30, replace=False))
    chance, temperature = random.uniform(0.2, 0.9, 40).astype(np.float32), 0.3
    batch = _Batch(some, random.integers(0, 40, 12), chance)
    training = _Training(40, 3, random)
    training.items.values[:] = random.standard_normal((40, 1))
    parameters = training.vectors, training.positions, training.items
    with ThreadPoolExecutor(2) as threads:
        training.learn(batch, 1, 0.0, temperature, threads)  # at a rate of 0 nothing moves
    values = [parameter.values.astype(np.float64) for parameter in parameters]
    for parameter, moved in zip(parameters, values, strict=True):
        slopes = np.zeros_like(moved)
        for place in np.ndindex(moved.shape):
            sides = []
            for step in (1e-4, -2e-4):
                moved[place] += step
                sides.append(loss(batch, *values, some.targets, chance, temperature))
            moved[place] += 1e-4
            slopes[place] = (sides[0] - sides[1]) / 2e-4
        assert np.abs(slopes).max() > 0.01
        np.testing.assert_allclose(parameter._first / 0.1, slopes, rtol=1e-3, atol=1e-5)  # Adam's mean of one gradient


def fingerprint_on(**changed: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", "from test_encoder import fingerprint; print(fingerprint())"],
        cwd=Path(__file__).parent,
        env=os.environ | changed,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()[-1]


@pytest.fixture(scope="module")
def here() -> str:
    return fingerprint_on()


@pytest.mark.parametrize("processor", ["haswell", "x86-64"])
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the processors are of the x86-64 family")
def test_another_processor_gives_the_same_bits(processor, here):
    """dvc.lock is only then the same on everybody's machine. Numba compiles for the one named, and keeps that apart;
    BLAS keeps its kernel, which run_notebook chooses: it may have done so in this process, too late for it, so both
    are processes of their own."""
    assert fingerprint_on(NUMBA_CPU_NAME=processor, NUMBA_CPU_FEATURES="") == here
