"""Compiled code in several threads, each over parts of a batch."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from numba import get_num_threads

PARTS_PER_THREAD = 4  # a thread with easy rows takes on more of them
MIN_ROWS = 32  # in a part: with fewer, handing it over costs more than it saves


def in_parts(work: Callable[[slice], None], n: int) -> None:
    """Call `work` with slices that cover range(n), in as many threads as Numba is given (NUMBA_NUM_THREADS).

    `work` must release the interpreter (`nogil`), and compute each row independently. This thread does a small batch.
    """
    threads = get_num_threads()
    size = max(MIN_ROWS, -(-n // (PARTS_PER_THREAD * threads)))
    parts = [slice(first, min(first + size, n)) for first in range(0, n, size)]
    if len(parts) < 2 or threads == 1:
        work(slice(0, n))
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, parts))
