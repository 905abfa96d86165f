"""The commands of the lifecycle."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nextclick.errors import InputError

if TYPE_CHECKING:
    from nextclick.lifecycle.registry import Registry, Version
    from nextclick.params import Params

Name = Annotated[str, typer.Option("--name", help="The recommender, an artifact of dvc.yaml.")]
Asked = Annotated[str, typer.Argument(metavar="V", help="A version: v3.0.0, v3, or its bundle.")]
DEFAULT = "recommender"
VERSION = r"v\d+(\.\d+){0,2}"


def register(name: Name = DEFAULT) -> dict:
    """Register the bundle of the pipeline as a version: a GTO tag on the commit that it was made from.

    Example: nextclick register
    """
    version = _registry(name).register()
    return {"recommender": name, "version": version.number, "bundle": version.bundle, "commit": version.commit}


def gate(
    challenger: Annotated[str, typer.Argument(help="A version, or the folder of a bundle.")], name: Name = DEFAULT
) -> dict:
    """Decide whether a challenger may replace the champion, by an evaluation of both on the newest held-out window.

    It writes the decision record, with a notebook beside it. Without a champion, the best baseline is to be beaten.

    Example: nextclick gate v3
    """
    from nextclick.lifecycle.gate import gate
    from nextclick.lifecycle.promotion import champion

    registry, params = _registry(name), _params()
    folder = Path(challenger)
    if not folder.is_dir():
        folder = registry.bundle(registry.version(challenger))
    elif not (folder / "manifest.json").is_file():
        raise InputError(f"{folder}: has no manifest.json; expected a version, or the folder of a bundle")
    present = champion(registry)
    return gate(registry.root, params, folder.absolute(), registry.bundle(present) if present else None, name).to_dict()


def promote(
    version: Asked,
    reason: Annotated[str | None, typer.Option(help="Promote without the gate, for this reason.")] = None,
    name: Name = DEFAULT,
) -> dict:
    """Make a version the champion if the gate allowed it; a running service follows within seconds.

    Example: nextclick promote v3
    """
    from nextclick.lifecycle.promotion import promotable, promote
    from nextclick.lifecycle.records import Grounds

    registry = _registry(name)
    chosen = _other_than_champion(registry, version)
    grounds = Grounds(gate=None, reason=reason) if reason else promotable(registry, chosen)
    return promote(registry, chosen, grounds).to_dict()


def rollback(
    to: Annotated[str | None, typer.Option(metavar="V", help="A version; the default: the previous champion.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "asked for",
    name: Name = DEFAULT,
) -> dict:
    """Make an earlier version the champion again; a running service follows within seconds.

    Example: nextclick rollback --to v2
    """
    from nextclick.lifecycle.promotion import rollback
    from nextclick.lifecycle.records import Grounds

    registry = _registry(name)
    chosen = _other_than_champion(registry, to) if to else None
    return rollback(registry, chosen, Grounds(reason=reason)).to_dict()


def shadow(
    version: Annotated[str, typer.Argument(metavar="V", help="A version, or `off`.")], name: Name = DEFAULT
) -> dict:
    """Let a version compute beside the champion; its answers are logged in data/shadow and never shown.

    Example: nextclick shadow v3
    """
    from nextclick.lifecycle.promotion import shadow

    registry = _registry(name)
    return shadow(registry, None if version == "off" else registry.version(version)).to_dict()


def start_split(asked: str, name: str) -> dict:
    """Let a version answer a share of the sessions. asked: such as v3=10%; `off` ends it. Raises InputError."""
    from nextclick.lifecycle.promotion import split

    registry = _registry(name)
    if asked == "off":
        return split(registry, None, 0).to_dict()
    version, _, share = asked.partition("=")
    try:
        part = float(share.removesuffix("%")) / (100 if share.endswith("%") else 1)
    except ValueError:
        part = 0
    if not (version and 0 < part < 1):
        raise InputError(
            f"split: {asked!r}: expected a version and its share, above 0 and below 100 %, as in v3=10%; or off"
        )
    return split(registry, registry.version(version), part).to_dict()


def experiment(name: Name = DEFAULT) -> dict:
    """Compare both arms of the running split, with intervals that stay valid however often they are read.

    Example: nextclick experiment
    """
    from nextclick.lifecycle.experiment import results

    return results(_registry(name).root, name, _params()).to_dict()


def retrain(
    watch: Annotated[bool, typer.Option(help="Stay, and roll back if the promise is broken.")] = True,
    name: Name = DEFAULT,
) -> dict:
    """Take new data, run `dvc repro` and the gate; if that allows it, promote and build a bento; then watch.

    It needs nobody, and ends the same if it is killed at any time and run again. See docs/retraining.md for cron.

    Example: nextclick retrain --no-watch
    """
    from nextclick.lifecycle import watch as watching
    from nextclick.lifecycle.retrain import retrain

    registry, params = _registry(name), _params()
    outcome = retrain(registry, params).to_dict()
    return {**outcome, "watch": watching.watch(registry, params).to_dict()} if watch else outcome


def watch(
    once: Annotated[bool, typer.Option("--once", help="Check once, for a scheduler that comes again.")] = False,
    name: Name = DEFAULT,
) -> dict:
    """Compare the clicks on the champion's recommendations with the promise of the gate, until the time of watching is
    over, and roll back if the promise is broken.

    Example: nextclick watch --once
    """
    from datetime import UTC, datetime

    from nextclick.lifecycle.watch import check_promise, watch

    registry, params = _registry(name), _params()
    report = check_promise(registry, params, datetime.now(UTC)) if once else watch(registry, params)
    return report.to_dict()


def lineage(
    request: Annotated[
        str, typer.Argument(metavar="REQUEST_ID", help="Of an answer; or a version, such as v3 or v3.0.0.")
    ],
    session: Annotated[str | None, typer.Option(help="The session, if several answers have that id.")] = None,
    name: Name = DEFAULT,
) -> dict:
    """Show what made an answer: version, commit, params, hashes of data and code, decisions.

    Example: nextclick lineage ca729a382ae4e54b2a81504d01ba6578
    """
    from nextclick.lifecycle.lineage import lineage, made_of

    registry = _registry(name)
    if session is None:  # a client may name its requests as it likes, also as one of ours names a version
        numbered = re.fullmatch(VERSION, request)
        if version := registry.version(request) if numbered else registry.of_bundle(request):
            return made_of(registry, version).to_dict()
    return lineage(registry, request, session).to_dict()


def reproduce(version: Asked, name: Name = DEFAULT) -> dict:
    """Rebuild a version from raw data in a clean clone, and compare it bit by bit.

    Example: nextclick reproduce v3
    """
    from nextclick.lifecycle.lineage import reproduce

    registry = _registry(name)
    return reproduce(registry, registry.version(version)).to_dict()


def forget(
    user: Annotated[str | None, typer.Option(help="A user, with all sessions.")] = None,
    session: Annotated[str | None, typer.Option(help="One session.")] = None,
) -> dict:
    """Remove a person from the online store, the logs and the offline data; names the versions trained on them.

    The next `dvc repro` brings the person back if a stage reads a source that still has him: the simulator, or a file
    that is not Parquet. Remove him there too.

    Example: nextclick forget --user u42
    """
    from nextclick.lifecycle.forget import forget
    from nextclick.project import Project

    project = Project.open()
    return forget(project.root, project.params, user, session).to_dict()


def _registry(name: str) -> Registry:
    from nextclick.lifecycle.registry import Registry
    from nextclick.project import project_root

    registry = Registry(project_root(), name)
    _ = registry.artifact  # raises InputError for a name that dvc.yaml does not have
    return registry


def _other_than_champion(registry: Registry, asked: str) -> Version:
    """The version that was asked for. Raises InputError if it is already the champion, in pointer, tag and record."""
    from nextclick.lifecycle.promotion import is_champion

    version = registry.version(asked)
    if is_champion(registry, version):
        raise InputError(f"{registry.name} {version.number}: is the champion already")
    return version


def _params() -> Params:
    from nextclick.project import Project

    return Project.open().params
