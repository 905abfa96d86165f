"""Newest clicks as the columns of a row in Feast's types, and back."""

from __future__ import annotations

from collections.abc import Mapping

from feast.protos.feast.types.Value_pb2 import Int64List, StringList, Value

from nextclick.events.session_state import EMPTY, Click, SessionState

COLUMNS = ("event_ids", "times", "item_ids", "event_types")


def encoded(state: SessionState) -> dict[str, Value]:
    """The values of COLUMNS, in their order, of a state that is not empty."""
    times, event_ids, item_ids, event_types = zip(*state, strict=True)
    return {
        "event_ids": Value(string_list_val=StringList(val=event_ids)),
        "times": Value(int64_list_val=Int64List(val=times)),
        "item_ids": Value(string_list_val=StringList(val=item_ids)),
        "event_types": Value(int64_list_val=Int64List(val=event_types)),
    }


def decoded(row: Mapping[str, Value] | None) -> SessionState:
    """The state of a row; EMPTY where there is none."""
    if row is None:
        return EMPTY
    return tuple(
        map(
            Click,
            row["times"].int64_list_val.val,
            row["event_ids"].string_list_val.val,
            row["item_ids"].string_list_val.val,
            row["event_types"].int64_list_val.val,
        )
    )
