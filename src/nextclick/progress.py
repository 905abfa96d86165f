"""Progress of long work, on stderr, where someone is looking."""

from __future__ import annotations

import os
import sys
from typing import Any

from tqdm import tqdm

# A notebook's process has no terminal of its own; what started it says here whether it has one.
SHOWN_BY_PARENT = "NEXTCLICK_PROGRESS"


def is_watched() -> bool:
    return sys.stderr.isatty() or bool(os.environ.get(SHOWN_BY_PARENT))


def progress_bar(*args: Any, **kwargs: Any) -> tqdm:
    """A tqdm bar that is silent in logs and pipes."""
    return tqdm(*args, disable=not is_watched(), **kwargs)
