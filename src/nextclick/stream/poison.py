"""Invalid messages for tests and replays: what no sender should send and every consumer has to survive."""

from __future__ import annotations

import json

import numpy as np

from nextclick.stream.validation import MAX_BYTES

HUGE = 10 * 2**20  # bytes
LONG_ID = "x" * 10_000


def poisoned(random: np.random.Generator, event: dict) -> bytes:
    """A valid event made invalid in one of many ways, or no event at all."""
    variant = _VARIANTS[random.integers(len(_VARIANTS))]
    if isinstance(variant, dict):
        return json.dumps(event | variant).encode()
    if isinstance(variant, str):
        return json.dumps({name: value for name, value in event.items() if name != variant}).encode()
    if random.random() < 0.005:
        return json.dumps(event | {"item_id": "x" * HUGE}).encode()
    whole = json.dumps(event).encode()
    return (
        whole[: random.integers(len(whole))],  # torn
        b"\xff" + random.bytes(int(random.integers(1, 200))),  # no text
        b"[" * 50_000,
        b"null",
        json.dumps([event]).encode(),
        json.dumps(event | {"item_id": "x" * MAX_BYTES}).encode(),
    )[random.integers(6)]


# fields to put in, a field to leave out, or None: no event at all
_VARIANTS: tuple[dict | str | None, ...] = (
    {"event_id": ""},
    {"event_id": None},
    {"event_id": LONG_ID},
    {"session_id": LONG_ID},
    {"session_id": "   "},
    {"session_id": {"id": "s"}},
    {"item_id": LONG_ID},
    {"item_id": ["i"]},
    {"item_id": True},
    {"item_id": 1.5},
    {"item_id": "\ud800"},
    {"user_id": LONG_ID},
    {"user_id": 10**300},
    {"event_type": "wish"},
    {"event_type": 7},
    {"timestamp": 0},
    {"timestamp": -1},
    {"timestamp": "1970-01-01T00:00:00Z"},
    {"timestamp": "9999-12-31T00:00:00Z"},
    {"timestamp": 10**14},
    {"timestamp": 5 * 10**18},
    {"timestamp": -(10**18)},
    {"timestamp": "290000-01-01"},
    {"timestamp": 10**40},
    {"timestamp": float("nan")},
    {"timestamp": float("inf")},
    {"timestamp": "infinity"},
    {"timestamp": "yesterday"},
    {"timestamp": False},
    {"position": -1},
    {"position": 1.5},
    {"position": True},
    {"position": "first"},
    {"position": 10**40},
    {"colour": "red"},
    {"__class__": "os.system"},
    "event_id",
    "session_id",
    "item_id",
    "event_type",
    "timestamp",
    *[None] * 12,
)
