"""Events over HTTP without a broker: the states, log and quarantine of a batch, durable when `accept` returns."""

import json
import threading
import time
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest

from nextclick.errors import LogUnavailableError, StoreUnavailableError
from nextclick.events.ingest import ingest
from nextclick.events.schema import FIELDS
from nextclick.events.session_state import EMPTY
from nextclick.events.sessions import SessionLog
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.offline import states_of
from nextclick.features.store.online import OnlineStates
from nextclick.logs.event_log import LIVE_EVENTS, QUARANTINE
from nextclick.params import Ingest
from nextclick.stream import intake as intake_module
from nextclick.stream.intake import open_intake
from nextclick.stream.validation import Message

TYPES = ["view", "cart", "purchase"]


@pytest.fixture
def recent(shop) -> pd.DataFrame:
    """The shop's events as if they had happened within the last minutes, the newest half an hour and more ago late."""
    ended = shop["timestamp"].max()
    return shop.assign(
        timestamp=(pd.Timestamp.now("UTC") - (ended - shop["timestamp"]) / 60).astype("datetime64[ms, UTC]")
    )


def messages(events: pd.DataFrame) -> list[bytes]:
    rows = events.assign(timestamp=events["timestamp"].astype("int64")).to_dict("records")
    return [json.dumps({k: v for k, v in row.items() if v is not None}).encode() for row in rows]


