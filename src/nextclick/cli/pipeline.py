"""The commands of the stages of dvc.yaml. The stages depend on this file alone, so other commands change no stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nextclick.errors import InputError


def simulate(
    scenario: Annotated[
        str,
        typer.Option(
            help="The change of the shop: none, catalogue_change, taste_shift, price_shock, seasonal_swing, "
            "bot_attack or tracking_bug."
        ),
    ] = "none",
    strength: Annotated[
        float,
        typer.Option(min=0, help="Strength of the change: a share of items, events or sessions, or of the prices."),
    ] = 0.5,
    onset: Annotated[int, typer.Option(min=0, help="The day on which it begins, from 0.")] = 25,
    out: Annotated[Path | None, typer.Option(help="Folder; a scenario needs one of its own.")] = None,
) -> dict:
    """Play the simulated shop of params.yaml into data/raw/simulated, or with a change into a folder of its own.

    Example: nextclick simulate --scenario taste_shift --strength 0.8 --out data/raw/shifted
    """
    from nextclick.events.simulator import Scenario, simulate
    from nextclick.project import Project

    project = Project.open()
    if scenario == "none":
        return simulate(project.params.simulator, project.params.run.seed, out or project.root / "data/raw/simulated")
    if out is None:
        raise InputError(f"simulate: --scenario {scenario} needs --out, since the pipeline reads data/raw/simulated")
    return simulate(project.params.simulator, project.params.run.seed, out, Scenario(scenario, strength, onset))  # type: ignore[arg-type]


def ingest() -> dict:
    """Read the source that params.yaml names into data/interim, bad rows into its quarantine, and say what came out.

    Example: nextclick ingest
    """
    from nextclick.events.ingest import ingest
    from nextclick.events.ingest_report import screen
    from nextclick.files import write_json
    from nextclick.project import Project

    project = Project.open()
    counts = ingest(project.params.ingest, project.root, project.root / "data/interim")
    write_json(project.root / "reports/metrics/ingest.json", counts)
    typer.echo(screen(counts), err=True)
    return counts


def split() -> dict:
    """Divide data/interim/events.parquet into data/split/train.parquet and test.parquet."""
    from nextclick.events.split import split
    from nextclick.files import write_json
    from nextclick.project import Project

    project = Project.open()
    counts = split(project.root / "data/interim/events.parquet", project.params.split, project.root / "data/split")
    write_json(project.root / "reports/metrics/split.json", counts)
    return counts


def publish() -> dict:
    """Write the offline feature store and register its definitions with Feast.

    Example: nextclick publish
    """
    from nextclick.features.store.connect import apply_definitions
    from nextclick.features.store.publish import publish
    from nextclick.project import Project

    project = Project.open()
    ingested = project.root / "reports/metrics/ingest.json"
    if not ingested.exists():
        raise InputError(f"{ingested}: file not found; run `nextclick ingest` first, which writes it")
    clock = json.loads(ingested.read_text())["clock"]
    rows = publish(project.root, project.params, timed=clock == "real")
    apply_definitions(project.root, project.params)
    return rows


def notebook(name: Annotated[str, typer.Argument(help="Its name, without an ending.")]) -> dict:
    """Run a notebook with its sections of params.yaml; the result goes to reports/notebooks.

    Example: nextclick notebook 03_train
    """
    from nextclick.notebook import run_notebook
    from nextclick.project import project_root

    root = project_root()
    return {"notebook": str(run_notebook(name, root).relative_to(root))}
