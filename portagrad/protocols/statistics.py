"""NumPy's sums, extremes, averages and order statistics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from portagrad.ops.statistical import length
from portagrad.protocols.counterpart import Array, as_tensor, counterpart
from portagrad.protocols.elements import counted, inexact, truth
from portagrad.tensor import kind


def masked(xp: Any, a: Any, where: Any, fill: Any) -> Any:
    """`a`, and `fill` where it does not count."""
    return a if where is None else xp.where(as_tensor(where, a, "where="), a, fill)


def cast(xp: Any, a: Any, dtype: Any) -> Any:
    """`a` in the data type it is to be computed in: floating, unless one is asked for."""
    return inexact(xp, a) if dtype is None else xp.astype(a, dtype)


@counterpart("sum")
def sum_(xp: Any, a: Array, initial: Any = None, where: Any = None, **rest: Any) -> Any:
    y = xp.sum(counted(xp, masked(xp, a, where, 0)), **rest)
    return y if initial is None else y + initial


@counterpart()
def prod(xp: Any, a: Array, initial: Any = None, where: Any = None, **rest: Any) -> Any:
    y = xp.prod(counted(xp, masked(xp, a, where, 1)), **rest)
    return y if initial is None else y * initial


def extreme(
    xp: Any,
    reduce: Callable[..., Any],
    pair: Callable[..., Any],
    a: Any,
    initial: Any,
    where: Any,
    **rest: Any,
) -> Any:
    """The greatest or the least, of `initial` too; of nothing at all, `initial`."""
    if initial is None:
        if where is not None:
            raise ValueError("np.max, np.min: where= needs initial=, the value for what has no elements")
        return reduce(a, **rest)
    if length(a, rest.get("axis")) == 0:
        return xp.sum(a, **rest) + initial
    return pair(reduce(masked(xp, a, where, initial), **rest), initial)


@counterpart("max", "amax")
def max_(xp: Any, a: Array, initial: Any = None, where: Any = None, **rest: Any) -> Any:
    return extreme(xp, xp.max, xp.maximum, a, initial, where, **rest)


@counterpart("min", "amin")
def min_(xp: Any, a: Array, initial: Any = None, where: Any = None, **rest: Any) -> Any:
    return extreme(xp, xp.min, xp.minimum, a, initial, where, **rest)


@counterpart("all")
def all_(xp: Any, a: Array, where: Any = None, **rest: Any) -> Any:
    return xp.all(masked(xp, truth(xp, a), where, True), **rest)


@counterpart("any")
def any_(xp: Any, a: Array, where: Any = None, **rest: Any) -> Any:
    return xp.any(masked(xp, truth(xp, a), where, False), **rest)


@counterpart("logaddexp.reduce")
def logsumexp(xp: Any, a: Array, axis: Any = 0, where: Any = None, **rest: Any) -> Any:
    return xp.logsumexp(masked(xp, a, where, -math.inf), axis=axis, **rest)


@counterpart()
def ptp(xp: Any, a: Array, **rest: Any) -> Any:
    return xp.max(a, **rest) - xp.min(a, **rest)


def number(xp: Any, a: Any, where: Any, axis: Any, keepdims: bool) -> Any:
    """How many elements count."""
    if where is None:
        return length(a, axis)
    ones = masked(xp, xp.ones_like(xp.real(a) if kind(a) > 1 else a), where, 0)
    return xp.sum(ones, axis=axis, keepdims=keepdims)


@counterpart()
def mean(
    xp: Any, a: Array, axis: Any = None, dtype: Any = None, keepdims: bool = False, where: Any = None
) -> Any:
    a = cast(xp, a, dtype)
    if where is None:
        return xp.mean(a, axis=axis, keepdims=keepdims)
    total = xp.sum(masked(xp, a, where, 0), axis=axis, keepdims=keepdims)
    return total / number(xp, a, where, axis, keepdims)


@counterpart()
def var(
    xp: Any,
    a: Array,
    axis: Any = None,
    dtype: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = None,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    a = masked(xp, cast(xp, a, dtype), where, 0)
    ddof = ddof if correction is None else correction
    if where is None and mean is None and kind(a) < 2:
        return xp.var(a, axis=axis, correction=ddof, keepdims=keepdims)
    if mean is None:
        mean = xp.sum(a, axis=axis, keepdims=True) / number(xp, a, where, axis, True)
    deviation = masked(xp, a - mean, where, 0)
    squares = xp.real(deviation * xp.conj(deviation)) if kind(a) > 1 else deviation * deviation
    return xp.sum(squares, axis=axis, keepdims=keepdims) / (number(xp, a, where, axis, keepdims) - ddof)


@counterpart()
def std(xp: Any, a: Array, **rest: Any) -> Any:
    return xp.sqrt(var(xp, a, **rest))


@counterpart()
def average(
    xp: Any, a: Array, axis: Any = None, weights: Array = None, returned: bool = False, keepdims: bool = False
) -> Any:
    a = inexact(xp, a)
    if weights is None:
        weights = xp.ones_like(a)
    elif weights.shape != a.shape:
        if not isinstance(axis, int) or weights.shape != (a.shape[axis],):
            raise TypeError(
                f"np.average: weights of shape {weights.shape} fit neither {a.shape} nor its axis {axis}"
            )
        weights = xp.reshape(weights, (-1, *[1] * (a.ndim - 1 - axis % a.ndim)))
    weights = xp.broadcast_to(inexact(xp, weights), a.shape)
    total = xp.sum(weights, axis=axis, keepdims=keepdims)
    y = xp.sum(a * weights, axis=axis, keepdims=keepdims) / total
    return (y, total) if returned else y


@counterpart()
def cov(
    xp: Any,
    m: Array,
    y: Array = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    dtype: Any = None,
) -> Any:
    def rows(x: Any) -> Any:
        x = cast(xp, x, dtype)
        return xp.expand_dims(x, axis=0) if x.ndim < 2 else x if rowvar else xp.matrix_transpose(x)

    x = rows(m) if y is None else xp.concat([rows(m), rows(y)], axis=0)
    x = x - xp.mean(x, axis=1, keepdims=True)
    count = x.shape[1] - ((0 if bias else 1) if ddof is None else ddof)
    c = xp.matmul(x, xp.conj(xp.matrix_transpose(x))) / count
    return c[0, 0] if c.shape == (1, 1) else c


@counterpart()
def corrcoef(xp: Any, x: Array, y: Array = None, rowvar: bool = True, dtype: Any = None) -> Any:
    c = cov(xp, x, y, rowvar, dtype=dtype)
    if c.ndim == 0:
        return c / c
    variance = xp.linalg.diagonal(c)
    deviation = xp.sqrt(xp.real(variance) if kind(c) > 1 else variance)
    return c / xp.expand_dims(deviation, axis=1) / xp.expand_dims(deviation, axis=0)


# Running along an axis


def flattened(xp: Any, a: Any, axis: int | None) -> tuple[Any, int]:
    """An array and an axis of it; where none is given, the flattened array's."""
    return (xp.reshape(a, (-1,)), 0) if axis is None else (a, axis)


