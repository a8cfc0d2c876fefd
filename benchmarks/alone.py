"""A contender's training steps in a process of its own: how long the first one takes, and the peak of memory.

``python -m benchmarks.alone`` takes a contender's name and a `Training` as JSON and prints its `Told`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.case import NotHere, Running
from benchmarks.training import Training

STEPS = 3


@dataclass(frozen=True)
class Told:
    """Seconds of the first step and of a later one, and the most memory that the later ones had, in bytes."""

    first: float
    later: float
    peak: int


def ask(name: str, training: Training, device: str) -> Told:
    """Run a contender in a fresh process, without what compilers keep on disk."""
    command = [sys.executable, "-m", "benchmarks.alone", name, json.dumps(asdict(training)), device]
    root = Path(__file__).parent.parent
    with tempfile.TemporaryDirectory() as empty:
        settings = {**os.environ, "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1", "NUMBA_CACHE_DIR": empty}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, env=settings)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise NotHere(f"in its own process: {lines[-1]}")
    return Told(**json.loads(done.stdout.splitlines()[-1]))


def watch(running: Running) -> Told:
    """Take a few steps."""
    start = time.perf_counter()
    running.wait(running.step())
    first = time.perf_counter() - start
    running.wait(running.step())
    forget_peak()
    start = time.perf_counter()
    for _ in range(STEPS):
        running.wait(running.step())
    return Told(first, (time.perf_counter() - start) / STEPS, peak())


def forget_peak() -> None:
    """Let the peak of the resident memory begin with what is in use.

    What the weights' making and compilers have freed is given back first (malloc_trim(3), glibc), else it
    would count as a step's. Linux: proc(5), clear_refs.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):  # without it the peak is that of the whole process, compilers included
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak() -> int:
    """The most resident memory so far, in bytes."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def main() -> None:
    from benchmarks import libraries, mlp

    name, text, device = sys.argv[1:]
    libraries.configure(int(os.environ["OMP_NUM_THREADS"]), device)
    given = json.loads(text)
    training = Training(tuple(given["sizes"]), given["batch"], given["optimizer"])
    running = mlp.contenders(training, device)[name]()
    assert isinstance(running, Running)
    print(json.dumps(asdict(watch(running))))


if __name__ == "__main__":
    main()
