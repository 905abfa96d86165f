"""What was done: the type of the last event, and what was done with the candidate in this session.

A type that was added after the bundle was made counts as none.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nextclick.events.prefixes import known_events
from nextclick.features.feature_group import FeatureContext, FeatureGroup, ItemKnowledge


def _names(knowledge: ItemKnowledge) -> tuple[str, ...]:
    types = knowledge.statistics.types[1:]
    own = (*(f"{name}_of_it" for name in types), *(f"{name}_in_session" for name in types))
    return ("last_event_type", *own) if len(types) else ()


def _fill(context: FeatureContext, out: np.ndarray) -> None:
    n_types = len(context.knowledge.statistics.types)
    _write(context.prefixes.arrays, context.candidates.items, n_types, out)


@njit(cache=True, nogil=True)
def _write(prefixes, candidates, n_types, out):
    n, width = candidates.shape
    types = prefixes.types
    for i in range(n):
        events = known_events(prefixes, i)
        in_session = np.zeros(n_types, np.float32)
        for event in events:
            if types[event] < n_types:
                in_session[types[event]] += 1
        last_type = types[events[-1]] if len(events) and types[events[-1]] < n_types else 0
        for c in range(width):
            item = candidates[i, c]
            if item < 0:
                break
            row = out[i, c]
            row[0] = last_type
            for event in events:
                if prefixes.items[event] == item and 0 < types[event] < n_types:
                    row[types[event]] += 1
            for kind in range(1, n_types):
                row[n_types - 1 + kind] = in_session[kind]


EVENT_TYPES = FeatureGroup("event types", _names, _fill)
