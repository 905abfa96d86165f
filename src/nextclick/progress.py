"""Progress of long work, on stderr, where someone is looking."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

from nextclick.settings import ProgressSettings


def is_watched() -> bool:
    return sys.stderr.isatty() or bool(ProgressSettings.read().progress)


def progress_bar(*args: Any, **kwargs: Any) -> tqdm:
    """A tqdm bar that is silent in logs and pipes."""
    return tqdm(*args, disable=not is_watched(), **kwargs)
