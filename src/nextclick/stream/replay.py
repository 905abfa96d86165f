"""Replays history into Kafka, with events out of order, repeated, late, and with invalid messages between them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
from confluent_kafka import KafkaError, KafkaException

from nextclick.events.arrival_order import arrivals
from nextclick.events.schema import TEXT_FIELDS
from nextclick.params import Stream
from nextclick.progress import progress_bar
from nextclick.stream.kafka import ARRIVED, MAX_MESSAGE, ensure_topics, reliable_producer, unavailable_or_refused
from nextclick.stream.poison import poisoned
from nextclick.units import MS_PER_MINUTE, MS_PER_SECOND

FLUSH_TIMEOUT = 60.0  # seconds


def schedule(
    events: pd.DataFrame,
    seed: int,
    *,
    shuffle: float = 0.0,
    duplicate: float = 0.0,
    late: float = 0.0,
    lateness_minutes: float = 0.0,
) -> pd.DataFrame:
    """Canonical events in the order in which they arrive, with the column `arrives` (ms), which never falls.

    shuffle, duplicate: see `arrivals`. late: share of the events that are delayed, by up to twice the lateness, so that
    half of them arrive too late.
    """
    coming = arrivals(events, seed, shuffle, duplicate)
    times = coming["timestamp"].to_numpy("datetime64[ms]").astype(np.int64)
    random = np.random.default_rng([seed, 1])
    delayed = random.random(len(coming)) < late
    delays = (random.uniform(0, 2 * lateness_minutes * MS_PER_MINUTE, len(coming)) * delayed).astype(np.int64)
    arrives = np.maximum.accumulate(times) + delays
    order = np.argsort(arrives, kind="stable")
    return coming.iloc[order].assign(arrives=arrives[order]).reset_index(drop=True)


def replay(
    coming: pd.DataFrame,
    params: Stream,
    seed: int,
    *,
    speed: float | None = None,
    rate: float | None = None,
    poison: float = 0.0,
) -> dict:
    """Produce scheduled events to the topic; returns what was sent.

    speed: how many times as fast as it happened. rate: events a second. Without either it is as fast as Kafka takes it.
    poison: invalid messages between them, as a share of the events. Raises BrokerUnavailableError, InputError.
    """
    ensure_topics(params)
    # all of it must be in the topic at the end, in its order, however long the broker is away
    producer = reliable_producer(
        **{"linger.ms": 5, "message.timeout.ms": 0, "message.max.bytes": MAX_MESSAGE, "compression.type": "lz4"}
    )
    failures: list[KafkaError] = []
    random = np.random.default_rng([seed, 2])
    sent = {"events": 0, "poisoned": 0}

    def send(key: str, value: bytes, arrives: int) -> None:
        while True:
            try:
                producer.produce(
                    params.topic,
                    value,
                    key,
                    headers=[(ARRIVED, str(arrives))],
                    on_delivery=lambda error, _: failures.append(error) if error else None,
                )
                return
            except BufferError:
                producer.poll(0.05)

    start, first = time.monotonic(), int(coming["arrives"].iloc[0]) if len(coming) else 0
    for event, arrives in progress_bar(_messages(coming), total=len(coming), desc="replay", unit="event"):
        if speed or rate:
            due = sent["events"] / rate if rate else (arrives - first) / MS_PER_SECOND / (speed or 1)
            ahead = due - (time.monotonic() - start)
            if ahead > 0:
                producer.poll(0)
                time.sleep(ahead)
        send(event["session_id"], json.dumps(event).encode(), arrives)
        sent["events"] += 1
        if random.random() < poison:
            send(event["session_id"], poisoned(random, event), arrives)
            sent["poisoned"] += 1
        producer.poll(0)
    while producer.flush(FLUSH_TIMEOUT):
        if failures:
            break
    if failures:
        raise unavailable_or_refused(KafkaException(failures[0]))
    return {**sent, "seconds": round(time.monotonic() - start, 1)}


def _messages(coming: pd.DataFrame) -> Iterator[tuple[dict, int]]:
    """The events as they are sent, without the fields that they do not have."""
    times = coming["timestamp"].to_numpy("datetime64[ms]").astype(np.int64).tolist()
    texts = zip(*(coming[name].tolist() for name in TEXT_FIELDS), strict=True)
    numbers = zip(times, coming["position"].tolist(), coming["arrives"].tolist(), strict=True)
    for values, (at_ms, position, arrives) in zip(texts, numbers, strict=True):
        event = {name: value for name, value in zip(TEXT_FIELDS, values, strict=True) if isinstance(value, str)}
        yield event | {"timestamp": at_ms, "position": position}, arrives
