"""Measures how long after a click it is in the online store, and how long until it changed a recommendation."""

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

WATCHED = 20  # clicks a second whose arrival is measured, evenly spaced among all that are sent
WARM_UP = 2.0  # seconds in which connections are made and no click is measured
CLICKS = 4  # of a session
LOST_AFTER = 30.0  # seconds without a click's arrival
POLL_SECONDS = 0.001
K = 20  # items of a recommendation list


@dataclass
class Delays:
    """stored, recommended: seconds from sending a watched click until it was in the store, and until a recommendation
    used it. changed: how many of the recommendations differ from those without the click."""

    stored: list[float] = field(default_factory=list)
    recommended: list[float] = field(default_factory=list)
    changed: int = 0


def freshness(root: Path, params: Params, recommender: Recommender, rate: float, seconds: float) -> dict:
    """Send clicks at `rate` a second for `seconds` and watch some of them; returns percentiles in ms.

    With Kafka, `nextclick stream` has to run elsewhere. The clicks belong to sessions that no log retains: see PROBES.
    Raises InputError if they do not arrive, UnavailableError if store or broker do not answer.
    """
    online = OnlineStates(connect(root, params, BATCH_TIMEOUT))
    watched: SimpleQueue[tuple[str, str, float] | None] = SimpleQueue()
    states: SimpleQueue[tuple[SessionState, float] | None] = SimpleQueue()
    delays = Delays()
    set_num_threads(1)  # as a service does: waking a second thread costs more than one request
    recommender.ranker.set_param({"nthread": 1})
    _list(recommender, ())  # compiled before the clock runs
    stopped = Event()
    with ThreadPoolExecutor() as threads, _sender(root, params) as send:
        clicks = _clicks(recommender.snapshot.vocabulary.ids, params.ingest.event_types[0], rate, seconds)
        first, every = round(rate * WARM_UP), max(1, round(rate / WATCHED))
        try:
            sending = threads.submit(_send, send, clicks, first, every, watched, stopped)
            recommending = threads.submit(_recommend, recommender, states, delays)
            _watch(online, watched, states, delays)
        finally:
            stopped.set()
            states.put(None)
        sending.result()
        recommending.result()
    return {
        **_percentiles(delays.stored),
        "events": round(rate * seconds),
        "watched": len(delays.stored),
        "recommended": len(delays.recommended),
        **{f"recommended_{name}": value for name, value in _percentiles(delays.recommended).items()},
        "changed": round(delays.changed / max(1, len(delays.recommended)), 3),
    }


def _percentiles(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {f"p{p}_ms": round(float(np.percentile(seconds, p)) * MS_PER_SECOND, 1) for p in (50, 90, 99, 100)}


@contextmanager
def _sender(root: Path, params: Params) -> Iterator[Callable[[str, bytes], object]]:
    """A function that sends a session's message, which does not wait if it goes to Kafka."""
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
    producer.flush(LOST_AFTER)


def _clicks(items: np.ndarray, event_type: str, rate: float, seconds: float) -> Iterator[tuple[dict, float]]:
    """Clicks of ever new sessions, each at its time, however long those before it took; yields the time too."""
    random, run, start = np.random.default_rng(0), uuid4().hex, time.perf_counter()
    for n in progress_bar(range(round(rate * seconds)), desc="freshness", unit="click"):
        due = start + n / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        click = {
            "event_id": f"{run}-{n}",
            "session_id": f"{PROBES}{run}-{n // CLICKS}",
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
        for n, (click, due) in enumerate(clicks):
            if stopped.is_set():
                return
            if n >= first and n % every == 0:
                watched.put((click["session_id"], click["event_id"], due))
            send(click["session_id"], json.dumps(click).encode())
    finally:
        watched.put(None)


def _watch(online: OnlineStates, watched: SimpleQueue, states: SimpleQueue, delays: Delays) -> None:
    """Poll the store for the clicks that are on their way until the last one is there."""
    waiting: dict[str, tuple[str, float]] = {}
    sending = True
    while sending or waiting:
        while sending and (not watched.empty() or not waiting):
            click = watched.get()
            if click is None:
                sending = False
            else:
                waiting[click[1]] = (click[0], click[2])
        rows = online.read([session for session, _ in waiting.values()]) if waiting else []
        now = time.perf_counter()
        for (event, (_, sent)), row in zip(list(waiting.items()), rows, strict=True):
            if any(click.event_id == event for click in row.state):
                delays.stored.append(now - sent)
                if states.empty():  # else the one before is still being recommended for
                    states.put((row.state, sent))
                del waiting[event]
            elif now - sent > LOST_AFTER:
                broker = KafkaSettings.read().kafka
                hint = "does `nextclick stream` run?" if broker else "is the rate more than this process can take?"
                raise InputError(f"a click was not in the online store after {LOST_AFTER:g} s: {hint}")
        time.sleep(POLL_SECONDS)


def _recommend(recommender: Recommender, states: SimpleQueue, delays: Delays) -> None:
    """Recommend with the click and without it."""
    set_num_threads(1)
    while (arrival := states.get()) is not None:
        state, sent = arrival
        with_it = _list(recommender, state)
        delays.recommended.append(time.perf_counter() - sent)
        delays.changed += not np.array_equal(with_it, _list(recommender, state[:-1]))


def _list(recommender: Recommender, state: SessionState) -> np.ndarray:
    return recommender.recommend(prefixes_of([state], recommender.snapshot.vocabulary), K)
