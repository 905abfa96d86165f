"""A live state is the same for every order and repetition of its clicks, and is what the log holds."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextclick.events.prefixes import IDLE, KEPT_EVENTS, next_clicks
from nextclick.events.schema import MAX_POSITION
from nextclick.events.session_state import EMPTY, Click, advance, advance_all, prefixes_of
from nextclick.events.sessions import SessionLog

TYPES = ["view", "cart", "purchase"]
clicks = st.lists(
    st.builds(
        Click,
        timestamp=st.integers(0, 10),  # many share one, and some their position
        position=st.integers(0, 20) | st.integers(0, MAX_POSITION),
        event_id=st.uuids().map(str),
        item_id=st.sampled_from(["a", "b", "c", "d"]),
        event_type=st.integers(0, 2),
    ),
    max_size=3 * KEPT_EVENTS,
    unique_by=lambda click: click.event_id,
)


@given(clicks, st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(events, random):
    shuffled = events + random.choices(events, k=len(events)) if events else []
    random.shuffle(shuffled)
    assert advance_all(EMPTY, shuffled) == advance_all(EMPTY, events) == tuple(sorted(events)[-KEPT_EVENTS:])


@given(clicks, clicks)
def test_knowing_it_already_changes_nothing(first, second):
    state = advance_all(EMPTY, first + second)
    for click in state:
        assert advance(state, click) == state


@given(clicks)
def test_clicks_of_one_moment_have_the_order_of_their_positions(events):
    tied = {click.position: click._replace(timestamp=5) for click in events}
    by_position = [tied[position] for position in sorted(tied)]
    assert advance_all(EMPTY, reversed(by_position)) == tuple(by_position[-KEPT_EVENTS:])


@pytest.mark.parametrize(
    "new", [Click(2, 0, "x", "b", 0), Click(1, 8, "x", "a", 0)], ids=["a later moment", "a later position"]
)
def test_of_two_clicks_with_one_id_the_oldest_counts_whichever_comes_first(new):
    old = Click(1, 7, "x", "a", 0)
    assert advance_all(EMPTY, [old, new]) == advance_all(EMPTY, [new, old]) == (old,)


@given(st.lists(st.integers(0, IDLE + 1) | st.sampled_from([IDLE, IDLE + 1]), min_size=2, max_size=12))
def test_after_a_long_pause_a_session_begins_anew_whether_or_not_its_row_was_kept(pauses):
    times = np.cumsum(pauses)
    log = SessionLog.from_events(
        pd.DataFrame(
            {
                "event_id": [f"e{i:02d}" for i in range(len(times))],
                "session_id": "s",
                "item_id": "a",
                "event_type": "view",
                "timestamp": pd.to_datetime(times, unit="ms", utc=True),
            }
        ),
        TYPES,
    )
    kept, forgotten = EMPTY, EMPTY
    asked = next_clicks(log)
    for known, (start, end) in enumerate(zip(asked.starts, asked.ends, strict=True), 1):
        assert end == known
        assert (np.diff(times[start:end]) <= IDLE).all()
        assert start == 0 or times[start] - times[start - 1] > IDLE
        click = Click(int(times[end - 1]), 0, f"e{end - 1:02d}", "a", 0)
        if forgotten and click.timestamp - forgotten[-1].timestamp > IDLE:
            forgotten = EMPTY
        kept, forgotten = advance(kept, click), advance(forgotten, click)
        live = prefixes_of([kept, forgotten], log.vocabulary)
        for i in range(2):
            np.testing.assert_array_equal(live.log.times[live.starts[i] : live.ends[i]], times[start:end])


@pytest.mark.parametrize("positions", [True, False])
def test_states_as_predictions_are_those_of_the_log(positions):
    random = np.random.default_rng(0)
    n = 200
    events = pd.DataFrame(
        {
            "event_id": [f"e{i:03d}" for i in random.permutation(n)],
            "session_id": random.integers(0, 8, n).astype(str),
            "item_id": random.integers(0, 12, n).astype(str),
            "event_type": random.choice(TYPES, n),
            "timestamp": pd.to_datetime(random.integers(0, 40, n), unit="ms", utc=True),  # many share a moment
            "position": random.permutation(n) if positions else np.int64(0),
        }
    )
    given_columns = events.columns if positions else events.columns.drop("position")
    log = SessionLog.from_events(events[given_columns], TYPES)
    asked = next_clicks(log)
    states = []
    for session, start, end in zip(asked.sessions, asked.starts, asked.ends, strict=True):
        own = events[events["session_id"] == log.session_ids[session]].sort_values(
            ["timestamp", "position", "event_id"]
        )
        known = own.head(end - start).sample(frac=1, random_state=0)
        states.append(
            advance_all(
                EMPTY,
                [
                    Click(
                        timestamp=int(row.timestamp.value) // 10**6,
                        position=row.position,
                        event_id=row.event_id,
                        item_id=row.item_id,
                        event_type=TYPES.index(row.event_type),
                    )
                    for row in known.itertuples()
                ],
            )
        )
    live = prefixes_of(states, log.vocabulary)
    for i in range(len(asked)):
        kept = slice(max(asked.starts[i], asked.ends[i] - KEPT_EVENTS), asked.ends[i])
        for name in ("items", "types", "times"):
            expected = getattr(log, name)[kept]
            np.testing.assert_array_equal(getattr(live.log, name)[live.starts[i] : live.ends[i]], expected)
