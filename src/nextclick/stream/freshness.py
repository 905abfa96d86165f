"""How long until a click counts: sent, seen in the online store, and in a recommendation that it changed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from uuid import uuid4

import numpy as np
from numba import set_num_threads

from nextclick.errors import BrokerUnavailableError, InputError
from nextclick.events.session_state import SessionState, prefixes_of
from nextclick.features.store.connect import BATCH_TIMEOUT, connect
from nextclick.features.store.online import OnlineStates
from nextclick.params import Params
from nextclick.progress import progress_bar
from nextclick.ranking.recommender import Recommender
from nextclick.settings import KafkaSettings
from nextclick.stream.intake import open_intake
from nextclick.stream.live_events import PROBES
from nextclick.units import MS_PER_SECOND

WATCHED = 20  # clicks a second that are watched, spread over all that are sent
WARM_UP = 2.0  # seconds in which connections are made and no click is watched
CLICKS = 4  # of a session
PATIENCE = 30.0  # seconds after which a click counts as lost
LOOK_EVERY = 0.001  # s
LIST = 20


@dataclass
class Seen:
    """Seconds after each watched click was sent."""

    stored: list[float] = field(default_factory=list)
    recommended: list[float] = field(default_factory=list)
    changed: int = 0


def freshness(root: Path, params: Params, recommender: Recommender, rate: float, seconds: float) -> dict:
    """Send clicks at `rate` a second and watch some of them; returns percentiles in ms.

    With Kafka, `nextclick stream` has to run elsewhere. The clicks are of sessions that no log keeps: see PROBES.
    Raises InputError where they do not arrive, UnavailableError where store or broker do not answer.
    """
    online = OnlineStates(connect(root, params, BATCH_TIMEOUT))
    watched: SimpleQueue[tuple[str, str, float] | None] = SimpleQueue()
    states: SimpleQueue[tuple[SessionState, float] | None] = SimpleQueue()
    seen = Seen()
    set_num_threads(1)  # as a service does: waking a second thread costs more than one request
    recommender.ranker.set_param({"nthread": 1})
    _list(recommender, ())  # compiled before the clock runs
    stopped = Event()
    with ThreadPoolExecutor() as threads, _sender(root, params) as send:
        clicks = _clicks(recommender.snapshot.vocabulary.ids, params.ingest.event_types[0], rate, seconds)
        first, every = round(rate * WARM_UP), max(1, round(rate / WATCHED))
        try:
            sending = threads.submit(_send, send, clicks, first, every, watched, stopped)
            recommending = threads.submit(_recommend, recommender, states, seen)
            _watch(online, watched, states, seen)
        finally:
            stopped.set()
            states.put(None)
        sending.result()
        recommending.result()
    return {
        **_percentiles(seen.stored),
        "events": round(rate * seconds),
        "watched": len(seen.stored),
        "recommended": len(seen.recommended),
        **{f"recommended_{name}": value for name, value in _percentiles(seen.recommended).items()},
        "changed": round(seen.changed / max(1, len(seen.recommended)), 3),
    }


def _percentiles(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {f"p{p}_ms": round(float(np.percentile(seconds, p)) * MS_PER_SECOND, 1) for p in (50, 90, 99, 100)}


@contextmanager
def _sender(root: Path, params: Params) -> Iterator[Callable[[str, bytes], object]]:
    """Sends a message of a session, without waiting where it goes to Kafka."""
    brokers = KafkaSettings.read().kafka
    if not brokers:
        intake = open_intake(root, params)
        yield lambda _, message: intake.accept([message])
        intake.close()
        return
    from nextclick.stream.kafka import ensure_topics, reliable_producer

    ensure_topics(params.stream)
    producer = reliable_producer()

    def send(session: str, message: bytes) -> None:
        try:
            producer.produce(params.stream.topic, message, session)
        except BufferError as full:
            raise BrokerUnavailableError(f"Kafka at {brokers}: too many clicks wait for it already") from full
        producer.poll(0)

    yield send
    producer.flush(PATIENCE)


def _clicks(items: np.ndarray, event_type: str, rate: float, seconds: float) -> Iterator[tuple[dict, float]]:
    """Clicks of ever new sessions, each at its moment, however long those before it took; yields that moment too."""
    random, run, start = np.random.default_rng(0), uuid4().hex, time.perf_counter()
    for number in progress_bar(range(round(rate * seconds)), desc="freshness", unit="click"):
        due = start + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        click = {
            "event_id": f"{run}-{number}",
            "session_id": f"{PROBES}{run}-{number // CLICKS}",
            "item_id": str(random.choice(items)),
            "event_type": event_type,
            "timestamp": time.time_ns() // 1_000_000,
        }
        yield click, due


def _send(
    send: Callable[[str, bytes], object],
    clicks: Iterator[tuple[dict, float]],
    first: int,
    every: int,
    watched: SimpleQueue,
    stopped: Event,
) -> None:
    try:
        for number, (click, due) in enumerate(clicks):
            if stopped.is_set():
                return
            if number >= first and number % every == 0:
                watched.put((click["session_id"], click["event_id"], due))
            send(click["session_id"], json.dumps(click).encode())
    finally:
        watched.put(None)


def _watch(online: OnlineStates, watched: SimpleQueue, states: SimpleQueue, seen: Seen) -> None:
    """Look for all clicks that are on their way, again and again, until the last was seen."""
    waiting: dict[str, tuple[str, float]] = {}
    sending = True
    while sending or waiting:
        while sending and (not watched.empty() or not waiting):
            click = watched.get()
            if click is None:
                sending = False
            else:
                waiting[click[1]] = (click[0], click[2])
        found = online.read([session for session, _ in waiting.values()]) if waiting else []
        now = time.perf_counter()
        for (event, (_, sent)), row in zip(list(waiting.items()), found, strict=True):
            if any(click.event_id == event for click in row.state):
                seen.stored.append(now - sent)
                if states.empty():  # else the one before is still being recommended for
                    states.put((row.state, sent))
                del waiting[event]
            elif now - sent > PATIENCE:
                broker = KafkaSettings.read().kafka
                asked = "does `nextclick stream` run?" if broker else "is the rate more than this process can take?"
                raise InputError(f"a click was not in the online store after {PATIENCE:g} s: {asked}")
        time.sleep(LOOK_EVERY)


def _recommend(recommender: Recommender, states: SimpleQueue, seen: Seen) -> None:
    """What is recommended with the click, and would be without it."""
    set_num_threads(1)
    while (found := states.get()) is not None:
        state, sent = found
        with_it = _list(recommender, state)
        seen.recommended.append(time.perf_counter() - sent)
        seen.changed += not np.array_equal(with_it, _list(recommender, state[:-1]))


def _list(recommender: Recommender, state: SessionState) -> np.ndarray:
    return recommender.recommend(prefixes_of([state], recommender.snapshot.vocabulary), LIST)
