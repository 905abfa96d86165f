"""The state of a live session: its newest events. `advance` is the only way in which it changes."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from nextclick.events.prefixes import KEPT_EVENTS, Prefixes
from nextclick.events.sessions import SessionLog, Vocabulary


class Click(NamedTuple):
    """One event of a session. Clicks order as `nextclick.events.click_order` says: as a log holds them.

    timestamp: ms since 1970 UTC. position: by which clicks of one ms are ordered; it ascends in a session.
    event_type: the index in the list of event types.
    """

    timestamp: int
    position: int
    event_id: str
    item_id: str
    event_type: int


SessionState = tuple[Click, ...]  # the newest KEPT_EVENTS clicks, ascending
EMPTY: SessionState = ()


def advance(state: SessionState, click: Click) -> SessionState:
    """The state that also holds `click`.

    Every order and repetition of the same clicks leads to the same state: it is the newest KEPT_EVENTS of them, each
    id once. Of clicks that share an id the oldest counts, as long as it is among the newest.
    """
    repeated = next((held for held in state if held.event_id == click.event_id), None)
    if repeated is not None:
        if repeated <= click:
            return state
        state = tuple(held for held in state if held is not repeated)
    if len(state) == KEPT_EVENTS and click < state[0]:
        return state
    clicks = list(state)
    insort(clicks, click)
    return tuple(clicks[-KEPT_EVENTS:])


def advance_all(state: SessionState, clicks: Iterable[Click]) -> SessionState:
    """`advance` by one click after the other."""
    for click in clicks:
        state = advance(state, click)
    return state


def prefixes_of(states: Sequence[SessionState], vocabulary: Vocabulary) -> Prefixes:
    """The states as predictions to make, in their order: what retrieval and features read, live as in training.

    The next item is not known, so each prefix ends where its session does.
    """
    offsets = np.concatenate([[0], np.cumsum([len(state) for state in states])]).astype(np.int64)
    clicks = [click for state in states for click in state]
    log = SessionLog(
        vocabulary=vocabulary,
        offsets=offsets,
        items=vocabulary.indices(np.array([click.item_id for click in clicks], dtype=np.str_)),
        types=np.array([click.event_type for click in clicks], dtype=np.int8),
        times=np.array([click.timestamp for click in clicks], dtype=np.int64),
        session_ids=np.arange(len(states)).astype(np.str_),
    )
    return Prefixes.of(log, np.arange(len(states), dtype=np.int32), offsets[1:])