@counterpart()
def cumsum(xp: Any, a: Array, axis: int | None = None, dtype: Any = None) -> Any:
    a, axis = flattened(xp, counted(xp, a), axis)
    return xp.cumulative_sum(a, axis=axis, dtype=dtype)


@counterpart()
def cumprod(xp: Any, a: Array, axis: int | None = None, dtype: Any = None) -> Any:
    a, axis = flattened(xp, counted(xp, a), axis)
    return xp.cumulative_prod(a, axis=axis, dtype=dtype)


# In order


@counterpart("sort", "partition")
def sort(xp: Any, a: Array, kth: Any = None, axis: int | None = -1, stable: Any = None) -> Any:
    """A sorted array is partitioned too, whatever `kth` is."""
    a, axis = flattened(xp, a, axis)
    return xp.sort(a, axis=axis)


@counterpart("argsort", "argpartition")
def argsort(xp: Any, a: Array, kth: Any = None, axis: int | None = -1, stable: Any = None) -> Any:
    a, axis = flattened(xp, a, axis)
    return xp.argsort(a, axis=axis)


# Where NaN stands for a value that is missing


def present(xp: Any, a: Any, where: Any) -> Any:
    there = ~xp.isnan(a)
    return there if where is None else there & as_tensor(where, a, "where=")


@counterpart()
def nansum(xp: Any, a: Array, **rest: Any) -> Any:
    return sum_(xp, xp.where(xp.isnan(a), 0, a), **rest)


@counterpart()
def nanprod(xp: Any, a: Array, **rest: Any) -> Any:
    return prod(xp, xp.where(xp.isnan(a), 1, a), **rest)


@counterpart()
def nancumsum(xp: Any, a: Array, **rest: Any) -> Any:
    return cumsum(xp, xp.where(xp.isnan(a), 0, a), **rest)


@counterpart()
def nancumprod(xp: Any, a: Array, **rest: Any) -> Any:
    return cumprod(xp, xp.where(xp.isnan(a), 1, a), **rest)


@counterpart()
def nanmean(xp: Any, a: Array, where: Any = None, **rest: Any) -> Any:
    return mean(xp, a, where=present(xp, a, where), **rest)


@counterpart()
def nanvar(xp: Any, a: Array, where: Any = None, **rest: Any) -> Any:
    return var(xp, a, where=present(xp, a, where), **rest)


@counterpart()
def nanstd(xp: Any, a: Array, where: Any = None, **rest: Any) -> Any:
    return xp.sqrt(nanvar(xp, a, where, **rest))


@counterpart()
def nanmax(xp: Any, a: Array, axis: Any = None, keepdims: bool = False) -> Any:
    y = xp.max(xp.where(xp.isnan(a), -math.inf, a), axis=axis, keepdims=keepdims)
    return xp.where(xp.all(xp.isnan(a), axis=axis, keepdims=keepdims), math.nan, y)


@counterpart()
def nanmin(xp: Any, a: Array, axis: Any = None, keepdims: bool = False) -> Any:
    y = xp.min(xp.where(xp.isnan(a), math.inf, a), axis=axis, keepdims=keepdims)
    return xp.where(xp.all(xp.isnan(a), axis=axis, keepdims=keepdims), math.nan, y)


@counterpart()
def nanargmax(xp: Any, a: Array, **rest: Any) -> Any:
    return xp.argmax(xp.where(xp.isnan(a), -math.inf, a), **rest)


@counterpart()
def nanargmin(xp: Any, a: Array, **rest: Any) -> Any:
    return xp.argmin(xp.where(xp.isnan(a), math.inf, a), **rest)
