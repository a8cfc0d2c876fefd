"""NumPy's functions of single elements that the standard lacks, or has with other arguments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from portagrad.protocols.counterpart import Array, Arrays, Operand, as_tensor, counterpart
from portagrad.tensor import kind


def default(xp: Any, sort: str) -> Any:
    """The library's own data type of a sort: ``"integral"``, ``"real floating"``."""
    return xp.__array_namespace_info__().default_dtypes()[sort]


def truth(xp: Any, x: Any) -> Any:
    """Whether elements are true in Python's sense."""
    return x if xp.isdtype(x.dtype, "bool") else x != 0


def counted(xp: Any, x: Any) -> Any:
    """Booleans as integers, which can be added up."""
    return xp.astype(x, default(xp, "integral")) if xp.isdtype(x.dtype, "bool") else x


def inexact(xp: Any, x: Any) -> Any:
    """Integers and booleans as floating-point numbers."""
    return x if kind(x) else xp.astype(x, default(xp, "real floating"))


# Universal functions; `where`, `dtype` and `out` are seen to for all of them together


@counterpart()
def cbrt(xp: Any, x: Array) -> Any:
    return xp.copysign(xp.abs(x) ** (1 / 3), x)


@counterpart()
def exp2(xp: Any, x: Array) -> Any:
    return 2.0**x


@counterpart("deg2rad", "radians")
def radians(xp: Any, x: Array) -> Any:
    return x * (math.pi / 180)


@counterpart("rad2deg", "degrees")
def degrees(xp: Any, x: Array) -> Any:
    return x * (180 / math.pi)


@counterpart()
def fabs(xp: Any, x: Array) -> Any:
    return xp.abs(inexact(xp, x))


@counterpart()
def rint(xp: Any, x: Array) -> Any:
    return xp.round(x)


@counterpart()
def float_power(xp: Any, x1: Array, x2: Array) -> Any:
    wide = xp.complex128 if max(kind(x1), kind(x2)) > 1 else xp.float64
    return xp.astype(x1, wide) ** xp.astype(x2, wide)


@counterpart()
def logaddexp2(xp: Any, x1: Array, x2: Array) -> Any:
    return xp.logaddexp(x1 * math.log(2), x2 * math.log(2)) / math.log(2)


@counterpart()
def fmax(xp: Any, x1: Array, x2: Array) -> Any:
    """The greater, or the one that is a number."""
    return xp.maximum(xp.where(xp.isnan(x1), x2, x1), xp.where(xp.isnan(x2), x1, x2))


@counterpart()
def fmin(xp: Any, x1: Array, x2: Array) -> Any:
    """The lesser, or the one that is a number."""
    return xp.minimum(xp.where(xp.isnan(x1), x2, x1), xp.where(xp.isnan(x2), x1, x2))


@counterpart()
def fmod(xp: Any, x1: Array, x2: Array) -> Any:
    """What division leaves over, with the sign of `x1`."""
    rest = xp.remainder(xp.abs(x1), xp.abs(x2))
    return xp.where(x1 < 0, -rest, rest)


@counterpart("divmod")
def divmod_(xp: Any, x1: Array, x2: Array) -> tuple[Any, Any]:
    return xp.floor_divide(x1, x2), xp.remainder(x1, x2)


@counterpart()
def modf(xp: Any, x: Array) -> tuple[Any, Any]:
    whole = xp.trunc(x)
    return x - whole, whole


@counterpart()
def heaviside(xp: Any, x1: Array, x2: Array) -> Any:
    return xp.where(x1 == 0, x2, xp.where(x1 < 0, 0.0, xp.where(x1 > 0, 1.0, x1)))


@counterpart()
def ldexp(xp: Any, x1: Array, x2: Array) -> Any:
    return x1 * 2.0 ** inexact(xp, x2)


# Parts, signs and rounding


@counterpart()
def real(xp: Any, val: Array) -> Any:
    return xp.real(val) if kind(val) > 1 else val


@counterpart()
def imag(xp: Any, val: Array) -> Any:
    return xp.imag(val) if kind(val) > 1 else xp.zeros_like(val)


@counterpart()
def angle(xp: Any, z: Array, deg: bool = False) -> Any:
    y = xp.atan2(imag(xp, z), real(xp, inexact(xp, z)))
    return degrees(xp, y) if deg else y


@counterpart("round", "around")
def round_(xp: Any, a: Array, decimals: int = 0) -> Any:
    if decimals == 0 or not kind(a):
        return xp.round(a) if decimals >= 0 else xp.round(a / 10**-decimals) * 10**-decimals
    return xp.round(a * 10.0**decimals) / 10.0**decimals


@counterpart()
def fix(xp: Any, x: Array) -> Any:
    return xp.trunc(x)


@counterpart()
def clip(
    xp: Any,
    a: Array,
    a_min: Operand = None,
    a_max: Operand = None,
    *,
    min: Operand = None,
    max: Operand = None,
    dtype: Any = None,
) -> Any:
    a = a if dtype is None else xp.astype(a, dtype)
    return xp.clip(a, a_min if min is None else min, a_max if max is None else max)


@counterpart()
def nan_to_num(xp: Any, x: Array, nan: Operand = 0.0, posinf: Operand = None, neginf: Operand = None) -> Any:
    if not kind(x):
        return x
    limits = xp.finfo(x.dtype)
    greatest = float(limits.max) if posinf is None else posinf
    least = float(limits.min) if neginf is None else neginf

    def finite(x: Any) -> Any:
        x = xp.where(xp.isnan(x), nan, x)
        return xp.where(xp.isinf(x), xp.where(x > 0, greatest, xp.where(x < 0, least, x)), x)

    return finite(xp.real(x)) + 1j * finite(xp.imag(x)) if kind(x) > 1 else finite(x)


