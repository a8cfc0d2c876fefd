"""Universal functions on tensors: called, reduced, accumulated, as outer products, and in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from portagrad.errors import NoCounterpartError
from portagrad.op import Op
from portagrad.protocols.assignment import add_at
from portagrad.protocols.counterpart import (
    COUNTERPARTS,
    as_operand,
    as_tensor,
    assign,
    native_dtype,
    refuse,
)
from portagrad.tensor import UFUNCS, Tensor, kind
from portagrad.trace import apply

HARMLESS = ("casting", "order", "subok")
"""Arguments about memory and about the strictness of casts, which tensors leave to their library."""

REDUCTIONS = {
    np.add: np.sum,
    np.logaddexp: np.logaddexp.reduce,
    np.logical_and: np.all,
    np.logical_or: np.any,
    np.maximum: np.max,
    np.minimum: np.min,
    np.multiply: np.prod,
}
ACCUMULATIONS = {np.add: np.cumsum, np.multiply: np.cumprod}


def array_ufunc(like: Tensor, ufunc: np.ufunc, method: str, inputs: Sequence[Any], kwargs: Any) -> Any:
    """NumPy's protocol for universal functions: what one of them gives where an argument is a tensor."""
    what = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
    kwargs = {name: value for name, value in kwargs.items() if name not in HARMLESS}
    for name in ("signature", "sig", "axes", "extobj"):
        if name in kwargs:
            raise NoCounterpartError(
                f"{what}: the argument {name}= has no counterpart on tensors; leave it out"
            )
    if ufunc not in UFUNCS and ufunc not in COUNTERPARTS:
        raise refuse(what)
    return METHODS[method](like, ufunc, what, inputs, **kwargs)


def call(
    like: Tensor,
    ufunc: np.ufunc,
    what: str,
    inputs: Sequence[Any],
    *,
    out: Any = None,
    where: Any = True,
    dtype: Any = None,
    **params: Any,
) -> Any:
    """Element by element."""
    xp = like.__array_namespace__()
    op = UFUNCS.get(ufunc)
    values = [as_operand(x, like, what) for x in inputs]
    if dtype is not None:
        if op is None or not op.differentiable:
            raise NoCounterpartError(f"{what}: dtype= has no counterpart on tensors; cast with np.astype")
        wanted = native_dtype(dtype, xp, what)
        values = [x if isinstance(x, int | float) else xp.astype(x, wanted) for x in values]
    if where is not True:
        if out is None:
            raise NoCounterpartError(
                f"{what}: where= without out= leaves elements undefined; pass out=np.zeros_like(x)"
            )
        where = as_tensor(where, like, what)
        values = [set_aside(x, where, op, i, xp) for i, x in enumerate(values)]
    y = pointwise(op, ufunc, like)(*values, **params)
    if where is not True:
        (before,) = out if isinstance(out, tuple) else (out,)
        y = xp.where(where, y, as_tensor(before, like, what))
    return y if out is None else assign(out, y, f"{what}, out=")


def pointwise(op: Op | None, ufunc: np.ufunc, like: Tensor) -> Callable[..., Any]:
    """A universal function on tensors and Python numbers."""
    if op is None:
        return lambda *values, **params: COUNTERPARTS[ufunc](like, values, params)
    return lambda *values, **params: apply(op, values, params)


def set_aside(x: Any, where: Tensor, op: Op | None, i: int, xp: Any) -> Any:
    """An argument with a point of the function's domain where it does not count: no NaN comes from there."""
    if not isinstance(x, Tensor):
        return x
    low, high = op.domains.get(op.arrays[i], op.domain) if op else (1.0, 1.0)
    return xp.where(where, x, (low + high) / 2 if kind(x) else 1)


def reduce(like: Tensor, ufunc: np.ufunc, what: str, inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Over axes, the first by default."""
    return folded(
        REDUCTIONS, like, ufunc, what, inputs, kwargs, ("axis", "dtype", "out", "keepdims", "initial")
    )


def accumulate(like: Tensor, ufunc: np.ufunc, what: str, inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Along an axis, the first by default."""
    return folded(ACCUMULATIONS, like, ufunc, what, inputs, kwargs, ("axis", "dtype", "out"))


def folded(
    table: Any,
    like: Tensor,
    ufunc: np.ufunc,
    what: str,
    inputs: Sequence[Any],
    kwargs: Any,
    names: Sequence[str],
) -> Any:
    """By the function that `table` has for the universal function."""
    if ufunc not in table:
        known = ", ".join(f"np.{other.__name__}" for other in table)
        raise NoCounterpartError(f"{what} has no counterpart on tensors; these have one: {known}")
    array, *placed = inputs
    given = {"axis": 0, **dict(zip(names, placed, strict=False)), **kwargs}
    return COUNTERPARTS[table[ufunc]](
        like, (array,), {k: v for k, v in given.items() if v is not None or k == "axis"}
    )


def outer(like: Tensor, ufunc: np.ufunc, what: str, inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Of every element of one array with every element of another."""
    x1, x2 = (as_tensor(x, like, what) for x in inputs)
    spread = x1[(..., *[None] * x2.ndim)]
    return call(like, ufunc, what, (spread, x2), **kwargs)


def at(like: Tensor, ufunc: np.ufunc, what: str, inputs: Sequence[Any]) -> None:
    """In place, at indices that may repeat."""
    x, key, *values = inputs
    if ufunc not in (np.add, np.subtract):
        raise NoCounterpartError(f"{what} has no counterpart on tensors; the nearest is np.add.at")
    (value,) = (as_tensor(v, like, what) for v in values)
    add_at(x, key, value if ufunc is np.add else -value, what)


def reduceat(like: Tensor, ufunc: np.ufunc, what: str, inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Over stretches: not on tensors."""
    raise NoCounterpartError(
        f"{what} has no counterpart on tensors; the nearest is np.{ufunc.__name__}.reduce of slices"
    )


METHODS = {
    "__call__": call,
    "reduce": reduce,
    "accumulate": accumulate,
    "outer": outer,
    "at": at,
    "reduceat": reduceat,
}
