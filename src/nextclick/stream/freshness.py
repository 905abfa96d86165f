"""How long until a click counts: sent, seen in the online store, and in a recommendation that it changed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from uuid import uuid4

import numpy as np

from nextclick.errors import InputError
from nextclick.events.state import SessionState, prefixes_of
from nextclick.features.store.connect import connect
from nextclick.features.store.online import OnlineStates
from nextclick.params import Params
from nextclick.progress import progress_bar
from nextclick.ranking.recommender import Recommender
from nextclick.stream.intake import open_intake
from nextclick.stream.settings import brokers

PROBES = 50  # clicks a second that are watched, spread over all that are sent
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

    With Kafka, `nextclick stream` has to run elsewhere. Raises InputError where clicks do not arrive.
    """
    online = OnlineStates(connect(root, params))
    send = _sender(root, params)
    watched: SimpleQueue[tuple[str, str, float] | None] = SimpleQueue()
    states: SimpleQueue[tuple[SessionState, float] | None] = SimpleQueue()
    seen = Seen()
    recommending = Thread(target=_recommend, args=(recommender, states, seen))
    clicks = _clicks(recommender.snapshot.vocabulary.ids, params.ingest.event_types[0], rate, seconds)
    sending = Thread(target=_send, args=(send, clicks, max(1, round(rate / PROBES)), watched))
    recommending.start()
    sending.start()
    try:
        _watch(online, watched, states, seen)
    finally:
        states.put(None)
        sending.join()
        recommending.join()
    return {
        **_percentiles(seen.stored),
        "events": round(rate * seconds),
        "watched": len(seen.stored),
        **{f"recommended_{name}": value for name, value in _percentiles(seen.recommended).items()},
        "changed": round(seen.changed / max(1, len(seen.recommended)), 3),
    }


def _percentiles(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {f"p{p}_ms": round(float(np.percentile(seconds, p)) * 1000, 1) for p in (50, 90, 99, 100)}


def _sender(root: Path, params: Params) -> Callable[[str, bytes], object]:
    """Sends a message of a session, without waiting where it goes to Kafka."""
    if not brokers():
        intake = open_intake(root, params)
        return lambda _, message: intake.accept([message])
    from nextclick.stream.kafka import ensure_topics, reliable_producer

    ensure_topics(params.stream)
    producer = reliable_producer()

    def send(session: str, message: bytes) -> None:
        producer.produce(params.stream.topic, message, session)
        producer.poll(0)

    return send


def _clicks(items: np.ndarray, event_type: str, rate: float, seconds: float) -> Iterator[tuple[dict, float]]:
    """Clicks of ever new sessions, each at its moment, however long those before it took; yields that moment too."""
    random, run, start = np.random.default_rng(0), uuid4().hex, time.perf_counter()
    for number in progress_bar(range(round(rate * seconds)), desc="freshness", unit="click"):
        due = start + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        click = {
            "event_id": f"{run}-{number}",
            "session_id": f"freshness-{run}-{number // CLICKS}",
            "item_id": str(random.choice(items)),
            "event_type": event_type,
            "timestamp": time.time_ns() // 1_000_000,
        }
        yield click, due


def _send(
    send: Callable[[str, bytes], object], clicks: Iterator[tuple[dict, float]], every: int, watched: SimpleQueue
) -> None:
    try:
        for number, (click, due) in enumerate(clicks):
            if number % every == 0:
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
                states.put((row.state, sent))
                del waiting[event]
            elif now - sent > PATIENCE:
                raise InputError(
                    f"a click was not in the online store after {PATIENCE:g} s: does `nextclick stream` run?"
                )
        time.sleep(LOOK_EVERY)


def _recommend(recommender: Recommender, states: SimpleQueue, seen: Seen) -> None:
    """What is recommended with the click and would be without it."""
    vocabulary = recommender.snapshot.vocabulary
    while (found := states.get()) is not None:
        state, sent = found
        with_it = recommender.recommend(prefixes_of([state], vocabulary), LIST)
        seen.recommended.append(time.perf_counter() - sent)
        without = recommender.recommend(prefixes_of([state[:-1]], vocabulary), LIST)
        seen.changed += not np.array_equal(with_it, without)
