"""Events that go through consumers which fail, what has to come of them, and who watches meanwhile."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Consumer, TopicPartition

from nextclick.errors import StoreUnavailableError
from nextclick.events.ingest import ingest
from nextclick.events.schema import FIELDS
from nextclick.events.session_state import SessionState, advance_all
from nextclick.events.tables import parquet_files
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.feast_internals import redis_client
from nextclick.features.store.offline import states_of
from nextclick.features.store.online import OnlineStates
from nextclick.logs.event_log import LIVE_EVENTS
from nextclick.params import Ingest, Params
from nextclick.stream.kafka import client_config, quarantine_of
from nextclick.stream.positions import Positions
from nextclick.stream.replay import replay, schedule
from nextclick.stream.topic import TopicIdentity

SEED = 5
SHARES = {"shuffle": 0.2, "duplicate": 0.1, "late": 0.05}
POISON = 0.01
START = pd.Timestamp("2026-01-06 18:00", tz="UTC")
HOURS = 12  # over midnight
PARTS = 100  # in which they are produced
PATIENCE = 120  # s


def clickstream(n_sessions: int) -> pd.DataFrame:
    """Canonical events: sessions of 12 on average, some of more than a state keeps; two thirds by known users."""
    random = np.random.default_rng(SEED)
    lengths = np.minimum(random.geometric(1 / 12, n_sessions), 60)
    session = np.repeat(np.arange(n_sessions), lengths)
    starts = np.repeat(random.uniform(0, HOURS * 3_600_000, n_sessions), lengths)
    since = np.concatenate([np.cumsum(random.exponential(20_000, length)) for length in lengths])
    users = [f"u{s % 97:02d}" if s % 3 else None for s in session]
    return pd.DataFrame(
        {
            "event_id": [f"e{i:07d}" for i in range(len(session))],
            "session_id": [f"s{s:06d}" for s in session],
            "user_id": users,
            "item_id": [f"i{i:03d}" for i in random.integers(0, 500, len(session))],
            "event_type": random.choice(["view", "cart", "purchase"], len(session), p=[0.8, 0.15, 0.05]),
            "timestamp": START + pd.to_timedelta((starts + since).astype(np.int64), unit="ms"),
            "position": np.arange(len(session)),
        }
    )


class Trial:
    """root: of a project whose params.yaml names its topic, and whose servers the environment names."""

    def __init__(self, root: Path, n_sessions: int) -> None:
        self.root, self.params = root, Params.read(root / "params.yaml")
        self.events, self._types = clickstream(n_sessions), self.params.ingest.event_types
        minutes = self.params.features.lateness_minutes
        self._coming = schedule(self.events, SEED, **SHARES, lateness_minutes=minutes)
        times = self._coming["timestamp"].to_numpy("datetime64[ms]").astype(np.int64)
        timely = self._coming[self._coming["arrives"] - times <= minutes * 60_000]
        assert timely["event_id"].nunique() < len(self.events)
        self._states = dict(states_of(timely, "session_id", self._types))
        self.timely_ids = set(timely["event_id"])
        apply_definitions(root, self.params)
        self._sent = 0
        self.hurry = threading.Event()

    def produce(self, seconds: int | None = None) -> None:
        """Into Kafka, evenly over so many seconds until `hurry` is set, or at once."""
        rows, number = self._coming, 0
        while len(rows):
            slowly = seconds and not self.hurry.is_set()
            part = rows[: len(self._coming) // PARTS] if slowly else rows
            span = (part["arrives"].iloc[-1] - part["arrives"].iloc[0]) / 1000
            speed = span / (seconds / PARTS) if slowly else None
            sent = replay(part, self.params.stream, SEED + number, speed=speed, poison=POISON)
            self._sent += sent["poisoned"]
            rows, number = rows[len(part) :], number + 1

    def wait_until_consumed(self, *, stored: bool = True) -> None:
        """Until all that was produced is committed, and `stored`."""
        stream = self.params.stream
        topic_id = TopicIdentity(stream.topic).read(30)
        positions = Positions(redis_client(connect(self.root, self.params)), stream.group, stream.topic, topic_id)
        asking = Consumer(client_config(**{"group.id": stream.group, "enable.auto.commit": False}))
        try:
            parts = [TopicPartition(stream.topic, number) for number in range(stream.partitions)]
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                committed = sum(max(0, part.offset) for part in asking.committed(parts, timeout=30))
                done = min(committed, sum(positions.read().values())) if stored else committed
                ends = sum(asking.get_watermark_offsets(part, timeout=30)[1] for part in parts)
                if done >= ends > 0:
                    return
                time.sleep(0.05)
        finally:
            asking.close()
        raise AssertionError(f"{done} of {ends} messages were consumed")

    def violations(self) -> list[str]:
        """What is not as a batch over the same events has it, once all is consumed; empty where nothing is wrong."""
        return [*self._states_violated(), *self._log_violated(), *self._quarantine_violated()]

    def _states_violated(self) -> list[str]:
        found = []
        online, names = OnlineStates(connect(self.root, self.params, timeout=5)), list(self._states)
        for first in range(0, len(names), 500):
            chunk = names[first : first + 500]
            for name, row in zip(chunk, online.read(chunk), strict=True):
                if row.state != self._states[name]:
                    found.append(f"session {name}: {_difference(row.state, self._states[name])}")
        return found

    def _log_violated(self) -> list[str]:
        ingest(Ingest(path=str(LIVE_EVENTS)), self.root, self.root / "ingested")
        logged = pd.read_parquet(self.root / "ingested/events.parquet")[list(FIELDS)].sort_values("event_id")
        expected = self.events.sort_values("event_id")
        lost = set(expected["event_id"]) - set(logged["event_id"])
        if lost or len(logged) != len(expected):
            return [f"log: {len(lost)} events lost, {len(logged)} of {len(expected)} there"]
        same = (logged["timestamp"].to_numpy() == expected["timestamp"].to_numpy()).all() and (
            logged["item_id"].to_numpy() == expected["item_id"].to_numpy()
        ).all()
        return [] if same else ["log: events differ from those that were sent"]

    def rows_in_files(self) -> int:
        return sum(pq.read_metadata(file).num_rows for file in parquet_files(self.root / LIVE_EVENTS))

    def _quarantine_violated(self) -> list[str]:
        topic = quarantine_of(self.params.stream.topic)
        reader = Consumer(client_config(**{"group.id": "reader", "auto.offset.reset": "earliest"}))
        try:
            part = TopicPartition(topic, 0, 0)
            end = reader.get_watermark_offsets(part, timeout=30)[1]
            reader.assign([part])
            messages: list = []
            while len(messages) < end:
                messages += reader.consume(min(500, end - len(messages)), 5)
        finally:
            reader.close()
        headers = [dict(message.headers()) for message in messages]
        origins = {(one["partition"], one["offset"]) for one in headers}
        if len(origins) != self._sent or not all(one["reason"] for one in headers):
            return [f"quarantine: {len(origins)} of {self._sent} broken messages"]
        return []


def _difference(found: SessionState, expected: SessionState) -> str:
    ids = [Counter(click.event_id for click in state) for state in (found, expected)]
    return f"lost {sorted((ids[1] - ids[0]).elements())}, too many {sorted((ids[0] - ids[1]).elements())}"


class Watcher(threading.Thread):
    """Reads states and files all the time. What was read once must not be undone, and nothing may be read that was not
    sent, or that came too late."""

    def __init__(self, trial: Trial) -> None:
        super().__init__(daemon=True)
        self._trial = trial
        self._online = OnlineStates(connect(trial.root, trial.params, timeout=5))
        self._names = trial.events["session_id"].unique()
        self._known: dict[str, SessionState] = {}
        self._files: set[Path] = set()
        self._stopped = threading.Event()
        self.forgetting = threading.Lock()  # held while the store is emptied on purpose
        self.violations: list[str] = []
        self.reads = 0

    def run(self) -> None:
        random = np.random.default_rng(0)
        while not self._stopped.wait(0.05):
            with self.forgetting:
                self._look([str(name) for name in random.choice(self._names, 100)])
            self._look_at_files()

    def forget(self) -> None:
        """What was read so far may be undone."""
        self._known.clear()

    def _look(self, names: list[str]) -> None:
        try:
            rows = self._online.read(names)
        except StoreUnavailableError:
            return
        for name, row in zip(names, rows, strict=True):
            self.reads += 1
            before = self._known.get(name, ())
            if advance_all(row.state, before) != row.state:
                self.violations.append(f"{name}: a write was undone: {_difference(row.state, before)}")
            strangers = {click.event_id for click in row.state} - self._trial.timely_ids
            if strangers or list(row.state) != sorted(set(row.state)):
                self.violations.append(f"{name}: holds what was not sent, twice, too late or out of order: {strangers}")
            self._known[name] = row.state

    def _look_at_files(self) -> None:
        for file in set(parquet_files(self._trial.root / LIVE_EVENTS)) - self._files:
            self._files.add(file)
            if not set(pq.read_table(file)["event_id"].to_pylist()) <= set(self._trial.events["event_id"]):
                self.violations.append(f"{file}: holds what was not sent")

    def stop(self) -> list[str]:
        self._stopped.set()
        self.join()
        return self.violations


@pytest.fixture
def trial():
    """The class, for those that need more than one size."""
    return Trial


@pytest.fixture
def watcher():
    return Watcher
