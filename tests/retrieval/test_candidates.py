"""Candidates of a batch are those of one at a time, hold the session's own items, and are ordered totally."""

import numpy as np
import pytest

from nextclick.events.prefixes import Prefixes, next_clicks
from nextclick.events.sessions import SessionLog, Vocabulary
from nextclick.retrieval.candidates import COLUMNS, FUSED, UNRANKED, Retriever
from nextclick.retrieval.encoder_training import train_encoder
from nextclick.retrieval.index import SessionIndex


@pytest.fixture(scope="module")
def log() -> SessionLog:
    random = np.random.default_rng(1)
    n = 200
    return SessionLog(
        Vocabulary(np.array([f"{i:03d}" for i in range(60)])),
        np.arange(0, 4 * n + 1, 4),
        random.integers(-1, 60, 4 * n).astype(np.int32),  # -1: items that the vocabulary does not know
        np.zeros(4 * n, np.int8),
        np.arange(4 * n),
        np.arange(n).astype(np.str_),
    )


@pytest.fixture(scope="module")
def retriever(log) -> Retriever:
    encoder = train_encoder(next_clicks(log), dimensions=8, epochs=1, negatives=16)
    return Retriever(SessionIndex.of(log), encoder, np.arange(30, dtype=np.int32), width=30, nearest=10)


def test_a_batch_equals_one_by_one(log, retriever):
    prefixes = next_clicks(log)
    batch = retriever.retrieve(prefixes)
    for i in range(0, len(prefixes), 37):
        one = retriever.retrieve(prefixes.take(slice(i, i + 1)))
        np.testing.assert_array_equal(one.items[0], batch.items[i])
        np.testing.assert_array_equal(one.scores[0], batch.scores[i])


def test_own_items_are_candidates_and_no_item_twice(log, retriever):
    prefixes = next_clicks(log)
    for i, row in enumerate(retriever.retrieve(prefixes).items):
        own = log.items[prefixes.starts[i] : prefixes.ends[i]]
        assert set(own[own >= 0]) <= set(row)
        assert len(set(row[row >= 0])) == (row >= 0).sum()


def test_ranks_follow_scores(log, retriever):
    found = retriever.retrieve(next_clicks(log))
    for column in FUSED:
        compared = 0
        for scores, ranks in zip(found.scores[:50, :, column], found.ranks[:50, :, column], strict=True):
            ranked = (ranks < UNRANKED) & (scores > 0)
            compared += max(0, np.count_nonzero(ranked) - 1)
            assert (np.diff(scores[ranked][np.argsort(ranks[ranked])]) <= 0).all()
        assert compared, COLUMNS[column]


def test_a_session_of_which_nothing_is_known_gets_what_is_popular(log, retriever):
    empty = next_clicks(log).take(slice(0, 1))
    unknown = Prefixes(log, empty.sessions, empty.starts, empty.starts)
    np.testing.assert_array_equal(retriever.retrieve(unknown).items[0], np.arange(30))
