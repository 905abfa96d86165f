"""The hot loop of retrieval: every item that past sessions connect with this one, with a score by each source.

Neighbour sessions are found as in VMIS-kNN (Kersbergen et al., SIGMOD 2022) and weighted near the matched click as in
STAN (Garg et al., SIGIR 2019); transitions are those of sequential rules (Ludewig and Jannach, 2018).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

SOURCES = (
    "neighbours",  # similarity of the neighbour sessions that hold the item
    "neighbours_near",  # the same, less the further from the matched click
    "neighbours_after",  # the same, only after the matched click
    "neighbours_next",  # the same, only right after it
    "after_last",  # clicks on the item after the session's last item, 1 / distance
    "before_last",  # clicks on it before the last item, 1 / distance
    "next_last",  # clicks right after the last item
    "after",  # clicks after any of the last items, older and popular ones weighing less
    "near",  # clicks around any of the last items, likewise
    "own",  # clicks on the item in this very session
)
N_SOURCES = len(SOURCES)
NEIGHBOURS, NEIGHBOURS_NEAR = SOURCES.index("neighbours"), SOURCES.index("neighbours_near")
NEIGHBOURS_AFTER, NEIGHBOURS_NEXT = SOURCES.index("neighbours_after"), SOURCES.index("neighbours_next")
AFTER_LAST, BEFORE_LAST = SOURCES.index("after_last"), SOURCES.index("before_last")
NEXT_LAST, AFTER, NEAR, OWN = (SOURCES.index(name) for name in ("next_last", "after", "near", "own"))
NEIGHBOUR_CLICKS = 10  # the newest clicks whose sessions are neighbours
NEIGHBOUR_DECAY = 2.0  # a click's weight falls by e every two clicks
NEAR_DECAY = 2.0
TRANSITION_CLICKS = 5  # the newest clicks whose transitions count
TRANSITION_DECAY = 0.6  # of weight, a click
REACH = 10  # clicks before and after that count as near
NEAR_REACH_DECAY = 0.8
OWN_DECAY = 0.8
_DISTANCES = np.arange(256)  # further apart weighs nothing
_NEAR = np.exp(-_DISTANCES / NEAR_DECAY).astype(np.float32)
_REACH = (NEAR_REACH_DECAY**_DISTANCES).astype(np.float32)


class Neighbours(NamedTuple):
    """What `find_neighbours` works in and writes, over all past sessions.

    similarity: (n_sessions,) float, zero before the first call; the caller clears it at the sessions found. matched:
    (n_sessions,) int64, the event of the newest click that a session shares. found: (n_sessions,) int64, the sessions
    found.
    """

    similarity: np.ndarray
    matched: np.ndarray
    found: np.ndarray

    @classmethod
    def over(cls, n_sessions: int, dtype: type[np.floating]) -> Neighbours:
        return cls(np.zeros(n_sessions, dtype), np.empty(n_sessions, np.int64), np.empty(n_sessions, np.int64))


class Scores(NamedTuple):
    """Scores of all items, and which of them were touched.

    values: (n_items, N_SOURCES + 1) float32, zero before; the last column is 1 for an item that was touched, and the
    caller clears the rows of those. touched: (n_items,) int32, the touched items' indices.
    """

    values: np.ndarray
    touched: np.ndarray

    @classmethod
    def over(cls, n_items: int) -> Scores:
        return cls(np.zeros((n_items, N_SOURCES + 1), np.float32), np.empty(n_items, np.int32))


# The kernels take a record apart first: an array that a loop reads from it is counted as one more reference each time.
@njit(cache=True)
def score_items(clicks, index, sample, max_neighbours, neighbours, scores):
    """Add up the scores of all items connected with `clicks`; returns how many items were touched.

    clicks: (n,) int32, item indices of the session, oldest first, none of them -1. index: a SessionIndex.
    sample: the newest clicks read per item; max_neighbours: how many of the most similar sessions count.
    neighbours: Neighbours, of which `similarity` is zero before and after. scores: Scores.
    """
    count = score_neighbours(clicks, index, sample, max_neighbours, neighbours, scores, 0)
    count = score_transitions(clicks, index, sample, scores, count)
    return score_own(clicks, scores, count)


@njit(cache=True)
def find_neighbours(clicks, weights, index, sample, neighbours):
    """Find the past sessions that share an item with `clicks`, and sum up the weights of the shared clicks, of equal
    clicks that of the newest only; returns how many sessions were found. See `score_items`.

    weights: (n,) float64, of each click; one of weight 0 finds nothing. sample: the newest clicks read per item.
    """
    similarity, matched, found = neighbours
    sessions, posting_offsets, posting_events = index.sessions, index.posting_offsets, index.posting_events
    count = 0
    for a in range(len(clicks) - 1, -1, -1):
        if weights[a] == 0 or _stands_later(clicks, a):
            continue
        end = posting_offsets[clicks[a] + 1]
        previous = -1
        for x in range(end - 1, max(posting_offsets[clicks[a]], end - sample) - 1, -1):
            event = posting_events[x]
            session = sessions[event]
            if session == previous:
                continue
            previous = session
            if similarity[session] == 0:
                found[count] = session
                matched[session] = event
                count += 1
            similarity[session] += weights[a]
    return count


@njit(cache=True)
def score_neighbours(clicks, index, sample, max_neighbours, neighbours, scores, count):
    """The part of `score_items` that goes through similar sessions; count: how many items were touched before."""
    offsets, items, n = index.offsets, index.items, len(clicks)
    similarity, matched, found = neighbours
    values, touched = scores
    weights = np.zeros(n)
    for a in range(max(0, n - NEIGHBOUR_CLICKS), n):
        weights[a] = np.exp(-(n - 1 - a) / NEIGHBOUR_DECAY)
    sessions = found[: find_neighbours(clicks, weights, index, sample, neighbours)]
    similarities = np.empty(len(sessions), np.float32)
    for i in range(len(sessions)):
        session = sessions[i]
        similarities[i] = similarity[session] / np.sqrt(offsets[session + 1] - offsets[session])
        similarity[session] = 0
    threshold = np.float32(0)
    if len(sessions) > max_neighbours:
        threshold = np.partition(similarities, len(sessions) - max_neighbours)[len(sessions) - max_neighbours]
    for i in range(len(sessions)):
        session, value = sessions[i], similarities[i]
        if value < threshold:
            continue
        for event in range(offsets[session], offsets[session + 1]):
            item = items[event]
            count = touch(item, values, touched, count)
            distance = event - matched[session]
            values[item, NEIGHBOURS] += value
            if abs(distance) < len(_NEAR):
                values[item, NEIGHBOURS_NEAR] += value * _NEAR[abs(distance)]
            if distance > 0:
                values[item, NEIGHBOURS_AFTER] += value / distance
            if distance == 1:
                values[item, NEIGHBOURS_NEXT] += value
    return count


@njit(cache=True)
def score_transitions(clicks, index, sample, scores, count):
    """The part of `score_items` that looks around the clicks on the session's items."""
    offsets, items, sessions, posting_offsets, posting_events = index
    values, touched = scores
    n = len(clicks)
    for a in range(n - 1, max(0, n - TRANSITION_CLICKS) - 1, -1):
        if _stands_later(clicks, a):
            continue
        end = posting_offsets[clicks[a] + 1]
        begin = max(posting_offsets[clicks[a]], end - sample)
        weight = TRANSITION_DECAY ** (n - 1 - a) / np.sqrt(end - posting_offsets[clicks[a]] + 1.0)
        for x in range(begin, end):
            event = posting_events[x]
            session = sessions[event]
            for other in range(max(offsets[session], event - REACH), min(offsets[session + 1], event + REACH + 1)):
                if other == event:
                    continue
                item = items[other]
                count = touch(item, values, touched, count)
                distance = other - event
                if a == n - 1:
                    if distance > 0:
                        values[item, AFTER_LAST] += 1.0 / distance
                    else:
                        values[item, BEFORE_LAST] -= 1.0 / distance
                    if distance == 1:
                        values[item, NEXT_LAST] += 1.0
                if distance > 0:
                    values[item, AFTER] += weight / distance
                values[item, NEAR] += weight * _REACH[abs(distance)]
    return count


@njit(cache=True)
def score_own(clicks, scores, count):
    """The part of `score_items` for the session's own items."""
    values, touched = scores
    n = len(clicks)
    for a in range(n):
        count = touch(clicks[a], values, touched, count)
        values[clicks[a], OWN] += OWN_DECAY ** (n - 1 - a)
    return count


@njit(cache=True, inline="always")
def _stands_later(clicks, a):
    for b in range(a + 1, len(clicks)):  # noqa: SIM110 - generators do not compile
        if clicks[b] == clicks[a]:
            return True
    return False


@njit(cache=True, inline="always")
def touch(item, values, touched, count):
    """Note an item among those touched, once; returns how many they are, `count` before."""
    if values[item, N_SOURCES] == 0:
        values[item, N_SOURCES] = 1
        touched[count] = item
        count += 1
    return count
