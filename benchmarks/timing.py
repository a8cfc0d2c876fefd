"""Interleaved timing: every contender runs in every round, and ratios are taken round by round."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks.case import Cost, Running

SAMPLE = 0.05
"""Seconds of work in one sample: a short step is repeated. OpenBLAS's threads spin for half of this."""
STRETCHES = 5
"""A sample is its best stretch of so many, where it has several calls: what else runs here only adds."""
PAUSE = 0.03
"""Seconds between samples, in which the last contender's threads go to sleep."""


def timer(running: Running) -> Cost:
    """Seconds per step of a contender, in a sample of about `SAMPLE` seconds."""
    running.wait(running.step())  # what is compiled in the first call, is compiled now
    calls = 1
    while (seconds := _seconds(running, calls)) < SAMPLE / 4:
        calls *= 4
    each = seconds / calls
    calls = max(1, round(SAMPLE / STRETCHES / each))
    stretches = STRETCHES if each < SAMPLE / STRETCHES else 1

    def cost() -> float:
        gc.collect()
        time.sleep(PAUSE)
        if stretches > 1:
            running.wait(running.step())  # brings its threads and its memory back
        return min(_seconds(running, calls) for _ in range(stretches)) / calls

    return cost


def _seconds(running: Running, calls: int) -> float:
    step = running.step
    start = time.perf_counter()
    for _ in range(calls):
        result = step()
    running.wait(result)
    return time.perf_counter() - start


def interleaved(
    costs: Mapping[str, Cost], rounds: int, seconds: float, failed: Callable[[str, Exception], None]
) -> dict[str, list[float]]:
    """The cost of each contender, one figure a round.

    The order turns from round to round, so that none always follows the same neighbour. There are as many
    rounds as fit into `seconds`, at least three and at most `rounds`. A contender that fails is reported and
    left out.
    """
    found: dict[str, list[float]] = {name: [] for name in costs}
    start = time.perf_counter()
    done = 0
    while done < rounds and found:
        names = list(found)
        for name in names[done % len(names) :] + names[: done % len(names)]:
            try:
                found[name].append(costs[name]())
            except Exception as error:
                failed(name, error)
                del found[name]
        done += 1
        if done >= 3 and (time.perf_counter() - start) * (done + 1) / done > seconds:
            break
    return found


def ratios(costs: Sequence[float], over: Sequence[float]) -> list[float]:
    """One cost over another, round by round."""
    return [a / b for a, b in zip(costs, over, strict=True)]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
