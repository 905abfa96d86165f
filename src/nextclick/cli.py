"""The command line: results as JSON on stdout, progress on stderr; a mistake in the input ends with exit code 2."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from nextclick.errors import InputError, UnavailableError
from nextclick.lifecycle import commands as lifecycle
from nextclick.stream import commands as stream

app = typer.Typer(no_args_is_help=True, pretty_exceptions_show_locals=False)


@app.callback()
def nextclick() -> None:
    """From a shop's raw clickstream to recommendations that change within seconds of a click.

    Results are JSON on stdout, progress is on stderr. Exit codes: 0, done; 2, something is to be mended, which one line
    on stderr says; 1, a fault of nextclick itself. What was found is in the JSON, not in the code; only `drift`, which
    schedulers ask, ends with 10 for retrain and 20 for alert. `nextclick --install-completion` teaches the shell its
    commands.

    Example: nextclick benchmark --train train.parquet --test test.parquet
    """


def command(run: Callable[..., Any]) -> Callable[..., Any]:
    """A sub-command whose result is printed as JSON and whose error is one line."""

    @wraps(run)
    def shown(*args: Any, **kwargs: Any) -> None:
        try:
            print(json.dumps(run(*args, **kwargs)))
        except (InputError, UnavailableError) as error:
            typer.echo(f"nextclick: {error}", err=True)
            sys.exit(2)
        except FileNotFoundError as error:
            typer.echo(
                f"nextclick: {error.filename or error}: not there; files of the pipeline are made by `dvc repro`",
                err=True,
            )
            sys.exit(2)

    return app.command()(shown)


@command
def simulate(
    scenario: Annotated[
        str,
        typer.Option(
            help="What happens to the shop: none, catalogue_change, taste_shift, price_shock, seasonal_swing, "
            "bot_attack or tracking_bug."
        ),
    ] = "none",
    strength: Annotated[
        float, typer.Option(min=0, help="How strongly: a share of items, events or sessions, or of the prices.")
    ] = 0.5,
    onset: Annotated[int, typer.Option(min=0, help="From which day on, the first being 0.")] = 25,
    out: Annotated[Path | None, typer.Option(help="Folder; a scenario needs one of its own.")] = None,
) -> dict:
    """Play the simulated shop of params.yaml into data/raw/simulated, or into a folder with something happening to it.

    Example: nextclick simulate --scenario taste_shift --strength 0.8 --out data/raw/shifted
    """
    from nextclick.events.simulator import Scenario, simulate
    from nextclick.params import Params
    from nextclick.project import project_root

    root = project_root()
    params = Params.read(root / "params.yaml")
    if scenario == "none":
        return simulate(params.simulator, params.run.seed, out or root / "data/raw/simulated")
    if out is None:
        raise InputError(f"simulate: --scenario {scenario} needs --out, since the pipeline reads data/raw/simulated")
    return simulate(params.simulator, params.run.seed, out, Scenario(scenario, strength, onset))  # type: ignore[arg-type]


@command
def ingest() -> dict:
    """Read the source that params.yaml names into data/interim, bad rows into its quarantine.

    Example: nextclick ingest
    """
    from nextclick.events.ingest import ingest
    from nextclick.params import Params
    from nextclick.project import project_root

    root = project_root()
    counts = ingest(Params.read(root / "params.yaml").ingest, root, root / "data/interim")
    return _metric(counts, root / "reports/metrics/ingest.json")


@command
def split(
    challenger: Annotated[
        str | None, typer.Argument(metavar="[V=10%|off]", help="Let a version answer a share of the sessions.")
    ] = None,
    name: lifecycle.Name = lifecycle.DEFAULT,
) -> dict:
    """Divide data/interim/events.parquet into data/split/train.parquet and test.parquet, the pipeline's stage; or, with
    a version, the traffic between it and the champion.

    Example: nextclick split v3=10%
    """
    if challenger:
        return lifecycle.start_split(challenger, name)
    from nextclick.events.split import split
    from nextclick.params import Params
    from nextclick.project import project_root

    root = project_root()
    counts = split(root / "data/interim/events.parquet", Params.read(root / "params.yaml").split, root / "data/split")
    return _metric(counts, root / "reports/metrics/split.json")


@command
def notebook(name: Annotated[str, typer.Argument(help="Its name, without an ending.")]) -> dict:
    """Run a notebook with its sections of params.yaml; the result goes to reports/notebooks.

    Example: nextclick notebook 03_train
    """
    from nextclick.notebook import run_notebook
    from nextclick.project import project_root

    root = project_root()
    return {"notebook": str(run_notebook(name, root).relative_to(root))}


@command
def benchmark(
    train: Annotated[Path, typer.Option(help="Parquet: session_id, item_id, and timestamp or position.")],
    test: Annotated[Path, typer.Option(help="The sessions to predict, in the same form.")],
    params: Annotated[Path, typer.Option(help="The params to use.")] = Path("params.yaml"),
    min_prefix: Annotated[int, typer.Option(min=1, help="Known clicks before the first prediction.")] = 1,
    ranks: Annotated[Path | None, typer.Option(help="Write session_id, position and rank of every prediction.")] = None,
    baselines: Annotated[bool, typer.Option(help="Measure the baselines too, with the ratio of ours to each.")] = False,
) -> dict:
    """Train on one file of sessions, predict every next click of another.

    Example: nextclick benchmark --train train.parquet --test test.parquet
    """
    from nextclick.evaluation import benchmark as protocol
    from nextclick.params import Params

    result, table = protocol.benchmark(train, test, Params.read(params), min_prefix, baselines)
    if ranks:
        table.to_parquet(ranks, index=False)
    return result


@command
def publish() -> dict:
    """Write the offline feature store and register its definitions with Feast.

    Example: nextclick publish
    """
    from nextclick.features.store.connect import apply_definitions
    from nextclick.features.store.publish import publish
    from nextclick.params import Params
    from nextclick.project import project_root

    root = project_root()
    params = Params.read(root / "params.yaml")
    said = root / "reports/metrics/ingest.json"
    if not said.exists():
        raise InputError(f"{said}: not there; run `nextclick ingest` first, which writes it")
    clock = json.loads(said.read_text())["clock"]
    rows = publish(root, params, timed=clock == "real")
    apply_definitions(root, params)
    return rows


@command
def materialise(
    since: Annotated[datetime | None, typer.Option(help="Only events from then on (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only events before then (UTC).")] = None,
) -> dict:
    """Load the online store from the ingested history, all of it or a window; running it again changes nothing.

    Example: nextclick materialise --until 2026-01-20
    """
    from nextclick.events.ingest import read_events
    from nextclick.features.store.connect import PATIENT_TIMEOUT, apply_definitions, connect
    from nextclick.features.store.publish import materialise
    from nextclick.params import Params
    from nextclick.project import project_root

    root = project_root()
    params = Params.read(root / "params.yaml")
    apply_definitions(root, params)
    events = read_events(root / "data/interim/events.parquet")
    window = (_utc(moment) if moment else None for moment in (since, until))
    return materialise(connect(root, params, PATIENT_TIMEOUT), events, params.ingest.event_types, *window)


@command
def feedback(
    since: Annotated[datetime, typer.Option(help="Lists served from then on (UTC).")],
    until: Annotated[datetime, typer.Option(help="And before then (UTC).")],
) -> dict:
    """What became of the lists that the service gave: how often the next click was among them, against the promise.

    Example: nextclick feedback --since 2026-03-01 --until 2026-03-08
    """
    from nextclick.monitoring.feedback import feedback
    from nextclick.params import Params
    from nextclick.project import project_root

    root = project_root()
    params = Params.read(root / "params.yaml")
    return feedback(root, _utc(since), _utc(until), params)


@command
def drift(
    since: Annotated[datetime | None, typer.Option(help="What was served from then on (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="And before then (UTC).")] = None,
    events: Annotated[Path | None, typer.Option(help="Parquet: events to replay, in place of the logs.")] = None,
    days: Annotated[float | None, typer.Option(help="The last so many of the file, or whole ones of the logs.")] = None,
    exit_code: Annotated[bool, typer.Option(help="End with 10 for `retrain`, 20 for `alert`.")] = True,
) -> dict:
    """Compare what was served with the bundle's reference, and decide: retrain, hold, or alert (fix the data).

    Example: nextclick drift --days 7

    Example: nextclick drift --since 2026-03-01 --until 2026-03-08

    Example: nextclick drift --events data/split/test.parquet --days 3 --no-exit-code
    """
    from nextclick.monitoring.commands import drift_live, drift_of_file
    from nextclick.monitoring.policy import EXIT_CODES
    from nextclick.params import Params
    from nextclick.project import project_root

    root = project_root()
    params = Params.read(root / "params.yaml")
    if days is not None and days <= 0:
        raise InputError(f"drift: --days {days:g}, expected more than 0")
    if events and (since or until):
        raise InputError("drift: --events takes --days, not --since or --until")
    if events:
        found = drift_of_file(root, events, days, params)
    elif since and until and not days:
        found = drift_live(root, _utc(since), _utc(until), params)
    elif days and not (since or until):
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        found = drift_live(root, midnight - timedelta(days=days), midnight, params)
    else:
        raise InputError("drift: expected --since and --until, or --days, or --events")
    if exit_code and (code := EXIT_CODES[found["outcome"]]):
        print(json.dumps(found))
        sys.exit(code)
    return found


@command
def parity(
    events: Annotated[Path, typer.Option(help="Parquet: sessions to play.")] = Path("data/split/test.parquet"),
    train: Annotated[
        Path | None, typer.Option(help="Parquet: what is known before; the default is the bundle.")
    ] = None,
    most: Annotated[int | None, typer.Option(min=1, help="Play only the first so many events.")] = None,
    shuffle: Annotated[float, typer.Option(min=0, max=1, help="Share of the events that come late.")] = 0.0,
    duplicate: Annotated[float, typer.Option(min=0, max=1, help="Share of the events that come twice.")] = 0.0,
    expire: Annotated[float, typer.Option(min=0, max=1, help="Share of the moments with the state rebuilt.")] = 0.0,
) -> dict:
    """Play events one by one through the online store and compare every feature with the offline one.

    Example: nextclick parity --most 2000 --shuffle 0.1 --duplicate 0.1
    """
    from dataclasses import asdict

    from nextclick.evaluation.benchmark import read_sessions, snapshot_of
    from nextclick.evaluation.parity import arrivals, parity
    from nextclick.events.ingest import read_events
    from nextclick.features.store.connect import PATIENT_TIMEOUT, apply_definitions, connect
    from nextclick.features.store.online import OnlineStates
    from nextclick.params import Params
    from nextclick.project import project_root
    from nextclick.ranking.bundle import load_bundle

    root = project_root()
    params = Params.read(root / "params.yaml")
    if train:
        snapshot, types, rows = snapshot_of(train, params), ["view"], read_sessions(events)
    else:
        recommender, manifest = load_bundle(root / "models/bundle")
        snapshot, types, rows = recommender.snapshot, manifest["event_types"], read_events(events)
    arriving = arrivals(rows.astype({"event_id": str, "session_id": str}), params.run.seed, shuffle, duplicate)[:most]
    apply_definitions(root, params)
    online = OnlineStates(connect(root, params, PATIENT_TIMEOUT))
    found = parity(snapshot, arriving, online, types, expire=expire, seed=params.run.seed)
    return {**asdict(found), "events": len(arriving), "features": len(snapshot.feature_names)}


for run in (stream.stream, stream.replay, stream.freshness, stream.compact, *lifecycle.COMMANDS):
    command(run)


def _utc(moment: datetime) -> datetime:
    """A moment without a zone is in UTC, as the options say; another zone is honoured."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _metric(values: dict, path: Path) -> dict:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1) + "\n")
    return values


if __name__ == "__main__":
    app()
