"""Runs a case: makes its contenders, compares what they compute, and takes the costs."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable

import numpy as np

from benchmarks.case import Case, Cost, NotHere, Result, Running
from benchmarks.timing import interleaved, timer

Say = Callable[[str], None]


def run(case: Case, rounds: int, say: Say) -> Result:
    """Measure every contender of a case that can run here."""
    absent: dict[str, str] = {}

    def failed(name: str, error: Exception) -> None:
        absent[name] = reason(error)
        say(f"    {name}: {absent[name]}")

    costs: dict[str, Cost] = {}
    expected: list[np.ndarray] | None = None
    for name in sorted(case.contenders, key=lambda name: name != case.baseline):  # the baseline first
        start = time.perf_counter()
        try:
            running = case.contenders[name]()
            if not isinstance(running, Running):
                costs[name] = running
                continue
            found = [np.array(running.read(running.step()), np.float64) for _ in range(case.compared)]
            if expected is None and name == case.baseline:
                expected = found
            _agree(case, found, expected)
            costs[name] = timer(running)
            say(f"    {name}: ready after {time.perf_counter() - start:.1f} s")
        except Exception as error:
            failed(name, error)
    order = [name for name in case.contenders if name in costs]
    measured = interleaved(
        {name: costs[name] for name in order}, min(rounds, case.rounds), case.seconds, failed
    )
    del costs
    gc.collect()
    if not measured.get(case.baseline):
        absent = {**dict.fromkeys(measured, f"no {case.baseline} to compare with"), **absent}
        return Result(case.group, case.title, case.baseline, {}, absent, list(case.bars))
    unit = statistics.median(measured[case.baseline])
    relative = {name: [x / unit for x in measured[name]] for name in measured}
    return Result(case.group, case.title, case.baseline, relative, absent, list(case.bars), unit)


def _agree(case: Case, found: list[np.ndarray], expected: list[np.ndarray] | None) -> None:
    if expected is None:
        raise NotHere(f"no results of {case.baseline} to compare with")
    for i, (its, right) in enumerate(zip(found, expected, strict=True)):
        if its.shape != right.shape:
            raise ValueError(f"computes something else: result {i} has shape {its.shape}, not {right.shape}")
        if not np.allclose(its, right, rtol=case.rtol, atol=case.atol):
            far = np.nanmax(np.abs(its - right) / (np.abs(right) + case.atol))
            raise ValueError(f"computes something else: result {i} is off by {far:.1e} of its value")


def reason(error: Exception) -> str:
    """A line that tells why a contender is not in the table."""
    if isinstance(error, NotHere):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
