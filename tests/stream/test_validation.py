"""Whatever comes in, each message is an event or has a reason, and the rules are those of files."""

import json

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from nextclick.events.ingest import ingest
from nextclick.events.schema import FIELDS
from nextclick.params import Ingest
from nextclick.stream.poison import poisoned
from nextclick.stream.validation import CLOCK_SKEW, Message, Validator

TYPES = ["view", "cart", "purchase"]
NOW = 1_767_225_600_000
GOOD = {"event_id": "e", "session_id": "s", "item_id": "i", "event_type": "view", "timestamp": NOW}
VALIDATOR = Validator(TYPES, 60_000)


def judge(*events: dict | bytes):
    return VALIDATOR.judge([Message(e if isinstance(e, bytes) else json.dumps(e).encode(), NOW) for e in events])


def test_good_events_come_through_in_their_order_and_the_late_are_marked():
    judged = judge(
        GOOD,
        GOOD | {"event_id": 7, "user_id": "u", "timestamp": NOW / 1000},
        GOOD | {"event_id": "late", "timestamp": "2025-12-31T23:58:59Z"},
        GOOD | {"event_id": " skewed ", "timestamp": NOW + CLOCK_SKEW},
    )
    assert judged.broken == []
    assert judged.events["event_id"].to_pylist() == ["e", "7", "late", "skewed"]
    assert judged.events["user_id"].to_pylist() == [None, "u", None, None]
    assert judged.events["late"].to_pylist() == [False, False, True, False]


def test_each_broken_message_has_its_place_and_reason():
    judged = judge(
        b"{",
        GOOD,
        GOOD | {"timestamp": NOW + CLOCK_SKEW + 1},
        GOOD | {"colour": 1},
        GOOD | {"item_id": [1]},
        b"x" * 10**7,
    )
    assert judged.events.num_rows == 1
    assert [(bad.place, bad.field) for bad in judged.broken] == [
        *((0, "row"), (2, "timestamp"), (3, "row"), (4, "row"), (5, "row"))
    ]
    assert [bad.reason for bad in judged.broken] == [
        "not a JSON object",
        "in the future",
        f"has a field other than {', '.join(FIELDS)}",
        "item_id: expected text or a number",
        "larger than 65536 bytes",
    ]


def test_ten_thousand_poisoned_messages_are_all_refused():
    random = np.random.default_rng(0)
    judged = VALIDATOR.judge([Message(poisoned(random, GOOD), NOW) for _ in range(10_000)])
    assert len(judged.broken) == 10_000
    assert len({(bad.field, bad.reason) for bad in judged.broken}) >= 15


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)
objects = st.dictionaries(st.sampled_from(FIELDS) | st.text(), json_values).map(
    lambda event: json.dumps(event).encode()
)


@given(st.binary(max_size=300) | objects)
def test_nothing_that_is_sent_raises(value):
    judged = VALIDATOR.judge([Message(value, NOW)])
    assert judged.events.num_rows + len(judged.broken) == 1


values = {name: st.text(max_size=3) | st.integers(-5, NOW // 1000) | st.none() for name in FIELDS}
nearly_good = st.fixed_dictionaries({name: st.just(GOOD.get(name, "u")) | value for name, value in values.items()})


@settings(max_examples=25, deadline=None)
@given(st.lists(nearly_good, min_size=1, max_size=8))
def test_files_are_judged_alike(tmp_path_factory, events):
    events = [event | {"event_id": f"{place}"} for place, event in enumerate(events)] + [GOOD | {"event_id": "good"}]
    judged = judge(*events)
    known = [e for e in events if e["event_type"] in TYPES]
    folder = tmp_path_factory.mktemp("files")
    (folder / "events.jsonl").write_text("\n".join(json.dumps(event) for event in known))
    ingest(Ingest(path="events.jsonl"), folder, folder / "out")
    accepted = pd.read_parquet(folder / "out/events.parquet")
    assert set(accepted["event_id"]) == set(judged.events["event_id"].to_pylist())
