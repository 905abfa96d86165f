"""The hot loop of retrieval: every item that past sessions connect with this one, with a score by each source.

The newest past clicks on the session's items are looked up, as in VMIS-kNN (Kersbergen et al., SIGMOD 2022), and what
was clicked around them counts by distance, as in sequential rules (Ludewig and Jannach, 2018).
"""

from __future__ import annotations

import numpy as np
from numba import njit

SOURCES = (
    "after_last",  # clicks on the item after the session's last item, 1 / distance
    "before_last",  # clicks on it before the last item, 1 / distance
    "next_last",  # clicks right after the last item
    "after",  # clicks after any of the last items, older and popular ones weighing less
    "near",  # clicks around any of the last items, likewise
    "own",  # clicks on the item in this very session
)
N_SOURCES = len(SOURCES)
TRANSITION_CLICKS = 5  # the newest clicks whose transitions count
TRANSITION_DECAY = 0.6  # of weight, a click
REACH = 10  # clicks before and after that count as near
NEAR_REACH_DECAY = 0.8
OWN_DECAY = 0.8
_REACH = (NEAR_REACH_DECAY ** np.arange(REACH + 1)).astype(np.float32)


@njit(cache=True)
def score_items(clicks, offsets, items, sessions, posting_offsets, posting_events, sample, scores, touched_items):
    """Add up the scores of all items connected with `clicks`; returns how many items were touched.

    clicks: (n,) int32, item numbers of the session, oldest first, all known.
    sample: the newest clicks looked at per item.
    scores (n_items, N_SOURCES + 1) float32 is scratch, zero before, for the caller to read at `touched_items` and to
    clear.
    """
    n_items = score_transitions(
        clicks, offsets, items, sessions, posting_offsets, posting_events, sample, scores, touched_items
    )
    return score_own(clicks, scores, touched_items, n_items)


@njit(cache=True)
def score_transitions(clicks, offsets, items, sessions, posting_offsets, posting_events, sample, scores, touched_items):
    """The part of `score_items` that looks around the clicks on the session's items."""
    n, n_items = len(clicks), 0
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
                        scores[item, 0] += 1.0 / distance
                    else:
                        scores[item, 1] -= 1.0 / distance
                    if distance == 1:
                        scores[item, 2] += 1.0
                if distance > 0:
                    scores[item, 3] += weight / distance
                scores[item, 4] += weight * _REACH[abs(distance)]
    return n_items


@njit(cache=True)
def score_own(clicks, scores, touched_items, n_items):
    """The part of `score_items` for the session's own items; n_items: how many were touched before."""
    n = len(clicks)
    for a in range(n):
        n_items = _touch(clicks[a], scores, touched_items, n_items)
        scores[clicks[a], 5] += OWN_DECAY ** (n - 1 - a)
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
