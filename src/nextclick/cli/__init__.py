"""The command line: results on stdout, progress on stderr, and invalid input ends with exit code 2."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any, NoReturn

import typer

from nextclick.cli import lifecycle, live, look, monitoring, offline, pipeline
from nextclick.cli.ending import EndedWithError
from nextclick.errors import InputError, UnavailableError

AS_JSON = Parameter(
    "as_json",
    Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--json", help="Print JSON, as where stdout is no terminal.")],
)
app = typer.Typer(no_args_is_help=True, pretty_exceptions_show_locals=False)


@app.callback()
def nextclick() -> None:
    """From a shop's raw clickstream to recommendations that change within seconds of a click.

    Results are on stdout: tables at a terminal, JSON where they are piped or with --json. Progress, and what ingest and
    look say of your data, are on stderr.

    Exit codes: 0, done; 2, invalid input or a server that does not answer, explained in one line on stderr; 1, an
    internal error. Only `drift`, which schedulers call, ends with 10 for retrain and 20 for alert.

    `nextclick --install-completion` teaches the shell its commands.

    Example: nextclick benchmark --train train.parquet --test test.parquet
    """


def command(run: Callable[..., Any], panel: str) -> Callable[..., Any]:
    """Make a function a sub-command: its result is shown, and an error that a user can repair as one line. panel: under
    which the help lists it."""

    @wraps(run)
    def shown(*args: Any, as_json: bool, **kwargs: Any) -> None:
        code = 0
        try:
            result = run(*args, **kwargs)
        except EndedWithError as ended:
            result, code = ended.result, ended.code
        except FileNotFoundError as error:
            _refuse(f"{error.filename or error}: file not found; `dvc repro` makes the files of the pipeline")
        except (InputError, UnavailableError) as error:
            _refuse(str(error))
        _show(run.__name__, result, as_json)
        if code:
            sys.exit(code)

    asked = signature(run, eval_str=True)
    shown.__signature__ = asked.replace(parameters=[*asked.parameters.values(), AS_JSON])  # type: ignore[attr-defined]
    shown.__annotations__ = {**run.__annotations__, "as_json": AS_JSON.annotation}
    return app.command(rich_help_panel=panel)(shown)


def _show(name: str, result: Any, as_json: bool) -> None:
    # not sooner: they load NumPy and rich, for which --help need not wait
    from nextclick.files import json_text

    if as_json or not sys.stdout.isatty() or not isinstance(result, dict):
        print(json_text(result))
    else:
        from nextclick.cli.terminal import show

        show(name, json.loads(json_text(result)))


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


PANELS = {
    "Data": (look.look, pipeline.simulate, pipeline.ingest, split),
    "Train and evaluate": (pipeline.notebook, pipeline.publish, offline.benchmark),
    "Versions": (
        lifecycle.register,
        lifecycle.gate,
        lifecycle.promote,
        lifecycle.rollback,
        lifecycle.shadow,
        lifecycle.experiment,
        lifecycle.retrain,
        lifecycle.watch,
    ),
    "Live clicks": (live.stream, live.replay, live.freshness, live.compact, offline.materialise),
    "Monitor and explain": (
        monitoring.feedback,
        monitoring.drift,
        offline.parity,
        lifecycle.lineage,
        lifecycle.reproduce,
        lifecycle.forget,
    ),
}
for panel, runs in PANELS.items():
    for run in runs:
        command(run, panel)
