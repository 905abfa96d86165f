"""What operators see of the service: Prometheus metrics on a loopback port of their own, and JSON log lines."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from wsgiref.simple_server import WSGIServer

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from nextclick.errors import InputError
from nextclick.settings import ServiceSettings

STAGE_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1)  # seconds
STAGES = ("store", "retrieval", "features", "ranker", "total")

STAGE_SECONDS = Histogram("nextclick_stage_seconds", "Of an answer, by stage", ["stage"], buckets=STAGE_BUCKETS)
REQUESTS = Counter("nextclick_requests", "By route and status", ["route", "status"])
FALLBACKS = Counter("nextclick_fallbacks", "Answers that are degraded, by reason", ["reason"])
SHED = Counter("nextclick_shed", "Requests refused, by reason", ["reason"])
STATE_AGE = Histogram(
    "nextclick_state_age_seconds", "Of the session state used", buckets=(0.1, 0.5, 1, 5, 30, 60, 300, 3600, 86400)
)
EVENTS = Counter("nextclick_events", "Of POST /events, by outcome", ["outcome"])
DROPPED_PREDICTIONS = Counter("nextclick_predictions_dropped", "Answers that were not written to the log")
DROPPED_SHADOWS = Counter("nextclick_shadows_dropped", "Answers that the shadow did not compute")
LOGGED_PREDICTIONS = Counter("nextclick_predictions_logged", "Answers written to the prediction log")
BUNDLE = Gauge("nextclick_bundle", "When each version was loaded", ["version"], multiprocess_mode="max")
STATISTICS_AT = Gauge(
    "nextclick_item_statistics_timestamp_seconds", "Of event time: when those in use were made", multiprocess_mode="max"
)
STALE = Counter("nextclick_stale_reads", "Values older than serving.max_staleness, by feature view", ["view"])
SWAPS = Counter("nextclick_bundle_swaps", "Times that other bundles took over")
REFUSED_BUNDLES = Counter("nextclick_bundles_refused", "Invalid bundles that were not loaded")

STAGE = {stage: STAGE_SECONDS.labels(stage) for stage in STAGES}

_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def serve_metrics() -> WSGIServer:
    """Serve Prometheus at NEXTCLICK_METRICS, 127.0.0.1:9464 by default. Raises InputError if that is impossible."""
    address = ServiceSettings.read().metrics
    host, _, port = address.rpartition(":")
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    try:
        server, _ = start_http_server(int(port), host, registry)
    except (ValueError, OSError, OverflowError) as error:
        raise InputError(f"NEXTCLICK_METRICS: cannot listen on {address!r}: {error}") from error
    return server


class JsonLines(logging.Formatter):
    """A log record as one line of JSON: time, level, message, what was given as `extra`, and a traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_as_json() -> None:
    """Send the records of this project and of BentoML to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("nextclick", "bentoml"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
