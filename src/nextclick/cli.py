"""The command line: results as JSON on stdout, progress on stderr; a mistake in the input ends with exit code 2."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from nextclick.errors import InputError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_show_locals=False)


@app.callback()
def nextclick() -> None:
    """From a shop's raw clickstream to recommendations that change within seconds of a click."""


@app.command()
def benchmark(
    train: Annotated[Path, typer.Option(help="Parquet: session_id, item_id, and timestamp or position.")],
    test: Annotated[Path, typer.Option(help="The sessions to predict, in the same form.")],
    params: Annotated[Path, typer.Option(help="The params to use.")] = Path("params.yaml"),
    min_prefix: Annotated[int, typer.Option(min=1, help="Known clicks before the first prediction.")] = 1,
    ranks: Annotated[Path | None, typer.Option(help="Write session_id, position and rank of every prediction.")] = None,
) -> None:
    """Train on one file of sessions, predict every next click of another.

    Example: nextclick benchmark --train train.parquet --test test.parquet
    """
    from nextclick.evaluation import benchmark as protocol
    from nextclick.params import Params

    try:
        result, table = protocol.benchmark(train, test, Params.read(params), min_prefix)
    except InputError as error:
        typer.echo(f"nextclick: {error}", err=True)
        sys.exit(2)
    if ranks:
        table.to_parquet(ranks, index=False)
    print(json.dumps(result))
