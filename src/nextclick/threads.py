"""Compiled code over the parts of a batch in several threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from numba import get_num_threads

PARTS = 4  # of each thread: a thread with easy rows takes on more of them
LEAST = 32  # rows in a part: below, handing it over costs more than it saves


def in_parts(work: Callable[[slice], None], n: int) -> None:
    """Call `work` with slices that cover range(n), in as many threads as Numba is given (NUMBA_NUM_THREADS).

    The work must release the interpreter (`nogil`), and treat each row by itself. A small batch stays in this thread.
    """
    threads = get_num_threads()
    size = max(LEAST, -(-n // (PARTS * threads)))
    parts = [slice(first, min(first + size, n)) for first in range(0, n, size)]
    if len(parts) < 2 or threads == 1:
        work(slice(0, n))
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, parts))
