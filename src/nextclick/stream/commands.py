"""The commands of live clicks."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Annotated

import typer


def stream(
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Serve Prometheus metrics at 127.0.0.1:port/metrics.")
    ] = None,
) -> dict:
    """Consume live clicks from Kafka into the online store and the offline log, until SIGINT or SIGTERM.

    Any number of them share the partitions. Kafka is found by NEXTCLICK_KAFKA.

    Example: nextclick stream --metrics-port 9108
    """
    from nextclick.features.store.connect import apply_definitions
    from nextclick.params import Params
    from nextclick.project import project_root
    from nextclick.stream.consumer import StreamConsumer
    from nextclick.stream.kafka import ensure_topics
    from nextclick.stream.metrics import StreamMetrics

    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("nextclick").setLevel(logging.INFO)
    root = project_root()
    params = Params.read(root / "params.yaml")
    ensure_topics(params.stream)
    apply_definitions(root, params)
    metrics, stopped = StreamMetrics(), Event()
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, lambda *_: stopped.set())
    if metrics_port:
        metrics.serve(metrics_port)
    StreamConsumer(root, params, metrics).run(lambda: not stopped.is_set())
    return metrics.counts()


def replay(
    events: Annotated[Path, typer.Option(help="Canonical events, as ingest writes them.")] = Path(
        "data/interim/events.parquet"
    ),
    source: Annotated[Path | None, typer.Option(help="Any source in place of them: it is ingested first.")] = None,
    form: Annotated[str | None, typer.Option("--format", help="Of the source; see ingest.format.")] = None,
    most: Annotated[int | None, typer.Option(min=1, help="Play only the first so many events.")] = None,
    speed: Annotated[
        float | None, typer.Option(min=0.001, help="Times as fast as it was; the default: at once.")
    ] = None,
    shuffle: Annotated[float, typer.Option(min=0, max=1, help="Share of the events that come out of order.")] = 0.0,
    duplicate: Annotated[float, typer.Option(min=0, max=1, help="Share of the events that come twice.")] = 0.0,
    late: Annotated[float, typer.Option(min=0, max=1, help="Share that is held back, half of it for too long.")] = 0.0,
    poison: Annotated[float, typer.Option(min=0, max=1, help="Broken messages in between, as a share.")] = 0.0,
) -> dict:
    """Play history into Kafka as if it happened now.

    Example: nextclick replay --speed 3600 --shuffle 0.1 --duplicate 0.05 --late 0.01 --poison 0.01
    """
    from nextclick.events.ingest import ingest, read_events
    from nextclick.params import Params
    from nextclick.project import project_root
    from nextclick.stream.replay import replay, schedule

    root = project_root()
    params = Params.read(root / "params.yaml")
    with TemporaryDirectory() as scratch:
        if source:
            asked = {
                **params.ingest.model_dump(),
                "path": str(source.absolute()),
                "format": form or params.ingest.format,
            }
            ingest(type(params.ingest).model_validate(asked), root, Path(scratch))
            events = Path(scratch) / "events.parquet"
        rows = read_events(events)
    coming = schedule(
        rows.astype({"event_id": str, "session_id": str}),
        params.run.seed,
        shuffle=shuffle,
        duplicate=duplicate,
        late=late,
        lateness_minutes=params.stream.lateness_minutes,
    )
    return replay(coming[:most], params.stream, params.run.seed, speed=speed, poison=poison)


def freshness(
    rate: Annotated[float, typer.Option(min=1, help="Clicks a second.")] = 1000,
    seconds: Annotated[float, typer.Option(min=5, help="For how long.")] = 30,
) -> dict:
    """Measure how long after a click it is in the online store, and how long until it has changed a recommendation.

    Through Kafka where NEXTCLICK_KAFKA names it, and `nextclick stream` runs; else in this process.

    Example: nextclick freshness --rate 1000 --seconds 10
    """
    from nextclick.features.store.connect import apply_definitions
    from nextclick.params import Params
    from nextclick.project import project_root
    from nextclick.ranking.bundle import load_bundle
    from nextclick.stream.freshness import freshness

    root = project_root()
    params = Params.read(root / "params.yaml")
    apply_definitions(root, params)
    recommender, _ = load_bundle(root / "models/bundle")
    return freshness(root, params, recommender, rate, seconds)


def compact() -> dict:
    """Merge the files of each day of the live log into one, each event once.

    Example: nextclick compact
    """
    from nextclick.progress import progress_bar
    from nextclick.project import project_root
    from nextclick.stream.log import LOG, EventLog

    log = EventLog(project_root() / LOG)
    days = log.days()
    return {
        "days": len(days),
        "merged": sum(log.compact(day) for day in progress_bar(days, desc="compact", unit="day")),
    }
