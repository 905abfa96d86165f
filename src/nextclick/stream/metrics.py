"""The metrics of a consumer, for Prometheus."""

from __future__ import annotations

import warnings
from collections import Counter as Tally
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from nextclick.errors import InputError
from nextclick.stream.validation import InvalidMessage

DELAYS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 60, 300, 1800, 7200, 86400)  # s


class StreamMetrics:
    """All are named nextclick_stream_*. Events per second are the rate of the counter of events."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        about: dict[str, Any] = {"namespace": "nextclick", "subsystem": "stream", "registry": self._registry}
        self._events = Counter("events", "Events that were applied and kept.", **about)
        self._late = Counter("late_events", "Of them, those too late for the online state.", **about)
        self._quarantined = Counter("quarantined", "Messages that break the schema.", labelnames=["reason"], **about)
        self._batch_seconds = Histogram("batch_seconds", "From a batch's arrival to its states' storage.", **about)
        self._delay = Histogram(
            "event_delay_seconds", "From an event to its arrival, the newest of a batch.", buckets=DELAYS, **about
        )
        self._lag = Gauge("lag", "Messages that wait.", labelnames=["partition"], **about)
        self.store_down = Counter("store_unavailable", "Times that the online store did not answer.", **about)
        self.skipped = Counter("skipped", "Messages that the broker deleted before they were read.", **about)
        self.resets = Counter("resets", "Partitions read from the beginning, as their topic was made anew.", **about)
        self.unreadable_rows = Counter("unreadable_rows", "Rows of the online store that were made again.", **about)
        self._replayed = Counter("replayed", "Messages played again because the online store forgot them.", **about)

    def serve(self, port: int) -> None:
        """Serve the metrics at http://127.0.0.1:port/metrics. Raises InputError if the port is not available."""
        try:
            start_http_server(port, addr="127.0.0.1", registry=self._registry)
        except OSError as error:
            raise InputError(f"--metrics-port {port}: {error.strerror}") from error

    def batch(self, events: pa.Table, invalid: Sequence[InvalidMessage], replayed: int, seconds: float) -> None:
        self._replayed.inc(replayed)
        self._batch_seconds.observe(seconds)
        self._events.inc(events.num_rows)
        for (field, reason), count in Tally((one.field, one.reason) for one in invalid).items():
            self._quarantined.labels(f"{field} {reason}").inc(count)
        if events.num_rows:
            self._late.inc(pc.sum(events["late"]).as_py())
            delays = np.subtract(*(events[name].to_numpy() for name in ("arrived", "timestamp")))
            self._delay.observe(delays.min() / np.timedelta64(1, "s"))

    def lag(self, partition: int, messages: int) -> None:
        """How many messages of an assigned partition are still to come."""
        self._lag.labels(partition).set(messages)

    def released(self, partition: int) -> None:
        """Forget a partition, whose lag another consumer reports from now on."""
        with warnings.catch_warnings():  # that other processes may still report it; each has a registry of its own
            warnings.simplefilter("ignore", UserWarning)
            self._lag.remove(str(partition))

    def counts(self) -> dict[str, int]:
        """What this consumer did since its start, which its command prints."""
        names = ("events", "late_events", "quarantined", "replayed", "skipped", "resets", "unreadable_rows")
        return {name.removesuffix("_events"): int(self._total(name)) for name in names}

    def _total(self, name: str) -> float:
        families = self._registry.collect()
        return sum(s.value for family in families for s in family.samples if s.name == f"nextclick_stream_{name}_total")
