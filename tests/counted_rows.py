"""A data set in chunks that say when, and in which process, they are loaded: what Dask's workers import."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def rows(chunk: int, n: int, d: int) -> Array:
    """Rows of features, and the class of each (0 or 1) in one more column."""
    rng = np.random.default_rng([7, chunk])
    x = rng.normal(size=(n, d))
    p = 1 / (1 + np.exp(0.5 - x @ np.linspace(-1.0, 2.0, d)))
    return np.concatenate([x, (rng.random((n, 1)) < p[:, None]).astype(float)], axis=1)


def load(folder: str, chunk: int, n: int, d: int) -> Array:
    """`rows`, and a line in the folder's log."""
    with open(os.path.join(folder, "loads"), "a") as log:
        log.write(f"{chunk} {os.getpid()}\n")
    return rows(chunk, n, d)


def load_or_die(folder: str, chunk: int, n: int, d: int, deaths: int) -> Array:
    """`load`, but the first `deaths` processes that try are killed."""
    died = Path(folder, "deaths")
    before = len(died.read_text()) if died.exists() else 0
    if before < deaths:
        died.write_text("x" * (before + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return load(folder, chunk, n, d)


def uniform(chunk: int, n: int, d: int) -> Array:
    """Many rows in no time."""
    return np.random.default_rng([8, chunk]).random((n, d))


def loads(folder: str) -> list[tuple[int, int]]:
    """Which chunk was loaded in which process, in order."""
    log = Path(folder, "loads")
    pairs = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [(int(chunk), int(process)) for chunk, process in pairs]


def peak_memory() -> int:
    """The most resident bytes that this process has had.

    On Linux from the kernel's own mark, for the one of getrusage begins with what the parent had.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of macOS, in bytes
