"""The commands of live clicks."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from nextclick.errors import InputError

if TYPE_CHECKING:
    from pandas import DataFrame

    from nextclick.project import Project


def stream(
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Serve Prometheus metrics at 127.0.0.1:port/metrics.")
    ] = None,
) -> dict:
    """Consume live clicks from Kafka into the online store and the offline log, until SIGINT or SIGTERM.

    Any number of consumers share the partitions. NEXTCLICK_KAFKA names the brokers.

    Example: nextclick stream --metrics-port 9108
    """
    from nextclick.features.store.connect import apply_definitions
    from nextclick.project import Project
    from nextclick.stream.consumer import StreamConsumer
    from nextclick.stream.kafka import ensure_topics
    from nextclick.stream.metrics import StreamMetrics

    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("nextclick").setLevel(logging.INFO)
    project = Project.open()
    ensure_topics(project.params.stream)
    apply_definitions(project.root, project.params)
    metrics, stopped = StreamMetrics(), Event()
    for end in (signal.SIGINT, signal.SIGTERM):
        signal.signal(end, lambda *_: stopped.set())
    if metrics_port:
        metrics.serve(metrics_port)
    StreamConsumer(project.root, project.params, metrics).run(lambda: not stopped.is_set())
    return metrics.counts()


def replay(
    events: Annotated[Path, typer.Option(help="Canonical events, as ingest writes them.")] = Path(
        "data/interim/events.parquet"
    ),
    source: Annotated[
        str | None, typer.Option(help="Instead of events: a file or folder, which is ingested first, or `simulator`.")
    ] = None,
    form: Annotated[str | None, typer.Option("--format", help="Of the source; see ingest.format.")] = None,
    limit: Annotated[
        int | None, typer.Option("--most", min=1, help="Play only the first events, up to this number.")
    ] = None,
    speed: Annotated[
        float | None, typer.Option(min=0.001, help="Factor on the speed of history; the default: at once.")
    ] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Events a second, instead of a speed.")] = None,
    shuffle: Annotated[float, typer.Option(min=0, max=1, help="Share of the events that are sent out of order.")] = 0.0,
    duplicate: Annotated[float, typer.Option(min=0, max=1, help="Share of the events that are sent twice.")] = 0.0,
    late: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the events that are held back, half of them for too long.")
    ] = 0.0,
    poison: Annotated[float, typer.Option(min=0, max=1, help="Share of invalid messages among them.")] = 0.0,
) -> dict:
    """Play history into Kafka, in its order and at a chosen speed; its events have their own times.

    An event out of order, or a second copy, follows some events later: with few events an hour, that is late too.

    Example: nextclick replay --source simulator --rate 1000
    Example: nextclick replay --speed 3600 --shuffle 0.1 --duplicate 0.05 --late 0.01 --poison 0.01
    """
    from nextclick.project import Project
    from nextclick.stream.replay import replay, schedule

    if speed and rate:
        raise InputError("--speed, --rate: expected one of the two")
    project = Project.open()
    rows, invalid = _history(project, events, source, form)
    arriving = schedule(
        rows.astype({"event_id": str, "session_id": str}),
        project.params.run.seed,
        shuffle=shuffle,
        duplicate=duplicate,
        late=late,
        lateness_minutes=project.params.features.lateness_minutes,
    )
    seed = project.params.run.seed
    sent = replay(arriving[:limit], project.params.stream, seed, speed=speed, rate=rate, poison=poison)
    return {**sent, "quarantined": invalid} if source else sent


def _history(project: Project, events: Path, source: str | None, form: str | None) -> tuple[DataFrame, int]:
    """Canonical events of a file, or of a source; and the number of rows of the source that broke the schema.

    Raises InputError if the source or its format is invalid.
    """
    from pydantic import ValidationError

    from nextclick.events.ingest import ingest, read_events
    from nextclick.events.simulator import simulate
    from nextclick.params import Ingest

    if source is None:
        if form:
            raise InputError("--format: expected a --source, whose format it is")
        return read_events(events), 0
    with TemporaryDirectory() as folder:
        scratch = Path(folder)
        given = project.params.ingest.model_dump() | {"path": str(Path(source).absolute())}
        if source != "simulator" and not Path(source).exists():
            raise InputError(f"--source {source}: expected a file, a folder, or the word simulator")
        if source == "simulator":
            simulate(project.params.simulator, project.params.run.seed, scratch / "simulated")
            given |= {"path": str(scratch / "simulated"), "format": "generic", "columns": {}}
        elif form:
            given |= {"format": form, "columns": project.params.ingest.columns if form == "generic" else {}}
        try:
            counts = ingest(Ingest(**given), project.root, scratch)
        except ValidationError as error:
            raise InputError(f"--format {form}: {error.errors()[0]['msg']}") from error
        return read_events(scratch / "events.parquet"), counts["quarantined"]


def freshness(
    rate: Annotated[float, typer.Option(min=1, help="Clicks a second.")] = 1000,
    seconds: Annotated[float, typer.Option(min=5, help="The duration.")] = 30,
) -> dict:
    """Measure how long a click takes into the online store, and until it has changed a recommendation.

    The clicks go through Kafka if NEXTCLICK_KAFKA is set, to a running `nextclick stream`; else they stay in this
    process. They belong to sessions freshness-…, which the log of the next training leaves out.

    Example: nextclick freshness --rate 1000 --seconds 10
    """
    from nextclick.bundle.bundle import load_bundle
    from nextclick.features.store.connect import apply_definitions
    from nextclick.project import Project
    from nextclick.stream.freshness import freshness

    project = Project.open()
    apply_definitions(project.root, project.params)
    recommender, _ = load_bundle(project.root / "models/bundle")
    return freshness(project.root, project.params, recommender, rate, seconds)


def compact() -> dict:
    """Merge the files of each day of the live log into one, each event once.

    Example: nextclick compact
    """
    from nextclick.logs.event_log import LIVE_EVENTS, EventLog
    from nextclick.progress import progress_bar
    from nextclick.project import project_root

    log = EventLog(project_root() / LIVE_EVENTS)
    days = log.days()
    return {
        "days": len(days),
        "merged": sum(log.compact(day) for day in progress_bar(days, desc="compact", unit="day")),
    }
