"""The command for people who bring their own data, which needs no project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nextclick.errors import InputError


def look(
    path: Annotated[Path, typer.Argument(help="A file of events, or a folder of them.", show_default=False)],
    column: Annotated[
        list[str] | None,
        typer.Option(help="A column that you know, as item_id=sku; repeatable. Empty, as user_id=, leaves it out."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another key of the section ingest, as decimal=. or encoding=cp1252; repeatable."),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Put the section into ./params.yaml.")] = False,
) -> dict:
    """Guess which column of your data is what, read it as `ingest` will, and say what came out.

    The section `ingest` for params.yaml is on the screen and in the result. Where the data does not tell, it asks one
    question, which --column or --set answers. Nothing is written unless --write says so; a folder of its own in the
    temporary folder ($TMPDIR) holds what is read meanwhile.

    Example: nextclick look clicks.csv --column item_id=sku
    """
    from nextclick.events.ingest_report import screen
    from nextclick.events.look.look import look
    from nextclick.events.look.written_section import write_section, written

    section, read, uncertain = look(path, _pairs("--column", column), _pairs("--set", set_), Path.cwd())
    if write:
        write_section(section, Path("params.yaml"))
    where = "params.yaml now has" if write else "for params.yaml, where --write puts it"
    tail = ["", f"{where}:", *written(section).splitlines()]
    typer.echo(screen(read, uncertain, tail), err=True)
    return {"ingest": section, "uncertain": uncertain, **read}


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"{option} {text}: expected a name, = and a value")
        pairs[name.strip()] = value.strip() if option == "--column" else value
    return pairs
