"""Loads a bundle and answers with it in a process of its own, before the service does: what no check foresees, such as
compiled code that reads what it should not, ends that process and nobody's lists."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from nextclick.errors import InputError

TRIAL_SECONDS = 120.0  # a bundle that takes longer is refused
NICENESS = 10  # lists that are answered meanwhile come first


def try_bundle(folder: Path) -> None:
    """Raises InputError, with the reason, unless the bundle loads and answers."""
    command = [sys.executable, "-m", "nextclick.serving.bundle_trial", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TRIAL_SECONDS)
    except subprocess.TimeoutExpired:
        raise InputError(f"{folder}: did not load and answer within {TRIAL_SECONDS:g} s") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        ended = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit status {done.returncode}"
        raise InputError(said[0] if done.returncode == 2 else f"{folder}: loading it ended with {ended}: {said[0]}")


def main(folder: Path) -> None:
    from numba import set_num_threads

    from nextclick.serving.loaded_bundle import LoadedBundle

    os.nice(NICENESS)
    set_num_threads(1)
    try:
        LoadedBundle.load(folder).warm_up()
    except InputError as error:
        sys.exit(_refused(error))


def _refused(error: InputError) -> int:
    print(error, file=sys.stderr)
    return 2


if __name__ == "__main__":
    main(Path(sys.argv[1]))
