"""The table of ops that ONNX has a counterpart of, and what the lowerings share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from portagrad.onnx.sizes import Size
from portagrad.onnx.writer import INT64, Lowering, Value, Writer

_F = TypeVar("_F", bound=Lowering)
Axis = int | Sequence[int] | None

LOWERINGS: dict[str, Lowering] = {}
"""By an op's name how it is written in ONNX."""


def lowers(*names: str) -> Callable[[_F], _F]:
    """Register a lowering of ops of these names."""

    def register(f: _F) -> _F:
        LOWERINGS.update(dict.fromkeys(names, f))
        return f

    return register


def alike(w: Writer, *xs: Value) -> list[Value]:
    """Arguments in the dtype that they promote to."""
    common = np.result_type(*(x.dtype for x in xs))
    return [w.cast(x, common) for x in xs]


def axes_of(x: Value, axis: Axis) -> list[int]:
    """Axes counted from the front; None means all."""
    ndim = len(x.dims)
    axes = range(ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    return [a % ndim for a in axes] if ndim else []


def length_of(x: Value, axis: int, what: str) -> int:
    """The length of an axis, for what must know it."""
    n = x.dims[axis]
    if isinstance(n, Size) or n < 0:
        raise ValueError(f"{what} along an axis whose length is dynamic")
    return n


def flattened(w: Writer, x: Value) -> Value:
    """All elements on one axis, its length -1 where it is dynamic."""
    total = math.prod(n for n in x.dims if isinstance(n, int))
    dynamic = any(isinstance(n, Size) for n in x.dims)
    return Value(w.emit("Reshape", x, w.constant([-1], INT64)).name, x.dtype, (-1 if dynamic else total,))
