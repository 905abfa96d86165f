"""The project: its root, found from any folder inside it, and its params."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nextclick.errors import InputError
from nextclick.params import Params

MARKER = "dvc.yaml"


@dataclass(frozen=True)
class Project:
    """root: the folder that holds dvc.yaml, absolute. params: what its params.yaml says."""

    root: Path
    params: Params

    @classmethod
    def open(cls) -> Project:
        """The project around the working directory. Raises InputError if there is none, or its params are invalid."""
        root = project_root()
        return cls(root, Params.read(root / "params.yaml"))


def section(name: str) -> dict:
    """The values of one section of the params of the project around the working directory.

    The cell tagged `parameters` of a notebook calls it, so that a run by hand has the params of the project, too.
    Raises InputError if there is no project, its params are invalid, or they have no such section.
    """
    return Project.open().params.section(name)


def project_root(start: Path | None = None) -> Path:
    """The nearest folder, from `start` (default: the working directory) upwards, that holds dvc.yaml, absolute.

    Raises InputError if there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / MARKER).is_file():
            return folder
    raise InputError(f"{start}: neither it nor a folder above it holds {MARKER}; run this inside the project")
