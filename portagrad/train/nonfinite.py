"""Finding the op that made the first NaN or infinity of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from portagrad.backend import BY_TYPE, KIND
from portagrad.errors import NonFiniteError
from portagrad.namespace import function
from portagrad.transforms.check import check_finite
from portagrad.transforms.tree import flatten

_all, _isfinite = map(function, ("all", "isfinite"))


def first_nonfinite(f: Callable[..., Any], args: tuple[Any, ...]) -> str | None:
    """Which op of ``f(*args)``, derivatives inside it included, is the first to make a NaN or an infinity.

    Parameters
    ----------
    f : callable
    args : tuple of pytrees of arrays

    Returns
    -------
    str or None
        One line: the op and its arguments. None where every result is finite.

    Examples
    --------
    >>> import portagrad as pg
    >>> first_nonfinite(lambda x: pg.log(x) - 1, (np.asarray([1.0, 0.0]),))
    'log made 1 of 2 values NaN or infinite; x: numpy float64 (2,) on cpu, values from 0 to 1'
    """
    try:
        with np.errstate(all="ignore"):  # NumPy would warn of what is about to be reported
            check_finite(f)(*args)
    except NonFiniteError as error:
        # The op, its arguments, and last the line of the caller's code, which here is the loop's own.
        op, *arguments, place = str(error).splitlines()
        text = "; ".join([op.replace(": ", " ", 1), *(line.strip() for line in arguments)])
        return f"{text}; in the backward pass" if "in the backward pass" in place else text
    return None


def first_bad_step(
    step: Callable[..., Any],
    carried: tuple[Any, ...],
    batches: Iterable[tuple[Any, ...]],
    part: Callable[..., Any] | None = None,
) -> tuple[int, str | None]:
    """Repeat steps from before the fault, one by one, until one makes a NaN or an infinity.

    Parameters
    ----------
    step : callable
        ``step(*carried, *batch)`` returns the new ``carried`` first, then its other results.
    carried : tuple of pytrees
        From before the first of the steps, all finite.
    batches : iterable of tuples of arrays
    part : callable, optional
        What is looked at instead of the step, if that is more than this process computes.

    Returns
    -------
    (int, str or None)
        How many steps were well, and what `first_nonfinite` says of the next; None where all were well.
    """
    done = 0
    for done, batch in enumerate(batches):
        results = step(*carried, *batch)
        if not is_finite(results):
            return done, first_nonfinite(part or step, (*carried, *batch))
        carried = results[: len(carried)]
    return done + 1, None


def is_finite(tree: Any) -> bool:
    """Whether no array of a pytree holds a NaN or an infinity."""
    for x in flatten(tree)[0]:
        if BY_TYPE[type(x)] is not None and KIND[x.dtype] and not bool(_all(_isfinite(x))):
            return False
    return True
