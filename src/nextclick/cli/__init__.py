"""The command line: results as JSON on stdout, progress on stderr, and invalid input ends with exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, NoReturn

import typer

from nextclick.cli import lifecycle, live, look, monitoring, offline, pipeline
from nextclick.errors import InputError, UnavailableError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_show_locals=False)


@app.callback()
def nextclick() -> None:
    """From a shop's raw clickstream to recommendations that change within seconds of a click.

    Results are JSON on stdout; progress, and what ingest and look say of your data, are on stderr. Exit codes: 0, done;
    2, invalid input or a server that does not answer, explained in one line on stderr; 1, an internal error. A result
    is in the JSON, not in the code; only `drift`, which schedulers call, ends with 10 for retrain and 20 for alert.
    `nextclick --install-completion` teaches the shell its commands.

    Example: nextclick benchmark --train train.parquet --test test.parquet
    """


def command(run: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function a sub-command: its result is printed as JSON, and an error that a user can repair as one line."""

    @wraps(run)
    def shown(*args: Any, **kwargs: Any) -> None:
        try:
            result = run(*args, **kwargs)
        except FileNotFoundError as error:
            _refuse(f"{error.filename or error}: file not found; `dvc repro` makes the files of the pipeline")
        except (InputError, UnavailableError) as error:
            _refuse(str(error))
        from nextclick.files import json_text  # not sooner: it loads NumPy, for which --help need not wait

        print(json_text(result))

    return app.command()(shown)


def _refuse(reason: str) -> NoReturn:
    typer.echo(f"nextclick: {reason}", err=True)
    sys.exit(2)


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
    look.look,
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
