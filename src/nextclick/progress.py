"""Progress of long work, on stderr, if somebody can see it."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

from nextclick.settings import ProgressSettings


def is_watched() -> bool:
    """Whether stderr, or that of the parent of a notebook, is a terminal."""
    return sys.stderr.isatty() or bool(ProgressSettings.read().progress)


def progress_bar(*args: Any, **kwargs: Any) -> tqdm:
    """A tqdm bar that is silent in logs and pipes."""
    return tqdm(*args, disable=not is_watched(), **kwargs)
