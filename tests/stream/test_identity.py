"""An event is known by its session and its id, so nobody who guesses ids takes the place of others' events."""

import json

import pandas as pd
import pytest

from nextclick.events.ingest import ingest
from nextclick.features.store.connect import apply_definitions
from nextclick.logs.event_log import LIVE_EVENTS, EventLog, events_before
from nextclick.params import Ingest
from nextclick.stream.intake import EmbeddedIntake

NOW = pd.Timestamp.now("UTC").floor("ms")


def purchases(ids: range, session: str, at: pd.Timestamp) -> list[bytes]:
    event = {"event_type": "purchase", "timestamp": at.isoformat(), "item_id": "i"}
    return [json.dumps(event | {"event_id": str(one), "session_id": f"{session}{one}"}).encode() for one in ids]


@pytest.mark.fault(
    part="HTTP",
    wrong="a client posts events of yesterday with the ids that a shop's numbered events will have",
    noticed="nobody has to: events are told apart by session and id",
    lost="nothing",
    degraded="nothing",
    heals="nothing to heal",
)
def test_ids_that_were_guessed_take_no_place_of_the_events_that_have_them(project, params):
    """The older event of one id is the one that counts. Planted: with the id alone half of the purchases are gone."""
    apply_definitions(project, params)
    intake = EmbeddedIntake(project, params)
    intake.accept(purchases(range(1001, 1041), "bot", NOW - pd.Timedelta(days=1)))
    for _ in range(2):  # a retry counts once
        intake.accept(purchases(range(1021, 1061), "shopper", NOW))
    log = EventLog(project / LIVE_EVENTS)
    for compacted in (False, True):
        if compacted:
            assert all(log.compact(day) or len(list(day.glob("*.parquet"))) == 1 for day in log.days())
            assert not any(log.compact(day) for day in log.days())
        ingest(Ingest(path=str(LIVE_EVENTS)), project, project / "ingested")
        for events in (pd.read_parquet(project / "ingested/events.parquet"), events_before(project, 2**42)):
            sessions = events["session_id"].astype(str)
            assert sessions.str.startswith("shopper").sum() == 40
            assert sessions.str.startswith("bot").sum() == 40
