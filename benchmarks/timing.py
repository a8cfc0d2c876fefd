"""Interleaved timing: every contender runs in every round, and ratios are taken round by round."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable


def interleaved(
    contenders: dict[str, Callable[[], object]], rounds: int, calls: int = 1
) -> dict[str, list[float]]:
    """Seconds per call of each contender, one figure a round.

    The order turns from round to round, so that none always follows the same neighbour. The collector stays
    on, as in real use, but starts each measurement from empty generations.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for name in names:
        contenders[name]()  # warm-up
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            run = contenders[name]
            gc.collect()
            start = time.perf_counter()
            for _ in range(calls):
                run()
            seconds[name].append((time.perf_counter() - start) / calls)
    return seconds


def ratio(seconds: dict[str, list[float]], name: str, against: str) -> float:
    """Median over the rounds of one contender's time over another's."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[against], strict=True))


def quartiles(seconds: dict[str, list[float]], name: str, against: str) -> tuple[float, float]:
    """Lower and upper quartile of the same ratios."""
    ratios = [a / b for a, b in zip(seconds[name], seconds[against], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return low, high
