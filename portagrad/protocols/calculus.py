"""NumPy's differences, integrals, interpolation, convolution and polynomials."""

from __future__ import annotations

import math
from typing import Any

from portagrad.protocols.counterpart import Array, as_tensor, counterpart
from portagrad.protocols.elements import inexact
from portagrad.protocols.pieces import index_dtype
from portagrad.protocols.products import lstsq


def part(a: Any, axis: int, start: int | None, stop: int | None) -> Any:
    """A stretch of an axis."""
    return a[(*[slice(None)] * (axis % a.ndim), slice(start, stop), ...)]


@counterpart()
def diff(xp: Any, a: Array, n: int = 1, axis: int = -1, prepend: Array = None, append: Array = None) -> Any:
    ends = [
        end if end is None or end.ndim else xp.broadcast_to(end, part(a, axis, 0, 1).shape)
        for end in (prepend, append)
    ]
    return xp.diff(a, axis=axis, n=n, prepend=ends[0], append=ends[1])


@counterpart()
def ediff1d(xp: Any, ary: Array, to_end: Array = None, to_begin: Array = None) -> Any:
    inside = xp.diff(xp.reshape(ary, (-1,)))
    parts = (to_begin, inside, to_end)
    return xp.concat([xp.reshape(p, (-1,)) for p in parts if p is not None], axis=0)


@counterpart()
def trapezoid(xp: Any, y: Array, x: Array = None, dx: Any = 1.0, axis: int = -1) -> Any:
    if x is not None:
        dx = xp.diff(x, axis=-1 if x.ndim == 1 else axis)
        dx = xp.reshape(dx, (-1, *[1] * (y.ndim - 1 - axis % y.ndim))) if x.ndim == 1 else dx
    return xp.sum(dx * (part(y, axis, 1, None) + part(y, axis, None, -1)) / 2.0, axis=axis)


