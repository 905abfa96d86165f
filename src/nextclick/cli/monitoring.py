"""The commands that evaluate what was served."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from nextclick.cli.ending import EndedWithError
from nextclick.cli.times import utc
from nextclick.errors import InputError


def feedback(
    since: Annotated[datetime, typer.Option(help="Start of the window of serving (UTC).")],
    until: Annotated[datetime, typer.Option(help="End of the window, exclusive (UTC).")],
) -> dict:
    """What became of the lists that the service gave: how often the next click was among them, against the promise.

    Example: nextclick feedback --since 2026-03-01 --until 2026-03-08
    """
    from nextclick.monitoring.feedback import feedback
    from nextclick.project import Project

    project = Project.open()
    return feedback(project.root, utc(since), utc(until), project.params).to_dict()


def drift(
    since: Annotated[datetime | None, typer.Option(help="Start of the window of serving (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="End of the window, exclusive (UTC).")] = None,
    events: Annotated[Path | None, typer.Option(help="Parquet file of events to replay, instead of the logs.")] = None,
    days: Annotated[float | None, typer.Option(help="The last days: of the file, or whole days of the logs.")] = None,
    exit_code: Annotated[bool, typer.Option(help="End with 10 for `retrain`, 20 for `alert`.")] = True,
) -> dict:
    """Compare what was served with the bundle's reference, and decide: retrain, hold, or alert (fix the data).

    Example: nextclick drift --days 7

    Example: nextclick drift --since 2026-03-01 --until 2026-03-08

    Example: nextclick drift --events data/split/test.parquet --days 3 --no-exit-code
    """
    from nextclick.monitoring.drift_report import drift_live, drift_of_file
    from nextclick.monitoring.policy import EXIT_CODES
    from nextclick.project import Project

    project = Project.open()
    if days is not None and days <= 0:
        raise InputError(f"drift: --days {days:g}, expected more than 0")
    if events and (since or until):
        raise InputError("drift: --events takes --days, not --since or --until")
    if events:
        found = drift_of_file(project.root, events, days, project.params)
    elif since and until and not days:
        found = drift_live(project.root, utc(since), utc(until), project.params)
    elif days and not (since or until):
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        found = drift_live(project.root, midnight - timedelta(days=days), midnight, project.params)
    else:
        raise InputError("drift: expected --since and --until, or --days, or --events")
    if exit_code and (code := EXIT_CODES[found["outcome"]]):
        raise EndedWithError(found, code)
    return found
