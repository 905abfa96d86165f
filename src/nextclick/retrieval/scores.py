"""The hot loop of retrieval: every item that past sessions connect with this one, with a score by each source.

Neighbour sessions are found as in VMIS-kNN (Kersbergen et al., SIGMOD 2022) and weighted near the matched click as in
STAN (Garg et al., SIGIR 2019); transitions are those of sequential rules (Ludewig and Jannach, 2018).
"""

from __future__ import annotations

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


@njit(cache=True)
def score_items(
    clicks,
    offsets,
    items,
    sessions,
    posting_offsets,
    posting_events,
    sample,
    neighbours,
    similarity,
    matched,
    touched_sessions,
    scores,
    touched_items,
):
    """Add up the scores of all items connected with `clicks`; returns how many items were touched.

    clicks: (n,) int32, item numbers of the session, oldest first, all known.
    sample: the newest clicks looked at per item; neighbours: the most similar sessions kept.
    similarity (n_sessions,) float32 and scores (n_items, N_SOURCES + 1) float32 are scratch, zero before;
    similarity is zero again after, scores are for the caller to read at `touched_items` and clear.
    """
    n_items = score_neighbours(
        clicks,
        offsets,
        items,
        sessions,
        posting_offsets,
        posting_events,
        sample,
        neighbours,
        similarity,
        matched,
        touched_sessions,
        scores,
        touched_items,
        0,
    )
    n_items = score_transitions(
        clicks, offsets, items, sessions, posting_offsets, posting_events, sample, scores, touched_items, n_items
    )
    return score_own(clicks, scores, touched_items, n_items)


@njit(cache=True)
def score_neighbours(
    clicks,
    offsets,
    items,
    sessions,
    posting_offsets,
    posting_events,
    sample,
    neighbours,
    similarity,
    matched,
    touched_sessions,
    scores,
    touched_items,
    n_items,
):
    """The part of `score_items` that goes through similar sessions; n_items: how many were touched before."""
    n = len(clicks)
    n_sessions = 0
    for a in range(n - 1, max(0, n - NEIGHBOUR_CLICKS) - 1, -1):
        if _stands_later(clicks, a):
            continue
        weight = np.exp(-(n - 1 - a) / NEIGHBOUR_DECAY)
        end = posting_offsets[clicks[a] + 1]
        begin = max(posting_offsets[clicks[a]], end - sample)
        previous = -1
        for x in range(end - 1, begin - 1, -1):
            event = posting_events[x]
            session = sessions[event]
            if session == previous:
                continue
            previous = session
            if similarity[session] == 0:
                touched_sessions[n_sessions] = session
                n_sessions += 1
                matched[session] = event
            similarity[session] += weight

    values = np.empty(n_sessions, np.float32)
    for i in range(n_sessions):
        session = touched_sessions[i]
        similarity[session] /= np.sqrt(offsets[session + 1] - offsets[session])
        values[i] = similarity[session]
    threshold = np.float32(0)
    if n_sessions > neighbours:
        threshold = np.partition(values, n_sessions - neighbours)[n_sessions - neighbours]
    for i in range(n_sessions):
        session = touched_sessions[i]
        value = similarity[session]
        similarity[session] = 0
        if value < threshold:
            continue
        for event in range(offsets[session], offsets[session + 1]):
            item = items[event]
            n_items = _touch(item, scores, touched_items, n_items)
            distance = event - matched[session]
            scores[item, 0] += value
            if abs(distance) < len(_NEAR):
                scores[item, 1] += value * _NEAR[abs(distance)]
            if distance > 0:
                scores[item, 2] += value / distance
            if distance == 1:
                scores[item, 3] += value
    return n_items


@njit(cache=True)
def score_transitions(
    clicks, offsets, items, sessions, posting_offsets, posting_events, sample, scores, touched_items, n_items
):
    """The part of `score_items` that looks around the clicks on the session's items."""
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
                n_items = _touch(item, scores, touched_items, n_items)
                distance = other - event
                if a == n - 1:
                    if distance > 0:
                        scores[item, 4] += 1.0 / distance
                    else:
                        scores[item, 5] -= 1.0 / distance
                    if distance == 1:
                        scores[item, 6] += 1.0
                if distance > 0:
                    scores[item, 7] += weight / distance
                scores[item, 8] += weight * _REACH[abs(distance)]
    return n_items


@njit(cache=True)
def score_own(clicks, scores, touched_items, n_items):
    """The part of `score_items` for the session's own items."""
    n = len(clicks)
    for a in range(n):
        n_items = _touch(clicks[a], scores, touched_items, n_items)
        scores[clicks[a], 9] += OWN_DECAY ** (n - 1 - a)
    return n_items


@njit(cache=True, inline="always")
def _stands_later(clicks, a):
    for b in range(a + 1, len(clicks)):  # noqa: SIM110 - generators do not compile
        if clicks[b] == clicks[a]:
            return True
    return False


@njit(cache=True, inline="always")
def _touch(item, scores, touched_items, n_items):
    if scores[item, N_SOURCES] == 0:
        scores[item, N_SOURCES] = 1
        touched_items[n_items] = item
        n_items += 1
    return n_items