@counterpart()
def gradient(xp: Any, f: Array, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Second-order differences inside, differences of `edge_order` at the ends."""
    axes = [*range(f.ndim)] if axis is None else [axis] if isinstance(axis, int) else [*axis]
    steps = varargs * len(axes) if len(varargs) == 1 else varargs or [1.0] * len(axes)
    if len(steps) != len(axes):
        raise TypeError(f"np.gradient: {len(varargs)} spacings for {len(axes)} axes")
    made = tuple(slope(xp, inexact(xp, f), h, i, edge_order) for i, h in zip(axes, steps, strict=True))
    return made[0] if len(made) == 1 else made


def slope(xp: Any, f: Any, h: Any, axis: int, edge_order: int) -> Any:
    """The derivative along an axis, whose points are `h` apart or at the coordinates `h`."""
    n = f.shape[axis]
    if n < edge_order + 1:
        raise ValueError(f"np.gradient: {n} points along axis {axis} are too few for edge_order={edge_order}")
    if getattr(h, "ndim", 0) == 0 and not isinstance(h, list | tuple):
        steps = h * xp.ones((n - 1,), dtype=f.dtype, device=xp.device_of(f))
    else:
        steps = xp.diff(as_tensor(h, f, "np.gradient"))
    f = xp.moveaxis(f, axis, -1)
    quotients = (f[..., 1:] - f[..., :-1]) / steps
    before, after = steps[:-1], steps[1:]
    inside = (after * quotients[..., :-1] + before * quotients[..., 1:]) / (before + after)
    first, last = quotients[..., :1], quotients[..., -1:]
    if edge_order == 2:
        bent = (quotients[..., 1:] - quotients[..., :-1]) / (before + after)
        first, last = first - bent[..., :1] * steps[:1], last + bent[..., -1:] * steps[-1:]
    return xp.moveaxis(xp.concat([first, inside, last], axis=-1), -1, axis)


@counterpart()
def interp(
    space: Any, /, x: Array, xp: Array, fp: Array, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    """Straight lines between points; differentiable in all three arrays."""
    points, values = inexact(space, xp), inexact(space, fp)
    if period is not None:
        x, points = x % period, points % period
        order = space.argsort(points)
        points, values = space.take(points, order), space.take(values, order)
        points = space.concat([points[-1:] - period, points, points[:1] + period])
        values = space.concat([values[-1:], values, values[:1]])
    last = points.shape[0] - 1
    flat = space.reshape(inexact(space, x), (-1,))
    if last == 0:
        y = values * space.ones_like(flat)
    else:
        above = space.clip(space.searchsorted(points, flat, side="right"), 1, last)
        x0, x1 = space.take(points, above - 1), space.take(points, above)
        y0, y1 = space.take(values, above - 1), space.take(values, above)
        y = y0 + (y1 - y0) * ((flat - x0) / (x1 - x0))
    y = space.where(flat < points[0], values[0] if left is None else left, y)
    y = space.where(flat > points[-1], values[-1] if right is None else right, y)
    return space.reshape(space.where(space.isnan(flat), flat, y), x.shape)


@counterpart()
def unwrap(
    xp: Any, p: Array, discont: float | None = None, axis: int = -1, period: float = 2 * math.pi
) -> Any:
    """Jumps of more than half a period made up for by whole periods, which have no derivative."""
    p = xp.moveaxis(inexact(xp, p), axis, -1)
    jumps = xp.diff(p, axis=-1)
    within = (jumps + period / 2) % period - period / 2
    within = xp.where((within == -period / 2) & (jumps > 0), period / 2, within)
    made_up = xp.where(xp.abs(jumps) < max(discont or 0.0, period / 2), 0.0, within - jumps)
    rest = p[..., 1:] + xp.cumulative_sum(made_up, axis=-1)
    return xp.moveaxis(xp.concat([p[..., :1], rest], axis=-1), -1, axis)


@counterpart()
def convolve(xp: Any, a: Array, v: Array, mode: str = "full") -> Any:
    """Every shift of the longer vector against the shorter, in one matrix product."""
    a, v = (x[None] if x.ndim == 0 else x for x in (a, v))
    a, v = (v, a) if v.shape[0] > a.shape[0] else (a, v)
    n, m = a.shape[0], v.shape[0]
    if not m:
        raise ValueError("np.convolve: an argument is empty")
    none = xp.zeros((m - 1,), dtype=a.dtype, device=xp.device_of(a))
    integers = {"dtype": index_dtype(xp), "device": xp.device_of(a)}
    place = xp.expand_dims(xp.arange(n + m - 1, **integers), axis=1) + xp.arange(m, **integers)
    windows = xp.reshape(xp.take(xp.concat([none, a, none]), xp.reshape(place, (-1,)), axis=0), (-1, m))
    y = xp.matmul(windows, xp.flip(v))
    if mode not in ("full", "same", "valid"):
        raise ValueError(f"np.convolve: mode is {mode!r}; it must be 'full', 'same' or 'valid'")
    start = {"full": 0, "same": (m - 1) // 2, "valid": m - 1}[mode]
    return y[start : start + {"full": n + m - 1, "same": n, "valid": n - m + 1}[mode]]


@counterpart()
def correlate(xp: Any, a: Array, v: Array, mode: str = "valid") -> Any:
    v = xp.flip(xp.conj(v))
    if mode == "same" and v.shape[0] > a.shape[0]:  # whose middle is counted from the other end
        return xp.flip(convolve(xp, xp.flip(a), xp.flip(v), mode))
    return convolve(xp, a, v, mode)


@counterpart()
def bincount(xp: Any, x: Array, weights: Array = None, minlength: int = 0) -> Any:
    n = max(int(xp.max(x)) + 1 if x.shape[0] else 0, minlength)
    weights = xp.ones_like(x) if weights is None else weights
    zeros = xp.zeros((n,), dtype=weights.dtype, device=xp.device_of(weights))
    return xp.index_add(zeros, weights, key=(x.concrete("np.bincount"),))


@counterpart()
def digitize(xp: Any, x: Array, bins: Array, right: bool = False) -> Any:
    side = "left" if right else "right"
    if bool(bins[0] <= bins[-1]):
        return xp.searchsorted(bins, x, side=side)
    return bins.shape[0] - xp.searchsorted(xp.flip(bins), x, side=side)


# Polynomials, the highest power first


@counterpart()
def polyval(xp: Any, p: Array, x: Array) -> Any:
    """By Horner's rule."""
    y = xp.zeros_like(x)
    for i in range(p.shape[0]):
        y = y * x + p[i]
    return y


def aligned(xp: Any, a1: Any, a2: Any) -> tuple[Any, Any]:
    """Coefficients of two polynomials, as many of each."""
    n = max(a1.shape[0], a2.shape[0])
    none = [xp.zeros((n - a.shape[0],), dtype=a.dtype, device=xp.device_of(a)) for a in (a1, a2)]
    return xp.concat([none[0], a1]), xp.concat([none[1], a2])


@counterpart()
def polyadd(xp: Any, a1: Array, a2: Array) -> Any:
    a1, a2 = aligned(xp, a1, a2)
    return a1 + a2


@counterpart()
def polysub(xp: Any, a1: Array, a2: Array) -> Any:
    a1, a2 = aligned(xp, a1, a2)
    return a1 - a2


@counterpart()
def polymul(xp: Any, a1: Array, a2: Array) -> Any:
    return convolve(xp, a1, a2)


@counterpart()
def polyder(xp: Any, p: Array, m: int = 1) -> Any:
    for _ in range(m):
        n = p.shape[0] - 1
        p = p[:-1] * xp.astype(xp.arange(n, 0, -1, device=xp.device_of(p)), p.dtype)
    return p


@counterpart()
def polyint(xp: Any, p: Array, m: int = 1, k: Array = None) -> Any:
    p = inexact(xp, p)
    for i in range(m):
        constant = xp.zeros_like(p[:1]) if k is None else xp.reshape(k, (-1,))[i : i + 1]
        p = xp.concat(
            [p / xp.astype(xp.arange(p.shape[0], 0, -1, device=xp.device_of(p)), p.dtype), constant]
        )
    return p


@counterpart()
def vander(xp: Any, x: Array, N: int | None = None, increasing: bool = False) -> Any:
    """Powers one after the other, so that the derivative of the zeroth is 0 everywhere."""
    n = x.shape[0] if N is None else N
    powers = [xp.ones_like(x)]
    for _ in range(n - 1):
        powers.append(powers[-1] * x)
    powers = powers[:n]
    return xp.stack(powers if increasing else powers[::-1], axis=1)


@counterpart()
def polyfit(xp: Any, x: Array, y: Array, deg: int, rcond: float | None = None, w: Array = None) -> Any:
    """Least squares, the powers scaled to unit length first."""
    matrix = vander(xp, inexact(xp, x), deg + 1)
    if w is not None:
        matrix, y = matrix * xp.expand_dims(w, axis=1), y * (w if y.ndim == 1 else xp.expand_dims(w, axis=1))
    scale = xp.linalg.vector_norm(matrix, axis=0)
    rcond = matrix.shape[0] * xp.finfo(matrix.dtype).eps if rcond is None else rcond
    c = lstsq(xp, matrix / scale, y, rcond)[0]
    return c / (scale if c.ndim == 1 else xp.expand_dims(scale, axis=1))
