"""Whatever comes in, each message is an event or has a reason, and the rules are those of files."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextclick.events.ingest import ingest
from nextclick.events.schema import AMBIGUOUS_ZONE, FIELDS, LOST_DIGITS, MAX_POSITION, NO_MOMENT
from nextclick.params import Ingest
from nextclick.stream.poison import poisoned
from nextclick.stream.validation import CLOCK_SKEW_MS, Message, Validator

TYPES = ["view", "cart", "purchase"]
NOW = 1_767_225_600_000
GOOD = {"event_id": "e", "session_id": "s", "item_id": "i", "event_type": "view", "timestamp": NOW}
NO_POSITION = f"not a whole number from 0 to {MAX_POSITION}"
VALIDATOR = Validator(TYPES, 60_000)


def validate(*events: dict | bytes):
    values = (event if isinstance(event, bytes) else json.dumps(event).encode() for event in events)
    return VALIDATOR.validate([Message(value, NOW, 100 + place) for place, value in enumerate(values)])


def test_good_events_come_through_in_their_order_and_the_late_are_marked():
    validated = validate(
        GOOD,
        GOOD | {"event_id": 7, "user_id": "u", "timestamp": NOW / 1000},
        GOOD | {"event_id": "late", "timestamp": "2025-12-31T23:58:59Z"},
        GOOD | {"event_id": " skewed ", "timestamp": NOW + CLOCK_SKEW_MS, "position": 7},
    )
    assert validated.invalid == []
    assert validated.events["event_id"].to_pylist() == ["e", "7", "late", "skewed"]
    assert validated.events["user_id"].to_pylist() == [None, "u", None, None]
    assert validated.events["position"].to_pylist() == [100, 101, 102, 7]  # its own, else that of its message
    assert validated.events["late"].to_pylist() == [False, False, True, False]


def test_ids_and_times_have_the_spelling_that_files_get():
    validated = validate(
        GOOD | {"event_id": "a", "item_id": 17.0, "user_id": "17850.0"},
        GOOD | {"event_id": "b", "item_id": "17", "user_id": "(not set)"},
        GOOD | {"event_id": "c", "item_id": "17.0", "timestamp": NOW * 1000},
        GOOD | {"event_id": "d", "item_id": "17.5", "timestamp": f"{NOW}000000"},
    )
    assert validated.invalid == []
    assert validated.events["item_id"].to_pylist() == ["17", "17", "17", "17.5"]
    assert validated.events["user_id"].to_pylist() == ["17850", None, None, None]
    assert len(set(validated.events["timestamp"].to_pylist())) == 1
    broken = validate(
        GOOD | {"item_id": 1e17},
        GOOD | {"session_id": "NULL"},
        GOOD | {"item_id": '["a", "b"]'},
        GOOD | {"timestamp": "2025-12-31T23:58:59 CST"},
        GOOD | {"timestamp": "20260101000000"},
    )
    assert [(one.field, one.reason) for one in broken.invalid] == [
        ("item_id", LOST_DIGITS),
        ("session_id", "empty"),
        ("row", "item_id: a list of items: send one event for each"),
        ("timestamp", AMBIGUOUS_ZONE),
        ("timestamp", NO_MOMENT),
    ]
    guests = Validator(TYPES, 60_000, nobody=["guest"])
    told = guests.validate([Message(json.dumps(GOOD | {"user_id": "guest"}).encode(), NOW, 0)])
    assert told.events["user_id"].to_pylist() == [None]


@pytest.mark.ml_test("monitor-2")
def test_each_broken_message_has_its_place_and_reason():
    validated = validate(
        b"{",
        GOOD,
        GOOD | {"timestamp": NOW + CLOCK_SKEW_MS + 1},
        GOOD | {"colour": 1},
        GOOD | {"item_id": [1]},
        b"x" * 10**7,
    )
    assert validated.events.num_rows == 1
    assert [(one.place, one.field) for one in validated.invalid] == [
        *((0, "row"), (2, "timestamp"), (3, "row"), (4, "row"), (5, "row"))
    ]
    assert [one.reason for one in validated.invalid] == [
        "not a JSON object",
        "in the future",
        f"has a field other than {', '.join(FIELDS)}",
        "item_id: a list of items: send one event for each",
        "larger than 65536 bytes",
    ]


LONG = "x" * 10_000
POISON = [
    (b"\xff\x00", "row", "not a JSON object"),
    (b"[1, 2]", "row", "not a JSON object"),
    (b"", "row", "not a JSON object"),
    (json.dumps(GOOD | {"item_id": "x" * 10 * 2**20}).encode(), "row", "larger than 65536 bytes"),
    (GOOD | {"colour": "red"}, "row", f"has a field other than {', '.join(FIELDS)}"),
    (GOOD | {"session_id": ["s"]}, "row", "session_id: expected text or a number"),
    (GOOD | {"timestamp": "yesterday"}, "timestamp", NO_MOMENT),
    (GOOD | {"timestamp": NOW + 86_400_000}, "timestamp", "in the future"),
    (GOOD | {"timestamp": "1970-01-01T00:00:00Z"}, "timestamp", "before 1990"),
    (GOOD | {"position": -1}, "position", NO_POSITION),
    (GOOD | {"position": "1.5"}, "position", NO_POSITION),
    (GOOD | {"position": "first"}, "position", NO_POSITION),
    (GOOD | {"position": MAX_POSITION + 1}, "position", NO_POSITION),
    (GOOD | {"position": 10**40}, "position", NO_POSITION),
    (GOOD | {"position": 3.0}, "row", "position: expected a whole number"),
    (GOOD | {"position": True}, "row", "position: expected a whole number"),
    (GOOD | {"position": [1]}, "row", "position: expected a whole number"),
    (GOOD | {"event_id": LONG}, "event_id", "longer than 256 characters"),
    (GOOD | {"session_id": LONG}, "session_id", "longer than 256 characters"),
    (GOOD | {"item_id": LONG}, "item_id", "longer than 256 characters"),
    (GOOD | {"event_type": "wish"}, "event_type", "not one of view, cart, purchase"),
]


@pytest.mark.parametrize(("message", "field", "reason"), POISON, ids=range(len(POISON)))
def test_each_kind_of_poison_has_its_reason_and_the_event_beside_it_counts(message, field, reason):
    validated = validate(message, GOOD)
    assert [(one.place, one.field, one.reason) for one in validated.invalid] == [(0, field, reason)]
    assert validated.events["event_id"].to_pylist() == ["e"]


def test_ten_thousand_poisoned_messages_are_all_refused():
    random = np.random.default_rng(0)
    validated = VALIDATOR.validate([Message(poisoned(random, GOOD), NOW, 0) for _ in range(10_000)])
    assert len(validated.invalid) == 10_000
    assert len({(one.field, one.reason) for one in validated.invalid}) >= 15


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)
objects = st.dictionaries(st.sampled_from(FIELDS) | st.text(), json_values).map(
    lambda event: json.dumps(event).encode()
)


@given(st.binary(max_size=300) | objects)
def test_nothing_that_is_sent_raises(value):
    validated = VALIDATOR.validate([Message(value, NOW, 0)])
    assert validated.events.num_rows + len(validated.invalid) == 1


values = {name: st.text(max_size=3) | st.integers(-5, NOW // 1000) | st.none() for name in FIELDS}
ALL_FIELDS = GOOD | {"user_id": "u", "position": 3}
nearly_good = st.fixed_dictionaries({name: st.just(ALL_FIELDS[name]) | value for name, value in values.items()})


@pytest.mark.ml_test("data-1")
@settings(max_examples=25, deadline=None)
@given(st.lists(nearly_good, min_size=1, max_size=8))
def test_files_are_judged_alike(tmp_path_factory, events):
    events = [event | {"event_id": f"{place}"} for place, event in enumerate(events)] + [GOOD | {"event_id": "good"}]
    validated = validate(*events)
    known = [e for e in events if e["event_type"] in TYPES]
    folder = tmp_path_factory.mktemp("files")
    (folder / "events.jsonl").write_text("\n".join(json.dumps(event) for event in known))
    ingest(Ingest(path="events.jsonl"), folder, folder / "out")
    accepted = pd.read_parquet(folder / "out/events.parquet")
    assert set(accepted["event_id"]) == set(validated.events["event_id"].to_pylist())
