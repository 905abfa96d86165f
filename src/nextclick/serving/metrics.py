"""What Prometheus is told. It listens on loopback, apart from the public port."""

from __future__ import annotations

import os
from wsgiref.simple_server import WSGIServer

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from nextclick.errors import InputError

ADDRESS = "NEXTCLICK_METRICS"
SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1)
STAGES = ("store", "retrieval", "features", "ranker", "total")

STAGE_SECONDS = Histogram("nextclick_stage_seconds", "Of an answer, by stage", ["stage"], buckets=SECONDS)
REQUESTS = Counter("nextclick_requests", "By route and status", ["route", "status"])
FALLBACKS = Counter("nextclick_fallbacks", "Answers that are degraded, by reason", ["reason"])
SHED = Counter("nextclick_shed", "Requests refused, by reason", ["reason"])
STATE_AGE = Histogram(
    "nextclick_state_age_seconds", "Of the session state used", buckets=(0.1, 0.5, 1, 5, 30, 60, 300, 3600, 86400)
)
EVENTS = Counter("nextclick_events", "Of POST /events, by outcome", ["outcome"])
DROPPED_PREDICTIONS = Counter("nextclick_predictions_dropped", "Answers that the full log queue did not take")
DROPPED_SHADOWS = Counter("nextclick_shadows_dropped", "Answers that the shadow did not compute")
LOGGED_PREDICTIONS = Counter("nextclick_predictions_logged", "Answers written to the prediction log")
BUNDLE = Gauge("nextclick_bundle", "When each version was loaded", ["version"], multiprocess_mode="max")
STATISTICS_AT = Gauge(
    "nextclick_item_statistics_timestamp_seconds", "Of event time: when those in use were made", multiprocess_mode="max"
)
STALE = Counter("nextclick_stale_reads", "Values older than serving.max_staleness, by feature view", ["view"])
SWAPS = Counter("nextclick_bundle_swaps", "Bundles that took another's place")
REFUSED_BUNDLES = Counter("nextclick_bundles_refused", "Bundles that were broken")

STAGE = {stage: STAGE_SECONDS.labels(stage) for stage in STAGES}


def serve_metrics() -> WSGIServer:
    """Listen where NEXTCLICK_METRICS says, 127.0.0.1:9464 by default. Raises InputError where that cannot be."""
    address = os.environ.get(ADDRESS, "127.0.0.1:9464")
    host, _, port = address.rpartition(":")
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    try:
        server, _ = start_http_server(int(port), host, registry)
    except (ValueError, OSError, OverflowError) as error:
        raise InputError(f"{ADDRESS}: cannot listen on {address!r}: {error}") from error
    return server
