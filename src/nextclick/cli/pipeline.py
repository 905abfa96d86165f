"""The commands that the stages of dvc.yaml run. Each stage names this file, so that other commands change none."""

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


def split() -> dict:
    """Divide data/interim/events.parquet into data/split/train.parquet and test.parquet."""
    from nextclick.events.split import split
    from nextclick.params import Params
    from nextclick.project import project_root

    root = project_root()
    counts = split(root / "data/interim/events.parquet", Params.read(root / "params.yaml").split, root / "data/split")
    return _metric(counts, root / "reports/metrics/split.json")


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


def notebook(name: Annotated[str, typer.Argument(help="Its name, without an ending.")]) -> dict:
    """Run a notebook with its sections of params.yaml; the result goes to reports/notebooks.

    Example: nextclick notebook 03_train
    """
    from nextclick.notebook import run_notebook
    from nextclick.project import project_root

    root = project_root()
    return {"notebook": str(run_notebook(name, root).relative_to(root))}


def _metric(values: dict, path: Path) -> dict:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1) + "\n")
    return values
