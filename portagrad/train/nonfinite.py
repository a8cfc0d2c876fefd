"""Finding the op that made the first NaN or infinity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from portagrad.backend import BY_TYPE, KIND
from portagrad.errors import Error
from portagrad.op import Op
from portagrad.tensor import Tensor, describe, raw
from portagrad.trace import Trace, Traced, kernel_for
from portagrad.transforms.tree import tree_map


class NonFiniteError(Error, ArithmeticError):
    """Training met a NaN or an infinity; the message names the step and the op that made it."""


class _Watch(Trace):
    """Evaluates every op, forward and backward, and remembers the first whose result is not finite."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        super().__init__()
        self.found: str | None = None

    def process(self, op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
        values = tuple([a.value if isinstance(a, Traced) else a for a in args])
        y = kernel_for(op, values).run(*values, **params)
        parts = y if op.several else (y,)
        for part in parts:
            if self.found is None and not is_finite(part):
                self.found = f"{op.name}, whose result is {describe(part)}"
        held = [Tensor(self, part) for part in parts]
        return op.result(*held) if op.several else held[0]


def first_nonfinite(f: Callable[..., Any], args: tuple[Any, ...]) -> str | None:
    """Which op of ``f(*args)``, derivatives inside it included, is the first to make a NaN or an infinity.

    Parameters
    ----------
    f : callable
    args : tuple of pytrees of arrays

    Returns
    -------
    str or None
        The op's name and a description of its result; None where every result is finite.

    Examples
    --------
    >>> import portagrad as pg
    >>> first_nonfinite(lambda x: pg.log(x) - 1, (np.asarray([1.0, 0.0]),))
    'log, whose result is numpy float64 (2,) on cpu'
    """
    watch = _Watch()
    watched = tree_map(lambda x: Tensor(watch, x) if BY_TYPE[type(x)] is not None else x, args)
    with np.errstate(all="ignore"):
        f(*watched)
    watch.close()
    return watch.found


def is_finite(x: Any) -> bool:
    """Whether an array holds neither a NaN nor an infinity; one transfer to the host."""
    x = raw(x)
    backend = BY_TYPE[type(x)]
    if backend is None or not KIND[x.dtype]:
        return True
    return bool(backend.xp.all(backend.xp.isfinite(x)))
