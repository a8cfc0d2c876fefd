"""Threads for the parts of one large call: NumPy's and numba's loops run without the interpreter's lock."""

from __future__ import annotations

import contextvars
import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor


@functools.cache
def count() -> int:
    """How many threads a call may use: one for each processor, or as many as OMP_NUM_THREADS says."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(usable, int(asked)) if asked.isdecimal() and int(asked) else usable


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, count() - 1), "portagrad")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads stay behind in the parent


def each(workers: Sequence[Callable[[int, int], None]], pieces: Sequence[tuple[int, int]]) -> None:
    """Let the workers take the pieces, the first of them here; all have ended when it returns or raises.

    A thread that has not begun when no piece is left is not waited for: on a busy machine the caller does
    it all.
    Each sees the caller's context, and with it NumPy's error state.
    """
    left = iter(pieces)

    def work(worker: Callable[[int, int], None]) -> None:
        for lo, hi in left:  # one thread at a time is inside the iterator
            worker(lo, hi)

    others = [_pool().submit(contextvars.copy_context().run, work, worker) for worker in workers[1:]]
    try:
        work(workers[0])
    finally:
        errors = [other.exception() for other in others if not other.cancel()]
    for error in errors:
        if error is not None:
            raise error
