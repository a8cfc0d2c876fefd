"""NumPy's functions that move elements about, put arrays together and take them apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from portagrad.errors import NoCounterpartError
from portagrad.protocols.counterpart import Array, Arrays, counterpart


def c_order(what: str, order: str) -> None:
    """Refuse an order of elements that the standard does not have."""
    if order == "F":
        raise NoCounterpartError(
            f"{what}: order='F' has no counterpart on tensors; transpose before and after"
        )


@counterpart()
def shape(xp: Any, a: Array) -> tuple[int, ...]:
    return tuple(a.shape)


@counterpart()
def ndim(xp: Any, a: Array) -> int:
    return a.ndim  # type: ignore[no-any-return]


@counterpart()
def size(xp: Any, a: Array, axis: Any = None) -> int:
    axes = range(a.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return math.prod(a.shape[i] for i in axes)


@counterpart()
def copy(xp: Any, a: Array) -> Any:
    return xp.asarray(a, copy=True)


@counterpart()
def reshape(xp: Any, a: Array, shape: Any, order: str = "C", copy: bool | None = None) -> Any:
    c_order("np.reshape", order)
    return xp.reshape(a, (shape,) if isinstance(shape, int) else tuple(shape), copy=copy)


@counterpart()
def ravel(xp: Any, a: Array, order: str = "C") -> Any:
    c_order("np.ravel", order)
    return xp.reshape(a, (-1,))


@counterpart("transpose")
def transpose(xp: Any, a: Array, axes: Sequence[int] | None = None) -> Any:
    return xp.permute_dims(a, tuple(range(a.ndim)[::-1] if axes is None else axes))


@counterpart()
def swapaxes(xp: Any, a: Array, axis1: int, axis2: int) -> Any:
    order = list(range(a.ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return xp.permute_dims(a, tuple(order))


@counterpart()
def rollaxis(xp: Any, a: Array, axis: int, start: int = 0) -> Any:
    axis, start = axis % a.ndim, start + a.ndim if start < 0 else start
    return xp.moveaxis(a, axis, start - 1 if axis < start else start)


@counterpart()
def squeeze(xp: Any, a: Array, axis: Any = None) -> Any:
    ones = tuple(i for i, n in enumerate(a.shape) if n == 1)
    return xp.squeeze(a, axis=ones if axis is None else axis)


@counterpart()
def broadcast_to(xp: Any, array: Array, shape: Any) -> Any:
    return xp.broadcast_to(array, (shape,) if isinstance(shape, int) else tuple(shape))


@counterpart()
def broadcast_arrays(xp: Any, *args: Arrays) -> tuple[Any, ...]:
    return xp.broadcast_arrays(*args)  # type: ignore[no-any-return]


@counterpart()
def meshgrid(xp: Any, *xi: Arrays, sparse: bool = False, indexing: str = "xy") -> tuple[Any, ...]:
    if not sparse:
        return tuple(xp.meshgrid(*xi, indexing=indexing))
    grid = ix_(xp, *xi)
    return tuple(swapaxes(xp, a, 0, 1) for a in grid) if indexing == "xy" and len(xi) > 1 else grid


@counterpart()
def ix_(xp: Any, *args: Arrays) -> tuple[Any, ...]:
    shapes = [[-1 if i == k else 1 for i in range(len(args))] for k in range(len(args))]
    return tuple(xp.reshape(a, tuple(s)) for a, s in zip(args, shapes, strict=True))


def widened(*arys: Any, to: Any) -> Any:
    made = tuple(map(to, arys))
    return made[0] if len(made) == 1 else made


@counterpart()
def atleast_1d(xp: Any, *arys: Arrays) -> Any:
    return widened(*arys, to=lambda a: a if a.ndim else a[None])


@counterpart()
def atleast_2d(xp: Any, *arys: Arrays) -> Any:
    return widened(*arys, to=lambda a: a if a.ndim > 1 else a[None, ...] if a.ndim else a[None, None])


def solid(a: Any) -> Any:
    """An array as one of three axes, as `np.atleast_3d` counts them."""
    a = a if a.ndim else a[None]
    return a[None, :, None] if a.ndim == 1 else a[..., None] if a.ndim == 2 else a


@counterpart()
def atleast_3d(xp: Any, *arys: Arrays) -> Any:
    return widened(*arys, to=solid)


# Turned


@counterpart()
def fliplr(xp: Any, m: Array) -> Any:
    return xp.flip(m, axis=1)


@counterpart()
def flipud(xp: Any, m: Array) -> Any:
    return xp.flip(m, axis=0)


@counterpart()
def rot90(xp: Any, m: Array, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    if k % 4 == 2:
        return xp.flip(m, axis=tuple(axes))
    if k % 4 == 0:
        return m
    turned = m if k % 4 == 3 else xp.flip(m, axis=axes[1])
    turned = swapaxes(xp, turned, *axes)
    return xp.flip(turned, axis=axes[1]) if k % 4 == 3 else turned


@counterpart("lib.stride_tricks.sliding_window_view")
def sliding_window_view(
    xp: Any, x: Array, window_shape: Any, axis: Any = None, *, writeable: bool = False
) -> Any:
    """Windows as new axes at the end: copies, as all tensors behave."""
    widths = (window_shape,) if isinstance(window_shape, int) else tuple(window_shape)
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    for width, axis in zip(widths, [i % x.ndim for i in axes], strict=True):
        count = x.shape[axis] - width + 1
        if not 0 < count <= x.shape[axis] + 1:
            raise ValueError(f"np sliding_window_view: a window of {width} on an axis of {x.shape[axis]}")
        device = xp.device_of(x)
        places = xp.arange(count, device=device)[:, None] + xp.arange(width, device=device)
        x = xp.take(x, xp.reshape(places, (-1,)), axis=axis)
        x = xp.reshape(x, (*x.shape[:axis], count, width, *x.shape[axis + 1 :]))
        x = xp.moveaxis(x, axis + 1, -1)
    return x
