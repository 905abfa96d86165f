"""The order of the rows given does not change the log."""

import numpy as np
import pandas as pd

from nextclick.events.prefixes import next_clicks
from nextclick.events.sessions import SessionLog, Vocabulary

EVENTS = pd.DataFrame(
    {
        "event_id": ["1", "2", "3", "4"],
        "session_id": ["b", "a", "b", "a"],
        "item_id": ["x", "y", "z", "x"],
        "event_type": ["view", "view", "view", "cart"],
        "timestamp": pd.to_datetime([10, 20, 40, 30], unit="ms", utc=True),
    }
)


def test_log_does_not_depend_on_row_order_and_a_cart_is_no_target():
    for events in (EVENTS, EVENTS.iloc[::-1]):
        log = SessionLog.from_events(events, ["view", "cart", "purchase"])
        assert log.session_ids.tolist() == ["a", "b"]
        assert log.items.tolist() == [1, 0, 0, 2]
        assert next_clicks(log).targets.tolist() == [2]


def test_ids_wider_than_all_known_ones_are_unknown_and_cut_to_none_of_them():
    known = Vocabulary(np.array(["a1", "a2", "a3"]))
    assert known.indices(["a2", "a2" + "x" * 300, "a", "", "b1"]).tolist() == [1, -1, -1, -1, -1]
