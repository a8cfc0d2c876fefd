"""Learning rates over the steps of a run.

A schedule is a function of the number of steps taken before: a Python number gives a Python float, and a
zero-dimensional integer array, such as a traced count, an array. Any optimizer takes one for its learning
rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

from portagrad.optim.leaves import namespace_of

Schedule = Callable[[Any], Any]


def constant(value: float) -> Schedule:
    """The same rate at every step.

    Examples
    --------
    >>> constant(0.1)(1000)
    0.1
    """
    value = rate("constant", "value", value)
    return lambda count: value


def step(value: float, every: int, factor: float = 0.1) -> Schedule:
    """``value * factor**(count // every)``: a fixed factor every so many steps.

    Examples
    --------
    >>> [step(1.0, every=2, factor=0.5)(count) for count in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    value = rate("step", "value", value)
    every = _steps("step", "every", every)
    factor = rate("step", "factor", factor)

    def schedule(count: Any) -> Any:
        _, t = _time(count)
        return value * factor ** (t // every)

    return schedule


def cosine(value: float, steps: int, final: float = 0.0) -> Schedule:
    """From `value` to `final` along half a cosine in `steps` steps; `final` from then on.

    Loshchilov and Hutter (2017), "SGDR: Stochastic gradient descent with warm restarts", equation 5.

    Examples
    --------
    >>> [round(cosine(1.0, steps=4)(count), 3) for count in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """
    value, final = rate("cosine", "value", value), rate("cosine", "final", final)
    steps = _steps("cosine", "steps", steps)

    def schedule(count: Any) -> Any:
        xp, t = _time(count)
        return _half_cosine(value, final, xp.where(t < steps, t, float(steps)) / steps, xp)

    return schedule


def warmup(after: float | Schedule, steps: int, start: float = 0.0) -> Schedule:
    """From `start` in a straight line to where another schedule starts, in `steps` steps, and on with that.

    Parameters
    ----------
    after : schedule or float
        What follows, its count starting from 0.
    steps : int
    start : float
        The rate of the first step.

    Examples
    --------
    >>> schedule = warmup(cosine(1.0, steps=4), steps=2)
    >>> [round(schedule(count), 3) for count in range(7)]
    [0.0, 0.5, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    then = schedule_of("warmup", "after", after)
    start = rate("warmup", "start", start)
    steps = _steps("warmup", "steps", steps)

    def schedule(count: Any) -> Any:
        xp, t = _time(count)
        peak = then(xp.where(count < steps, 0, count - steps))
        return xp.where(t < steps, start + (peak - start) * t / steps, peak)

    return schedule


def one_cycle(
    peak: float, steps: int, rise: float = 0.3, initial_factor: float = 25.0, final_factor: float = 1e4
) -> Schedule:
    """Up to `peak` along half a cosine, then down to next to nothing along another, in `steps` steps.

    Smith and Topin (2019), "Super-convergence"; shape and defaults are those of torch's ``OneCycleLR``.

    Parameters
    ----------
    peak : float
        The highest rate.
    steps : int
        All steps of the run.
    rise : float
        The part of the steps that leads up.
    initial_factor : float
        The first rate is ``peak / initial_factor``.
    final_factor : float
        The last one is the first one divided by it.

    Examples
    --------
    >>> schedule = one_cycle(1.0, steps=11, rise=0.5, initial_factor=10)
    >>> [round(schedule(count), 3) for count in (0, 2, 5, 8, 10)]
    [0.1, 0.472, 0.98, 0.292, 0.0]
    """
    peak = rate("one_cycle", "peak", peak)
    steps = _steps("one_cycle", "steps", steps)
    if not 0 <= rise <= 1:
        raise ValueError(f"one_cycle: rise must lie between 0 and 1, not {rise}")
    if initial_factor <= 0 or final_factor <= 0:
        raise ValueError(
            f"one_cycle: needs factors above 0, not initial_factor={initial_factor} and "
            f"final_factor={final_factor}"
        )
    first = peak / initial_factor
    top, end = rise * steps - 1, float(steps - 1)

    def schedule(count: Any) -> Any:
        xp, t = _time(count)
        late = xp.where(t < end, t, end)
        up = _half_cosine(first, peak, t / top if top > 0 else 0 * t + 1, xp)
        x = (late - top) / (end - top) if end > top else 0 * t + 1
        return xp.where(t <= top, up, _half_cosine(peak, first / final_factor, x, xp))

    return schedule


def schedule_of(what: str, name: str, value: float | Schedule) -> Schedule:
    """A schedule as it is, a number as a constant one; Python numbers come out as plain floats."""
    if not callable(value):
        return constant(rate(what, name, value))

    def schedule(count: Any) -> Any:
        found = value(count)
        # NumPy's float64 is a float that would promote float32 arrays.
        return float(found) if isinstance(found, int | float) else found

    return schedule


def rate(what: str, name: str, value: Any, limit: float = math.inf) -> float:
    """A number from 0 to below `limit`, as a Python float."""
    if not isinstance(value, Real):
        raise TypeError(f"{what}: {name} must be a number, not {type(value).__name__}")
    number = float(value)
    if not 0 <= number < limit:
        bounds = "must not be negative" if limit == math.inf else f"must lie in [0, {limit:g})"
        raise ValueError(f"{what}: {name} {bounds}, got {value}")
    return number


def _steps(what: str, name: str, value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{what}: {name} must be a positive integer, got {value!r}")
    return value


def _half_cosine(start: float, end: float, x: Any, xp: Any) -> Any:
    """From `start` at 0 to `end` at 1."""
    return end + (start - end) * 0.5 * (1.0 + xp.cos(math.pi * x))


class _Numbers:
    """The few functions that schedules need, of Python numbers."""

    cos = staticmethod(math.cos)

    @staticmethod
    def where(condition: bool, x: float, y: float) -> float:
        return x if condition else y


def _time(count: Any) -> tuple[Any, Any]:
    """A count as a real number, and what computes with it."""
    if isinstance(count, int | float):
        return _Numbers, float(count)
    xp = namespace_of("schedule", count)
    return xp, xp.astype(count, xp.__array_namespace_info__().default_dtypes()["real floating"])
