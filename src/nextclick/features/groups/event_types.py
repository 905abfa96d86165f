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
    log = context.prefixes.log
    n_types = len(context.knowledge.statistics.types)
    _write(log.items, log.types, context.prefixes.starts, context.prefixes.ends, context.candidates.items, n_types, out)


@njit(cache=True, nogil=True)
def _write(log_items, log_types, starts, ends, candidates, n_types, out):
    n, width = candidates.shape
    for i in range(n):
        events = known_events(log_items, starts[i], ends[i])
        in_session = np.zeros(n_types, np.float32)
        for event in events:
            if log_types[event] < n_types:
                in_session[log_types[event]] += 1
        last_type = log_types[events[-1]] if len(events) and log_types[events[-1]] < n_types else 0
        for c in range(width):
            item = candidates[i, c]
            if item < 0:
                break
            row = out[i, c]
            row[0] = last_type
            for event in events:
                if log_items[event] == item and 0 < log_types[event] < n_types:
                    row[log_types[event]] += 1
            for kind in range(1, n_types):
                row[n_types - 1 + kind] = in_session[kind]


EVENT_TYPES = FeatureGroup("event types", _names, _fill)
