"""The command line: results as JSON on stdout, progress on stderr; a mistake in the input ends with exit code 2."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from nextclick.cli import lifecycle, live, monitoring, offline, pipeline
from nextclick.errors import InputError, UnavailableError

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
    return lifecycle.start_split(challenger, name) if challenger else pipeline.split()


for run in (
    pipeline.simulate,
    pipeline.ingest,
    split,
    pipeline.notebook,
    offline.benchmark,
    pipeline.publish,
    offline.materialise,
    monitoring.feedback,
    monitoring.drift,
    offline.parity,
    live.stream,
    live.replay,
    live.freshness,
    live.compact,
    *lifecycle.COMMANDS,
):
    command(run)
