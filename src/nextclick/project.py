"""Where the project is, found from any folder inside it."""

from __future__ import annotations

from pathlib import Path

from nextclick.errors import InputError

MARKER = "dvc.yaml"


def project_root(start: Path | None = None) -> Path:
    """The nearest folder, from `start` (default: the working directory) upwards, that holds dvc.yaml."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / MARKER).is_file():
            return folder
    raise InputError(f"{start}: neither it nor a folder above it holds {MARKER}; run this inside the project")
