"""A log made in shards is the log made at once."""

from dataclasses import fields

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from nextclick.events.sessions import SessionLog

TYPES = ["view", "cart"]
START = pd.Timestamp("2026-01-06", tz="UTC")

clicks = st.lists(
    st.tuples(
        st.text("abé語", min_size=1, max_size=3),  # session
        st.text("xyzÅ", min_size=1, max_size=4),  # item
        st.sampled_from(TYPES),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=40,
)


@given(clicks, st.integers(1, 5))
def test_shards_in_any_number_make_the_same_log(clicks, n_shards):
    events = pd.DataFrame(clicks, columns=["session_id", "item_id", "event_type", "second"])
    events["event_id"] = [f"e{place}" for place in range(len(events))]
    events["timestamp"] = START + pd.to_timedelta(events["second"], unit="s")
    shard_of = events["session_id"].map(lambda name: sum(map(ord, name)) % n_shards)
    whole = SessionLog.from_events(events, TYPES)
    together = SessionLog.merged([SessionLog.from_events(part, TYPES) for _, part in events.groupby(shard_of)])
    assert whole.vocabulary.ids.tolist() == together.vocabulary.ids.tolist()
    for field in fields(SessionLog)[1:]:
        one, other = getattr(whole, field.name), getattr(together, field.name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
