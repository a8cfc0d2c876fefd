"""NumPy's functions that make arrays: like a tensor, or between tensors."""

from __future__ import annotations

from typing import Any

from portagrad.protocols.counterpart import Array, Operand, counterpart
from portagrad.protocols.elements import inexact
from portagrad.tensor import Tensor


def shaped(shape: Any) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


@counterpart()
def zeros_like(xp: Any, a: Array, dtype: Any = None, shape: Any = None, *, device: Any = None) -> Any:
    dtype = a.dtype if dtype is None else dtype
    return xp.zeros(a.shape if shape is None else shaped(shape), dtype=dtype, device=device)


@counterpart()
def ones_like(xp: Any, a: Array, dtype: Any = None, shape: Any = None, *, device: Any = None) -> Any:
    dtype = a.dtype if dtype is None else dtype
    return xp.ones(a.shape if shape is None else shaped(shape), dtype=dtype, device=device)


@counterpart()
def empty_like(
    xp: Any,
    prototype: Array,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    dtype = prototype.dtype if dtype is None else dtype
    return xp.empty(prototype.shape if shape is None else shaped(shape), dtype=dtype, device=device)


@counterpart()
def full_like(
    xp: Any, a: Array, fill_value: Operand, dtype: Any = None, shape: Any = None, *, device: Any
) -> Any:
    """Differentiable in the value."""
    dtype = a.dtype if dtype is None else dtype
    shape = tuple(a.shape) if shape is None else shaped(shape)
    if isinstance(fill_value, int | float | complex):
        return xp.full(shape, fill_value, dtype=dtype, device=device)
    return xp.broadcast_to(xp.astype(fill_value, dtype), shape)


# By ``like=``: the tensor tells where


@counterpart()
def array(
    xp: Any,
    object: Any,
    dtype: Any = None,
    copy: bool | None = True,
    order: str = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    device: Any = None,
) -> Any:
    y = xp.asarray(
        object, dtype=dtype, device=device, copy=copy if not isinstance(object, list | tuple) else None
    )
    return y[(*[None] * (ndmin - y.ndim), ...)] if y.ndim < ndmin else y


@counterpart("asarray", "asanyarray", "ascontiguousarray")
def asarray(
    xp: Any, a: Any, dtype: Any = None, order: str = "K", copy: bool | None = None, *, device: Any
) -> Any:
    return xp.asarray(a, dtype=dtype, device=device, copy=copy)


@counterpart()
def zeros(xp: Any, shape: Any, dtype: Any = None, order: str = "C", *, device: Any = None) -> Any:
    return xp.zeros(shaped(shape), dtype=dtype, device=device)


@counterpart()
def ones(xp: Any, shape: Any, dtype: Any = None, order: str = "C", *, device: Any = None) -> Any:
    return xp.ones(shaped(shape), dtype=dtype, device=device)


@counterpart()
def empty(xp: Any, shape: Any, dtype: Any = None, order: str = "C", *, device: Any = None) -> Any:
    return xp.empty(shaped(shape), dtype=dtype, device=device)


@counterpart()
def full(
    xp: Any, shape: Any, fill_value: Any, dtype: Any = None, order: str = "C", *, device: Any = None
) -> Any:
    value = xp.asarray(fill_value, dtype=dtype, device=device)
    return full_like(xp, value, value, shape=shaped(shape), device=device)


@counterpart()
def arange(
    xp: Any, start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, *, device: Any = None
) -> Any:
    return xp.arange(start, stop, step, dtype=dtype, device=device)


@counterpart()
def eye(xp: Any, N: int, M: int | None = None, k: int = 0, dtype: Any = None, *, device: Any = None) -> Any:
    return xp.eye(N, M, k=k, dtype=dtype, device=device)


@counterpart()
def identity(xp: Any, n: int, dtype: Any = None, *, device: Any = None) -> Any:
    return xp.eye(n, dtype=dtype, device=device)


# Between tensors


@counterpart()
def linspace(
    xp: Any,
    start: Array,
    stop: Array,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    start, stop = xp.broadcast_arrays(inexact(xp, start), inexact(xp, stop))
    parts = max(num - 1 if endpoint else num, 1)
    weights = (
        xp.astype(
            xp.arange(num, device=device),
            xp.real(start).dtype if xp.isdtype(start.dtype, "complex floating") else start.dtype,
        )
        / parts
    )
    weights = xp.reshape(weights, (num, *[1] * start.ndim))
    y = xp.moveaxis(start * (1 - weights) + stop * weights, 0, axis)
    y = y if dtype is None else xp.astype(y, dtype)
    return (y, (stop - start) / parts) if retstep else y


@counterpart()
def logspace(
    xp: Any,
    start: Array,
    stop: Array,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    exponents = linspace(xp, start, stop, num, endpoint, axis=axis, device=xp.device_of(start))
    y = base**exponents
    return y if dtype is None else xp.astype(y, dtype)


@counterpart()
def geomspace(
    xp: Any,
    start: Array,
    stop: Array,
    num: int = 50,
    endpoint: bool = True,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """Of positive numbers, or of negative ones."""
    sign = xp.sign(start)
    ends = [xp.log(sign * x) for x in (start, stop)]
    exponents = linspace(xp, ends[0], ends[1], num, endpoint, axis=axis, device=xp.device_of(start))
    y = (xp.expand_dims(sign, axis=axis) if sign.ndim else sign) * xp.exp(exponents)
    return y if dtype is None else xp.astype(y, dtype)


@counterpart()
def result_type(xp: Any, *arrays_and_dtypes: Any) -> Any:
    from portagrad.protocols.counterpart import native_dtype

    return xp.result_type(
        *[
            a if isinstance(a, Tensor | int | float | complex) else native_dtype(a, xp, "np.result_type")
            for a in arrays_and_dtypes
        ]
    )
