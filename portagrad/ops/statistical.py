"""Sums, products, extremes and moments along axes."""

import math
from typing import Any

from portagrad.op import case, composite, linear, primitive

REDUCTIONS = (
    case((2, 3)),
    case((2, 3), axis=0),
    case((2, 3, 2), axis=(0, -1), keepdims=True),
    case((4,), axis=-1),
    case(()),
    case((0, 3), axis=0),
)
ORDERED = (case((2, 3)), case((2, 3), axis=1), case((4,), axis=-1, keepdims=True), case(()))
SCANS = (
    case((4,)),
    case((2, 3), axis=1),
    case((3, 2), axis=0, include_initial=True),
    case((0,)),
    case((2, 0), axis=-1, include_initial=True),
)


def reduced(ndim: int, axis: Any) -> tuple[int, ...]:
    """The axes that a reduction with this `axis` argument removes."""
    if axis is None:
        return tuple(range(ndim))
    axes = axis if isinstance(axis, tuple) else (axis,)
    return tuple(a % ndim for a in axes) if ndim else ()


def keep(g: Any, like: Any, axis: Any, keepdims: bool, xp: Any) -> Any:
    """A reduction's result with the reduced axes kept, of length 1."""
    if keepdims:
        return g
    axes = reduced(len(like.shape), axis)
    return xp.reshape(g, tuple(1 if i in axes else n for i, n in enumerate(like.shape)))


def spread(g: Any, like: Any, axis: Any, keepdims: bool, xp: Any) -> Any:
    """The transpose of a sum: every summand receives the cotangent of its sum."""
    return xp.broadcast_to(keep(g, like, axis, keepdims, xp), tuple(like.shape))


def length(like: Any, axis: Any) -> int:
    """How many elements each result of a reduction is made of."""
    return math.prod(like.shape[a] for a in reduced(len(like.shape), axis))


def extremal(x: Any, y: Any, axis: Any, keepdims: bool, xp: Any) -> Any:
    """Weights of the elements that equal the extreme: ties share evenly, and a NaN takes all."""
    y = keep(y, x, axis, keepdims, xp)
    hits = xp.astype((x == y) | ((x != x) & (y != y)), x.dtype)
    return hits / xp.sum(hits, axis=axis, keepdims=True)


def extreme_vjp(g: Any, x: Any, y: Any, axis: Any, keepdims: bool, xp: Any) -> Any:
    return keep(g, x, axis, keepdims, xp) * extremal(x, y, axis, keepdims, xp)


def extreme_jvp(t: Any, x: Any, y: Any, axis: Any, keepdims: bool, xp: Any) -> Any:
    return xp.sum(t * extremal(x, y, axis, keepdims, xp), axis=axis, keepdims=keepdims)


def recurrence(a: Any, b: Any, xp: Any) -> Any:
    """r with r[i] = b[i] + a[i] r[i-1] along the last axis, in log2(n) steps of whole arrays.

    Hillis and Steele (1986), "Data parallel algorithms": the maps r -> b + a r compose associatively.
    """
    n, k = a.shape[-1], 1
    while k < n:
        none = xp.zeros_like(a[..., :k])
        b = b + a * xp.concat([none, b[..., :-k]], axis=-1)
        a = a * xp.concat([none, a[..., :-k]], axis=-1)
        k *= 2
    return b


def shifted(x: Any, xp: Any) -> Any:
    """x moved one place up along the last axis, a one in front."""
    if x.shape[-1] == 0:
        return x
    return xp.concat([xp.ones_like(x[..., :1]), x[..., :-1]], axis=-1)


def others(x: Any, axis: Any, xp: Any) -> Any:
    """The product of all other elements along the axes: exact, whatever is zero."""
    ndim = len(x.shape)
    axes = reduced(ndim, axis)
    order = tuple(i for i in range(ndim) if i not in axes) + axes
    moved = xp.permute_dims(x, order)
    rows = xp.reshape(moved, (*moved.shape[: ndim - len(axes)], length(x, axis)))
    before = xp.cumulative_prod(shifted(rows, xp), axis=-1)
    after = xp.flip(xp.cumulative_prod(shifted(xp.flip(rows, axis=-1), xp), axis=-1), axis=-1)
    inverse = tuple(order.index(i) for i in range(ndim))
    return xp.permute_dims(xp.reshape(before * after, tuple(moved.shape)), inverse)


def prod_vjp(g: Any, x: Any, axis: Any, keepdims: bool, xp: Any) -> Any:
    return keep(g, x, axis, keepdims, xp) * xp.conj(others(x, axis, xp))


def prod_jvp(t: Any, x: Any, axis: Any, keepdims: bool, xp: Any) -> Any:
    return xp.sum(t * others(x, axis, xp), axis=axis, keepdims=keepdims)


def last(x: Any, axis: Any, xp: Any) -> Any:
    """The scanned axis moved to the end."""
    return xp.moveaxis(x, -1 if axis is None else axis, -1)


def back(x: Any, axis: Any, xp: Any) -> Any:
    return xp.moveaxis(x, -1, -1 if axis is None else axis)