@counterpart()
def sinc(xp: Any, x: Array) -> Any:
    """sin(pi x) / (pi x); near 0 by its series, which has derivatives there."""
    x = inexact(xp, x) * math.pi
    small = xp.abs(x) < 1e-2
    away, near = xp.where(small, 1.0, x), xp.where(small, x * x, 0.0)
    series = 1 - near / 6 * (1 - near / 20 * (1 - near / 42 * (1 - near / 72)))
    return xp.where(small, series, xp.sin(away) / away)


# Choices


@counterpart()
def where(xp: Any, condition: Array, x: Operand = None, y: Operand = None) -> Any:
    if x is None and y is None:
        return xp.nonzero(condition)
    if isinstance(x, int | float | complex) and isinstance(y, int | float | complex):
        x = xp.asarray(x + 0 * y, device=xp.device_of(condition))  # one of the two tells the data type
    return xp.where(truth(xp, condition), x, y)


@counterpart()
def select(xp: Any, condlist: Arrays, choicelist: Arrays, default: Operand = 0) -> Any:
    """The choice whose condition is the first that holds."""
    y = default
    for condition, choice in zip(condlist[::-1], choicelist[::-1], strict=True):
        y = xp.where(condition, choice, y)
    return y


@counterpart()
def piecewise(xp: Any, x: Array, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    """Each function on the elements for which its condition holds, the last one that does."""
    single = not isinstance(condlist, list | tuple) or isinstance(condlist[0], bool)
    conditions = [
        as_tensor(c, x, "np.piecewise") & xp.ones_like(x, dtype=xp.bool)
        for c in ([condlist] if single else condlist)
    ]
    if len(funclist) == len(conditions) + 1:
        nowhere = ~conditions[0]
        for condition in conditions[1:]:
            nowhere = nowhere & ~condition
        conditions = [nowhere, *conditions]
        funclist = [funclist[-1], *funclist[:-1]]
    y = xp.zeros_like(x)
    for condition, f in zip(conditions, funclist, strict=True):
        y[condition] = f(x[condition], *args, **kw) if callable(f) else f
    return y


# Questions


@counterpart()
def isclose(
    xp: Any, a: Array, b: Array, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Any:
    near = (xp.abs(a - b) <= atol + rtol * xp.abs(b)) & xp.isfinite(b)
    same = (a == b) | ((a != a) & (b != b)) if equal_nan else a == b
    return near | same


@counterpart()
def allclose(
    xp: Any, a: Array, b: Array, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    return bool(xp.all(isclose(xp, a, b, rtol, atol, equal_nan)))


@counterpart()
def array_equal(xp: Any, a1: Array, a2: Array, equal_nan: bool = False) -> bool:
    if a1.shape != a2.shape:
        return False
    return bool(xp.all((a1 == a2) | ((a1 != a1) & (a2 != a2)) if equal_nan else a1 == a2))


@counterpart()
def array_equiv(xp: Any, a1: Array, a2: Array) -> bool:
    return bool(xp.all(a1 == a2))


@counterpart()
def iscomplexobj(xp: Any, x: Array) -> bool:
    return kind(x) > 1


@counterpart()
def isrealobj(xp: Any, x: Array) -> bool:
    return kind(x) < 2


@counterpart()
def iscomplex(xp: Any, x: Array) -> Any:
    return imag(xp, x) != 0


@counterpart()
def isreal(xp: Any, x: Array) -> Any:
    return imag(xp, x) == 0


@counterpart()
def isposinf(xp: Any, x: Array) -> Any:
    return xp.isinf(x) & (x > 0)


@counterpart()
def isneginf(xp: Any, x: Array) -> Any:
    return xp.isinf(x) & (x < 0)


@counterpart()
def real_if_close(xp: Any, a: Array, tol: float = 100) -> Any:
    if kind(a) < 2:
        return a
    bound = tol * xp.finfo(a.dtype).eps if tol > 1 else tol
    return xp.real(a) if bool(xp.all(xp.abs(xp.imag(a)) < bound)) else a


@counterpart()
def apply_along_axis(
    xp: Any, func1d: Callable[..., Any], axis: int, arr: Array, *args: Any, **kwargs: Any
) -> Any:
    """A function of vectors, on every vector along an axis."""
    moved = xp.moveaxis(arr, axis, -1)
    rows = xp.reshape(moved, (-1, moved.shape[-1]))
    results = [func1d(rows[i, ...], *args, **kwargs) for i in range(rows.shape[0])]
    made = [as_tensor(y, arr, "np.apply_along_axis") for y in results]
    y = xp.reshape(xp.stack(made), (*moved.shape[:-1], *made[0].shape))
    axis %= arr.ndim
    n = made[0].ndim
    return xp.moveaxis(y, tuple(range(y.ndim - n, y.ndim)), tuple(range(axis, axis + n))) if n else y


@counterpart()
def apply_over_axes(xp: Any, func: Callable[..., Any], a: Array, axes: Any) -> Any:
    """A reduction along one axis after the other, which stay with length 1."""
    for axis in (axes,) if isinstance(axes, int) else axes:
        y = func(a, axis)
        a = y if y.ndim == a.ndim else xp.expand_dims(y, axis=axis)
    return a
