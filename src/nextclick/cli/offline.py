"""The commands that measure a model offline, and load the online store from history."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from nextclick.cli.times import utc


def benchmark(
    train: Annotated[Path, typer.Option(help="Parquet: session_id, item_id, and timestamp or position.")],
    test: Annotated[Path, typer.Option(help="The sessions to predict, as a file with the same columns.")],
    params: Annotated[Path, typer.Option(help="The file of params.")] = Path("params.yaml"),
    min_prefix: Annotated[int, typer.Option(min=1, help="Known clicks before the first prediction.")] = 1,
    ranks: Annotated[Path | None, typer.Option(help="Write session_id, position and rank of every prediction.")] = None,
    baselines: Annotated[
        bool, typer.Option(help="Also evaluate the baselines, with the ratio of the model to each.")
    ] = False,
) -> dict:
    """Train on one file of sessions, and predict every next click of another.

    Example: nextclick benchmark --train train.parquet --test test.parquet
    """
    from nextclick.evaluation import benchmark as protocol
    from nextclick.params import Params

    result, table = protocol.benchmark(train, test, Params.read(params), min_prefix, baselines)
    if ranks:
        table.to_parquet(ranks, index=False)
    return result


def materialise(
    since: Annotated[datetime | None, typer.Option(help="Start of the window (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="End of the window, exclusive (UTC).")] = None,
) -> dict:
    """Load the online store from the ingested history, all of it or a window. The command is idempotent.

    Example: nextclick materialise --until 2026-01-20
    """
    from nextclick.events.ingest import read_events
    from nextclick.features.store.connect import BATCH_TIMEOUT, apply_definitions, connect
    from nextclick.features.store.publish import materialise
    from nextclick.project import Project

    project = Project.open()
    apply_definitions(project.root, project.params)
    events = read_events(project.root / "data/interim/events.parquet")
    store = connect(project.root, project.params, BATCH_TIMEOUT)
    window = (utc(time) if time else None for time in (since, until))
    return materialise(store, events, project.params.ingest.event_types, *window)


def parity(
    events: Annotated[Path, typer.Option(help="Parquet: sessions to play.")] = Path("data/split/test.parquet"),
    train: Annotated[
        Path | None, typer.Option(help="Parquet: sessions known before; the default: those of the bundle.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--most", min=1, help="Play only the first events, up to this number.")
    ] = None,
    shuffle: Annotated[float, typer.Option(min=0, max=1, help="Share of the events that come late.")] = 0.0,
    duplicate: Annotated[float, typer.Option(min=0, max=1, help="Share of the events that are sent twice.")] = 0.0,
    expire: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the predictions before which the state is rebuilt.")
    ] = 0.0,
) -> dict:
    """Play events one by one through the online store and compare every feature with the offline one.

    Example: nextclick parity --most 2000 --shuffle 0.1 --duplicate 0.1
    """
    from dataclasses import asdict

    from nextclick.bundle.bundle import load_bundle
    from nextclick.evaluation.benchmark import read_sessions, snapshot_of
    from nextclick.evaluation.parity import parity
    from nextclick.events.arrival_order import arrivals
    from nextclick.events.ingest import read_events
    from nextclick.features.store.connect import BATCH_TIMEOUT, apply_definitions, connect
    from nextclick.features.store.online import OnlineStates
    from nextclick.project import Project

    project = Project.open()
    if train:
        snapshot, types, rows = snapshot_of(train, project.params), ["view"], read_sessions(events)
    else:
        recommender, manifest = load_bundle(project.root / "models/bundle")
        snapshot, types, rows = recommender.snapshot, manifest["event_types"], read_events(events)
    texts = rows.astype({"event_id": str, "session_id": str})
    arriving = arrivals(texts, project.params.run.seed, shuffle, duplicate)[:limit]
    apply_definitions(project.root, project.params)
    online = OnlineStates(connect(project.root, project.params, BATCH_TIMEOUT))
    compared = parity(snapshot, arriving, online, types, expire=expire, seed=project.params.run.seed)
    return {**asdict(compared), "events": len(arriving), "features": len(snapshot.feature_names)}