def test_several_workers_at_once_lead_to_the_batch(project, params, recent):
    apply_definitions(project, params)
    twice = pd.concat([recent, recent.sample(frac=0.2, random_state=0)]).sample(frac=1, random_state=1)
    accepted = []

    def work(share: pd.DataFrame) -> None:
        intake = open_intake(project, params)
        for part in np.array_split(np.arange(len(share)), 4):
            accepted.append(intake.accept([*messages(share.iloc[part]), b"nonsense"]))

    workers = [threading.Thread(target=work, args=(twice.iloc[i::3],)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sum(receipt.accepted for receipt in accepted) == len(twice)
    assert all(receipt.late == 0 for receipt in accepted)
    assert [one.reason for receipt in accepted for one in receipt.invalid] == ["not a JSON object"] * 12
    expected = dict(states_of(recent, "session_id", TYPES))
    found = OnlineStates(connect(project, params, timeout=5)).read(list(expected))
    assert [row.state for row in found] == list(expected.values())
    ingest(Ingest(path=str(LIVE_EVENTS)), project, project / "ingested")
    logged = pd.read_parquet(project / "ingested/events.parquet")[list(FIELDS)]
    expected = recent.sort_values("event_id")[list(FIELDS)]
    pd.testing.assert_frame_equal(
        logged.sort_values("event_id").reset_index(drop=True), expected.reset_index(drop=True), check_dtype=False
    )
    quarantined = pd.concat(pd.read_parquet(file) for file in (project / QUARANTINE).glob("*/*.parquet"))
    assert quarantined["raw"].tolist() == [b"nonsense"] * 12
    assert set(quarantined["reason"]) == {"not a JSON object"}


@pytest.mark.parametrize("blind", [False, True], ids=["", "planted bug: only ids order them"])
def test_clicks_of_one_moment_stay_in_the_order_in_which_they_were_sent(project, params, monkeypatch, blind):
    """Whatever their ids are: in one request, in the next one, after a restart and when they are sent again."""
    if blind:
        monkeypatch.setattr(intake_module, "Message", lambda value, arrived, _: Message(value, arrived, 0))
    apply_definitions(project, params)
    now = time.time_ns() // 1_000_000
    ids = [uuid4().hex for _ in range(9)]
    sent = [
        json.dumps(
            {"event_id": one, "session_id": "s", "item_id": one, "event_type": "view", "timestamp": now}
        ).encode()
        for one in ids
    ]
    intake = open_intake(project, params)
    intake.accept(sent[:3])
    intake.accept(sent[3:6])
    open_intake(project, params).accept([*sent[6:], *reversed(sent)])
    state = OnlineStates(connect(project, params, timeout=5)).read(["s"])[0].state
    assert ([click.event_id for click in state] == ids) is not blind
    ingest(Ingest(path=str(LIVE_EVENTS)), project, project / "ingested")
    logged = pd.read_parquet(project / "ingested/events.parquet")
    assert (logged["event_id"].tolist() == ids) is not blind
    assert dict(states_of(logged, "session_id", TYPES)) == {"s": state}
    log = SessionLog.read(project / "ingested/events.parquet", TYPES)
    assert (log.vocabulary.ids[log.items].tolist() == ids) is not blind


def test_a_position_that_the_sender_gives_orders_clicks_of_one_moment(project, params):
    apply_definitions(project, params)
    click = {"session_id": "s", "item_id": "i", "event_type": "view", "timestamp": time.time_ns() // 1_000_000}
    sent = [
        json.dumps(click | {"event_id": f"e{n}", "position": place}).encode() for n, place in enumerate([2, "0", 1])
    ]
    assert open_intake(project, params).accept(sent).accepted == 3
    state = OnlineStates(connect(project, params, timeout=5)).read(["s"])[0].state
    assert [click.event_id for click in state] == ["e1", "e2", "e0"]
    ingest(Ingest(path=str(LIVE_EVENTS)), project, project / "ingested")
    logged = pd.read_parquet(project / "ingested/events.parquet")
    assert list(zip(logged["event_id"], logged["position"], strict=True)) == [("e1", 0), ("e2", 1), ("e0", 2)]


def test_what_is_too_late_is_counted_and_kept_but_changes_no_state(project, params, recent):
    apply_definitions(project, params)
    lateness = pd.Timedelta(minutes=params.features.lateness_minutes)
    late = recent[:5].assign(
        session_id="late", timestamp=(recent["timestamp"][:5] - lateness).astype("datetime64[ms, UTC]")
    )
    receipt = open_intake(project, params).accept(messages(late))
    assert (receipt.accepted, receipt.late) == (5, 5)
    assert OnlineStates(connect(project, params, timeout=5)).read(["late"])[0].state == EMPTY
    ingest(Ingest(path=str(LIVE_EVENTS)), project, project / "ingested")
    assert len(pd.read_parquet(project / "ingested/events.parquet")) == 5


def test_a_log_that_cannot_be_written_is_an_error_and_the_same_events_can_be_sent_again(project, params, recent):
    apply_definitions(project, params)
    intake, sent = open_intake(project, params), messages(recent)
    days = {project / LIVE_EVENTS / f"date={moment.date()}" for moment in recent["timestamp"]}
    for day in days:
        day.touch()  # where a folder is needed
    for _ in range(2):
        with pytest.raises(LogUnavailableError, match="cannot be written"):
            intake.accept(sent)
    for day in days:
        day.unlink()
    assert intake.accept(sent).accepted == len(recent)
    files = [file for day in days for file in day.glob("*.parquet")]
    assert sum(len(pd.read_parquet(file)) for file in files) == len(recent)  # nothing was held back from before


def test_a_store_that_is_gone_is_an_error_and_the_same_events_can_be_sent_again(
    project, redis_params, redis_server, monkeypatch, recent
):
    server = redis_server()
    monkeypatch.setenv("NEXTCLICK_REDIS", server.address)
    apply_definitions(project, redis_params)
    intake, sent = open_intake(project, redis_params), messages(recent)
    server.kill()
    with pytest.raises(StoreUnavailableError):
        intake.accept(sent)
    server.start()
    assert intake.accept(sent).accepted == len(recent)
    expected = dict(states_of(recent, "session_id", TYPES))
    found = OnlineStates(connect(project, redis_params, timeout=5)).read(list(expected))
    assert [row.state for row in found] == list(expected.values())


@pytest.mark.fault(
    part="disk",
    wrong="a client posts junk without an end",
    noticed="the service's log, when the oldest of the quarantine goes",
    lost="the oldest of what is no event, beyond 256 MiB",
    degraded="nothing",
    heals="nothing to heal",
)
def test_junk_fills_no_disk(project, params, monkeypatch, caplog):
    apply_definitions(project, params)
    monkeypatch.setattr(intake_module, "QUARANTINE_BYTES", 300_000)
    monkeypatch.setattr(intake_module, "BOUND_EVERY", 0.0)
    intake, random = open_intake(project, params), np.random.default_rng(0)
    for _ in range(20):
        assert intake.accept([random.bytes(2**20)]).invalid[0].reason.startswith("larger than")
    files = list((project / QUARANTINE).rglob("*.parquet"))
    assert 0 < sum(file.stat().st_size for file in files) <= 300_000
    assert "the quarantine is beyond 300000 bytes" in caplog.text
    assert all(len(raw) <= 65536 for file in files for raw in pd.read_parquet(file)["raw"])
