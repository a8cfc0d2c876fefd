"""The learning-rate range test: how the loss answers to a rate that grows step by step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from portagrad import optim
from portagrad.train.feed import copied, on_host
from portagrad.train.reports import draw_sweep
from portagrad.train.run_folder import json_line
from portagrad.transforms.gradient import value_and_grad

# A loss so many times the smallest ends the sweep: it only grows from there.
_DIVERGED = 4.0


@dataclass(frozen=True, eq=False)
class RangeTest:
    """What a sweep has found.

    Attributes
    ----------
    rates : array, shape (steps,)
    losses : array, shape (steps,)
        Of each step's batch, before the step.
    smoothed : array, shape (steps,)
        Their exponential mean, without the bias of its start.
    suggestion : float or None
        The rate at which the smoothed loss falls steepest over the logarithm of the rate, from the step on at
        which the mean spans as many batches as it ever does; None where it falls nowhere.
    """

    rates: np.ndarray[Any, Any]
    losses: np.ndarray[Any, Any]
    smoothed: np.ndarray[Any, Any]
    suggestion: float | None

    def json(self) -> str:
        """The sweep as JSON."""
        return json_line(
            {
                "suggestion": self.suggestion,
                "rates": self.rates.tolist(),
                "losses": self.losses.tolist(),
                "smoothed": self.smoothed.tolist(),
            }
        )

    def draw(self, path: str | Path) -> None:
        """Write a figure of the sweep with the suggestion marked.

        Parameters
        ----------
        path : str or Path
            PNG, or SVG where its name ends in ``.svg``.
        """
        draw_sweep(Path(path), self.rates, self.losses, self.smoothed, self.suggestion)


def find_lr(
    loss: Callable[..., Any],
    params: Any,
    batches: Iterable[tuple[Any, ...]],
    *,
    optimizer: Callable[[Any], optim.Optimizer] = optim.adamw,
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 100,
    smoothing: float = 0.9,
) -> RangeTest:
    """Train a copy at rates that grow from `low` to `high` by a constant factor, and watch the loss.

    Smith (2017), "Cyclical learning rates for training neural networks", section 3.3; exponential,
    with the loss smoothed. It ends early where the loss is no longer finite or four times the
    smallest. The parameters themselves stay as they are.

    Parameters
    ----------
    loss : callable
        ``loss(params, *batch)``, a scalar.
    params : pytree
    batches : iterable of tuples of arrays
        Begins anew where it ends, if it can.
    optimizer : callable
        Makes an optimizer of a schedule.
    low, high : float
    steps : int
    smoothing : float
        The share of the past in the smoothed loss.

    Raises
    ------
    ValueError
        If the range or the number of steps is no sweep, or there is no batch.

    Examples
    --------
    >>> def loss(w, x):
    ...     return pg.mean((x * w - x) ** 2)
    >>> found = find_lr(loss, np.zeros(3), [(np.ones((4, 3)),)], optimizer=pg.optim.sgd, steps=50)
    >>> 0.01 < found.suggestion < 3
    True
    """
    if not 0 < low < high or steps < 3 or not 0 <= smoothing < 1:
        raise ValueError(
            f"find_lr: expected 0 < low < high, three or more steps and 0 <= smoothing < 1; "
            f"got low={low:g}, high={high:g}, steps={steps}, smoothing={smoothing:g}"
        )
    factor = (high / low) ** (1 / (steps - 1))
    swept = optimizer(lambda step: low * factor**step)
    model = copied(params)
    state, gradient = swept.init(model), value_and_grad(loss)
    losses: list[float] = []
    for batch in itertools.islice(_endless(batches), steps):
        with np.errstate(all="ignore"):  # divergence is what the sweep looks for
            y, grads = gradient(model, *batch)
        now = float(on_host(y))
        if not math.isfinite(now) or (losses and now > _DIVERGED * min(losses)):
            break
        losses.append(now)
        with np.errstate(all="ignore"):
            updates, state = swept.update(grads, state, model)
            model = optim.apply_updates(model, updates, donate=True)
    if not losses:
        raise ValueError("find_lr: the loss of the first batch is not finite, or there is no batch")
    rates = low * factor ** np.arange(len(losses))
    smoothed = _smoothed(np.asarray(losses), smoothing)
    return RangeTest(rates, np.asarray(losses), smoothed, _steepest(rates, smoothed, smoothing))


def _endless(batches: Iterable[tuple[Any, ...]]) -> Iterable[tuple[Any, ...]]:
    while True:
        some = False
        for batch in batches:
            some = True
            yield batch
        if not some:
            return


def _smoothed(losses: np.ndarray[Any, Any], share: float) -> np.ndarray[Any, Any]:
    mean, out = 0.0, np.empty(len(losses))
    for i, loss in enumerate(losses):
        mean = share * mean + (1 - share) * loss
        out[i] = mean / (1 - share ** (i + 1))
    return out


def _steepest(rates: np.ndarray[Any, Any], losses: np.ndarray[Any, Any], smoothing: float) -> float | None:
    if len(losses) < 3:
        return None
    slopes = np.gradient(losses, np.log(rates))
    # Before, the mean is of few batches, and what falls is their noise.
    first = min(round(1 / (1 - smoothing)), len(losses) // 3)
    best = first + int(slopes[first:].argmin())
    falls = slopes[best] < -1e-9 * np.abs(losses).max()  # more than the smoothing's rounding
    return float(rates[best]) if falls else None
