"""Threads for the parts of one large call: NumPy's and numba's loops run without the interpreter's lock."""

from __future__ import annotations

import contextvars
import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


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


def each(parts: Sequence[Callable[..., None]], args: tuple[Any, ...]) -> None:
    """Call every part with `args`, the first one here; all have ended when it returns or raises.

    Each sees the caller's context, and with it NumPy's error state.
    """
    others = [_pool().submit(contextvars.copy_context().run, part, *args) for part in parts[1:]]
    try:
        parts[0](*args)
    finally:
        errors = [other.exception() for other in others]
    for error in errors:
        if error is not None:
            raise error
