"""The compiled scores equal a slow, plain reading of their definitions."""

from collections import defaultdict
from math import exp, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextclick.events.sessions import SessionLog, Vocabulary
from nextclick.retrieval.index import SessionIndex
from nextclick.retrieval.scores import N_SOURCES, Neighbours, Scores, score_items

N_ITEMS = 8
clicks_of_session = st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=14)


def log_of(sessions: list[list[int]]) -> SessionLog:
    n_events = sum(map(len, sessions))
    return SessionLog(
        Vocabulary(np.array([str(i) for i in range(N_ITEMS)])),
        np.cumsum([0, *map(len, sessions)]),
        np.concatenate(sessions).astype(np.int32),
        np.zeros(n_events, np.int8),
        np.arange(n_events),
        np.arange(len(sessions)).astype(np.str_),
    )


def compiled(sessions: list[list[int]], clicks: list[int], sample: int, max_neighbours: int) -> dict[int, np.ndarray]:
    index = SessionIndex.of(log_of(sessions))
    neighbours, scores = Neighbours.over(len(sessions), np.float32), Scores.over(N_ITEMS)
    count = score_items(np.array(clicks, np.int32), index, sample, max_neighbours, neighbours, scores)
    assert not neighbours.similarity.any()
    return {int(item): scores.values[item, :N_SOURCES] for item in scores.touched[:count]}


def plain(sessions: list[list[int]], clicks: list[int], sample: int, neighbours: int) -> dict[int, np.ndarray]:
    scores: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(N_SOURCES))
    ages = {item: clicks[::-1].index(item) for item in clicks}
    postings = {i: [(s, p) for s, c in enumerate(sessions) for p, item in enumerate(c) if item == i] for i in ages}
    matches: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for item, age in sorted(ages.items(), key=lambda pair: pair[1]):
        for session in {s for s, _ in postings[item][-sample:]} if age < 10 else ():
            matches[session].append((age, max(p for s, p in postings[item] if s == session)))
    similar = {s: sum(exp(-age / 2) for age, _ in found) / sqrt(len(sessions[s])) for s, found in matches.items()}
    lowest = sorted(similar.values())[-neighbours:][0] if similar else 0
    for session, value in similar.items():
        if value < lowest * (1 - 1e-6):
            continue
        for place, item in enumerate(sessions[session]):
            distance = place - matches[session][0][1]
            scores[item][:2] += value, value * exp(-abs(distance) / 2)
            if distance > 0:
                scores[item][2:4] += value / distance, value * (distance == 1)
    for item, age in ages.items():
        for s, p in postings[item][-sample:] if age < 5 else ():
            for place, other in enumerate(sessions[s]):
                d = place - p
                if d == 0 or abs(d) > 10:
                    continue
                weight = 0.6**age / sqrt(len(postings[item]) + 1)
                if age == 0:
                    scores[other][4:7] += max(0, 1 / d), max(0, -1 / d), d == 1
                scores[other][7:9] += weight * max(0, 1 / d), weight * 0.8 ** abs(d)
    for place, item in enumerate(reversed(clicks)):
        scores[item][9] += 0.8**place
    return scores


@settings(max_examples=150, deadline=None)
@given(st.lists(clicks_of_session, min_size=1, max_size=12), clicks_of_session, st.integers(1, 6))
def test_compiled_scores_equal_their_plain_definition(sessions, clicks, sample):
    ours, theirs = compiled(sessions, clicks, sample, 1000), plain(sessions, clicks, sample, 1000)
    assert ours.keys() == theirs.keys()
    for item, values in theirs.items():
        np.testing.assert_allclose(ours[item], values, rtol=1e-4, atol=1e-5)


def test_only_the_most_similar_sessions_are_kept():
    kept = compiled([[0, 1, 2, 3, 4, 5], [0, 6]], [0], sample=10, max_neighbours=1)
    assert kept[6][0] > 0
    assert kept[5][0] == 0
    assert kept[6][0] == pytest.approx(1 / sqrt(2))