def cumulative_sum_transpose(g: Any, axis: Any, include_initial: bool, xp: Any) -> Any:
    """Element i is a summand of every result from i on."""
    g = last(g, axis, xp)
    g = g[..., 1:] if include_initial else g
    return back(xp.flip(xp.cumulative_sum(xp.flip(g, axis=-1), axis=-1), axis=-1), axis, xp)


def cumulative_prod_vjp(g: Any, x: Any, axis: Any, include_initial: bool, xp: Any) -> Any:
    """From y[i] = x[i] y[i-1]: r[i] = g[i] + x[i+1] r[i+1], and the cotangent of x[i] is r[i] y[i-1]."""
    g, x = last(g, axis, xp), xp.conj(last(x, axis, xp))
    g = g[..., 1:] if include_initial else g
    r = xp.flip(recurrence(shifted(xp.flip(x, axis=-1), xp), xp.flip(g, axis=-1), xp), axis=-1)
    return back(r * xp.cumulative_prod(shifted(x, xp), axis=-1), axis, xp)


def cumulative_prod_jvp(t: Any, x: Any, axis: Any, include_initial: bool, xp: Any) -> Any:
    """From y[i] = x[i] y[i-1]: dy[i] = x[i] dy[i-1] + t[i] y[i-1]."""
    t, x = last(t, axis, xp), last(x, axis, xp)
    dy = recurrence(x, t * xp.cumulative_prod(shifted(x, xp), axis=-1), xp)
    if include_initial:
        dy = xp.concat([xp.zeros_like(xp.sum(t, axis=-1, keepdims=True)), dy], axis=-1)
    return back(dy, axis, xp)


def var_forward(x: Any, *, axis: Any, correction: float, keepdims: bool, xp: Any) -> Any:
    """Mean square deviation from the mean, over ``n - correction``; of complex numbers of its modulus."""
    deviation = x - xp.mean(x, axis=axis, keepdims=True)
    if xp.isdtype(x.dtype, "complex floating"):
        squares = xp.real(deviation) ** 2 + xp.imag(deviation) ** 2
    else:
        squares = deviation * deviation
    return xp.sum(squares, axis=axis, keepdims=keepdims) / (length(x, axis) - correction)


sum = linear(
    "sum",
    "(x, /, *, axis=None, dtype=None, keepdims=False)",
    lambda g, x_like, axis, keepdims, xp: spread(g, x_like, axis, keepdims, xp),
    cases=REDUCTIONS,
    batch="reduction",
    doc="Sum over axes.",
)
mean = linear(
    "mean",
    "(x, /, *, axis=None, keepdims=False)",
    lambda g, x_like, axis, keepdims, xp: spread(g / length(x_like, axis), x_like, axis, keepdims, xp),
    cases=REDUCTIONS[:-1],
    batch="reduction",
    doc="Arithmetic mean over axes.",
)
prod = primitive(
    "prod",
    "(x, /, *, axis=None, dtype=None, keepdims=False)",
    (prod_vjp,),
    (prod_jvp,),
    cases=REDUCTIONS,
    batch="reduction",
    doc="Product over axes.\nThe derivative is exact whatever elements are 0.",
)
max = primitive(
    "max",
    "(x, /, *, axis=None, keepdims=False)",
    (extreme_vjp,),
    (extreme_jvp,),
    cases=ORDERED,
    dtypes="floating",
    batch="reduction",
    doc="Greatest element along axes.\nTies share the derivative evenly; a NaN takes it.",
)
min = primitive(
    "min",
    "(x, /, *, axis=None, keepdims=False)",
    (extreme_vjp,),
    (extreme_jvp,),
    cases=ORDERED,
    dtypes="floating",
    batch="reduction",
    doc="Least element along axes.\nTies share the derivative evenly; a NaN takes it.",
)
var = composite(
    "var",
    "(x, /, *, axis=None, correction=0.0, keepdims=False)",
    var_forward,
    cases=(case((2, 3)), case((3, 4), axis=1, correction=1), case((2, 3, 2), axis=(0, 2), keepdims=True)),
    dtypes="floating",
    doc="Variance over axes.",
)
std = composite(
    "std",
    "(x, /, *, axis=None, correction=0.0, keepdims=False)",
    lambda x, *, xp, **params: xp.sqrt(xp.var(x, **params)),
    cases=(case((2, 3)), case((3, 4), axis=1, correction=1), case((2, 3, 2), axis=(0, 2), keepdims=True)),
    dtypes="floating",
    doc="Standard deviation over axes.\nWhere all elements are equal the derivative is NaN.",
)
cumulative_sum = linear(
    "cumulative_sum",
    "(x, /, *, axis=None, dtype=None, include_initial=False)",
    cumulative_sum_transpose,
    cases=SCANS,
    since="2023.12",
    batch="along",
    doc="Running sum along an axis.\naxis: int; the axis, needed unless there is just one",
)
cumulative_prod = primitive(
    "cumulative_prod",
    "(x, /, *, axis=None, dtype=None, include_initial=False)",
    (cumulative_prod_vjp,),
    (cumulative_prod_jvp,),
    cases=SCANS,
    since="2024.12",
    batch="along",
    doc="Running product along an axis.\n"
    "axis: int; the axis, needed unless there is just one\n"
    "The derivative is exact whatever elements are 0.",
)
