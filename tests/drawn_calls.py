"""Calls of every function of the array API standard (2025.12), drawn by hypothesis, the good and the bad.

The first choice everywhere is the usual one, so that the first example of a test is a call that says much. A
few draws in ten break the standard's rules on purpose: what the bare library then refuses, so must we.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from standard_calls import Call, Dtype

BOOL = ("bool",)
SIGNED = ("int32", "int8", "int16", "int64")
INTEGER = (*SIGNED, "uint8", "uint16", "uint32", "uint64")
REAL = ("float64", "float32")
COMPLEX = ("complex128", "complex64")
FLOATING = (*REAL, *COMPLEX)
ORDERED = (*REAL, *INTEGER)
NUMERIC = (*FLOATING, *INTEGER)
ANY = (*NUMERIC, *BOOL)

SHAPES = ((2, 3), (3,), (), (0,), (2, 0), (1,), (4, 1), (2, 1, 3), (3, 2, 2))
PAIRS = (
    *(((2, 3), (3,)), ((2, 3), (2, 3)), ((), (2,)), ((2, 1), (1, 3)), ((0, 3), (3,)), ((), ()), ((3,), (1,))),
    *(((2, 2, 3), (2, 1)), ((2, 3), (4,))),  # the last do not broadcast
)
MATRICES = ((3, 3), (2, 2), (1, 1), (2, 3, 3), (0, 0), (2, 0, 2, 2))
OBLONG = ((3, 2), (2, 3), (3, 3), (1, 4), (2, 3, 2), (2, 2, 3), (0, 2))


class Draw:
    """What a drawn call is made of."""

    def __init__(self, draw: Callable[..., Any]) -> None:
        self.draw = draw

    def of(self, *options: Any) -> Any:
        """One of these."""
        return options[self.draw(st.integers(0, len(options) - 1))]

    def rarely(self) -> bool:
        return self.draw(st.integers(0, 11)) == 11

    def shape(self) -> Any:
        return self.of(*SHAPES)

    def array(self, dtypes: Any = ANY, shape: Any = None, low: float = -3.0, high: float = 3.0) -> Any:
        """An array of one of the dtypes, rarely of any other."""
        dtype = self.of(*(ANY if self.rarely() else dtypes))
        shape = self.shape() if shape is None else shape
        return self.numbers(dtype, shape, low, high)

    def numbers(self, dtype: str, shape: Any, low: float = -3.0, high: float = 3.0) -> Any:
        seed = self.draw(st.integers(0, 999))
        rng = np.random.default_rng(seed)
        if dtype == "bool":
            return np.asarray(rng.random(shape) < 0.5)
        if dtype.startswith("u"):
            return np.asarray(rng.integers(0, max(int(high), 1) + 1, shape), dtype=dtype)
        if dtype.startswith("int"):
            return np.asarray(rng.integers(int(low), int(high) + 1, shape), dtype=dtype)
        x = np.asarray(rng.uniform(low, high, shape))
        if seed % 5 == 4:  # equal elements, whole numbers, zeros
            x = np.asarray(np.clip(np.round(x), low, high))
        if dtype.startswith("complex"):
            x = x + 1j * np.asarray(rng.uniform(low, high, shape))
        return np.asarray(x, dtype=dtype)

    def scalar(self, dtype: str) -> Any:
        """A Python scalar that may stand beside an array of this dtype."""
        if dtype == "bool":
            return self.of(True, False)
        if dtype.startswith("u"):
            return self.of(2, 0)
        if dtype.startswith("int"):
            return self.of(2, -1, 0)
        if dtype.startswith("float"):
            return self.of(1.5, -2.0, 3, 0.0)
        return self.of(1.5, 2j, 1 - 1j, 3)

    def pair(self, dtypes: Any = ANY, **limits: Any) -> tuple[Any, ...]:
        """Two arrays that broadcast, or one and a Python scalar; at times of two dtypes of one kind."""
        shape1, shape2 = self.of(*PAIRS)
        x1 = self.array(dtypes, shape1, **limits)
        form = self.of("arrays", "arrays", "scalar last", "scalar first", "mixed")
        if form == "mixed":
            kind = [d for d in ANY if d[:3] == x1.dtype.name[:3]]
            return x1, self.numbers(self.of(*kind), shape2, **limits)
        if form == "arrays":
            return x1, self.numbers(x1.dtype.name, shape2, **limits)
        pair = (x1, self.scalar(x1.dtype.name))
        return pair if form == "scalar last" else pair[::-1]

    def axis(self, ndim: int, *others: Any) -> Any:
        """An axis, rarely one that is not there; or one of `others`."""
        if others and self.of(True, False):
            return self.of(*others)
        if self.rarely() or not ndim:
            return self.of(ndim, -ndim - 1)
        return self.draw(st.integers(-ndim, ndim - 1))

    def axes(self, ndim: int) -> Any:
        """None, an axis, or several."""
        several = [(), (0,), (0, -1), (-1, 0), (1,), (0, 0)] if ndim > 1 else [(), (0,), (1,)]
        return self.axis(ndim, None, *several)

    def some(self, **options: Any) -> dict[str, Any]:
        """Some of the keywords; an option is a value to choose from several, or a function that draws one."""
        return {
            name: values() if callable(values) else self.of(*values)
            for name, values in options.items()
            if self.draw(st.booleans())
        }

    def dtype(self, *names: str) -> Any:
        name = self.of(*(names or (*NUMERIC, "bool")))
        return None if name is None else Dtype(name)

    def call(self, *args: Any, **kwargs: Any) -> Call:
        return Call(args, kwargs)


CALLS: dict[str, Callable[[Draw], Call]] = {}
"""By a function's qualified name, what draws a call of it."""


def calls(name: str) -> st.SearchStrategy[Call]:
    """Calls of a function."""
    return st.composite(lambda draw: CALLS[name](Draw(draw)))()


def _drawn(names: str) -> Callable[[Callable[[Draw], Call]], None]:
    def register(call: Callable[[Draw], Call]) -> None:
        for name in names.split():
            CALLS[name] = call

    return register


def _unary(names: str, dtypes: Any, low: float = -3.0, high: float = 3.0) -> None:
    _drawn(names)(lambda d: d.call(d.array(dtypes, low=low, high=high)))


def _binary(names: str, dtypes: Any, low: float = -3.0, high: float = 3.0) -> None:
    _drawn(names)(lambda d: d.call(*d.pair(dtypes, low=low, high=high)))


# Elementwise
_unary("abs negative positive sign square", NUMERIC)
_unary("acos asin atanh", FLOATING, -0.9, 0.9)
_unary("acosh", FLOATING, 1.0, 3.0)
_unary("asinh atan cos cosh exp expm1 sin sinh tan tanh reciprocal", FLOATING)
_unary("log log2 log10 log1p sqrt", FLOATING, 0.0)
_unary("ceil floor trunc round", NUMERIC)
_unary("conj imag", COMPLEX)
_unary("real", (*COMPLEX, *REAL))
_unary("isfinite isinf isnan", NUMERIC)
_unary("signbit", REAL)
_unary("logical_not", BOOL)
_unary("bitwise_invert", (*INTEGER, "bool"))
_binary("add subtract multiply equal not_equal", NUMERIC)
_binary("divide", FLOATING)
_binary("pow", NUMERIC, 0.0, 3.0)
_binary("maximum minimum less less_equal greater greater_equal", ORDERED)
_binary("floor_divide remainder", ORDERED, 1.0)
_binary("atan2 copysign hypot logaddexp nextafter", REAL)
_binary("bitwise_and bitwise_or bitwise_xor", (*INTEGER, "bool"))
_binary("bitwise_left_shift bitwise_right_shift", INTEGER, 0.0, 3.0)
_binary("logical_and logical_or logical_xor", BOOL)


@_drawn("clip")
def _(d: Draw) -> Call:
    x = d.array(ORDERED)
    low, high = (
        d.of(None, d.scalar(x.dtype.name), d.numbers(x.dtype.name, d.of((), x.shape))) for _ in range(2)
    )
    return d.of(d.call(x, low, high), d.call(x, min=low), d.call(x, max=high), d.call(x))


# Statistical, utility, searching
@_drawn("sum prod")
def _(d: Draw) -> Call:
    x = d.array(NUMERIC)
    return d.call(
        x, **d.some(axis=lambda: d.axes(x.ndim), keepdims=(False, True), dtype=lambda: d.dtype(*NUMERIC))
    )


@_drawn("mean")
def _(d: Draw) -> Call:
    x = d.array(FLOATING)
    return d.call(x, **d.some(axis=lambda: d.axes(x.ndim), keepdims=(False, True)))


@_drawn("max min")
def _(d: Draw) -> Call:
    x = d.array(ORDERED)
    return d.call(x, **d.some(axis=lambda: d.axes(x.ndim), keepdims=(False, True)))


@_drawn("all any count_nonzero")
def _(d: Draw) -> Call:
    x = d.array(ANY)
    return d.call(x, **d.some(axis=lambda: d.axes(x.ndim), keepdims=(False, True)))


@_drawn("std var")
def _(d: Draw) -> Call:
    x = d.array(REAL)
    options = d.some(axis=lambda: d.axes(x.ndim), keepdims=(False, True), correction=(1, 0.5, 0, 0.0))
    return d.call(x, **options)


@_drawn("cumulative_sum cumulative_prod")
def _(d: Draw) -> Call:
    x = d.array(NUMERIC)
    axis = {} if x.ndim == 1 and d.of(True, False) else {"axis": d.axis(x.ndim)}
    return d.call(x, **axis, **d.some(include_initial=(False, True), dtype=lambda: d.dtype(*NUMERIC)))


@_drawn("argmax argmin")
def _(d: Draw) -> Call:
    x = d.array(ORDERED)
    return d.call(x, **d.some(axis=lambda: d.axis(x.ndim, None), keepdims=(False, True)))


@_drawn("diff")
def _(d: Draw) -> Call:
    x = d.array(NUMERIC)
    axis = d.axis(x.ndim)
    end = tuple(2 if i == axis % max(x.ndim, 1) else n for i, n in enumerate(x.shape))
    return d.call(
        x,
        axis=axis,
        **d.some(
            n=(1, 2, 0),
            prepend=lambda: d.numbers(x.dtype.name, end),
            append=lambda: d.numbers(x.dtype.name, end),
        ),
    )


_unary("nonzero", ANY)
_unary("unique_all unique_counts unique_inverse unique_values", ANY, -2.0, 2.0)


@_drawn("searchsorted")
def _(d: Draw) -> Call:
    x1 = d.array(REAL, d.of((3,), (5,), (1,), (0,)))
    x2 = d.numbers(x1.dtype.name, d.shape())
    if d.of(True, False):
        return d.call(np.sort(x1), x2, **d.some(side=("right", "left", "middle")))
    return d.call(x1, x2, sorter=np.argsort(x1), **d.some(side=("right", "left")))


@_drawn("where")
def _(d: Draw) -> Call:
    shape = d.of((2, 3), (3,), (), (0, 3))
    return d.call(d.array(BOOL, shape), *d.pair(ANY))


@_drawn("isin")
def _(d: Draw) -> Call:
    x1 = d.array(INTEGER)
    x2 = d.of(d.numbers(x1.dtype.name, (3,)), d.numbers(x1.dtype.name, (2, 2)), 1)
    return d.call(x1, x2, **d.some(invert=(True, False)))


@_drawn("sort argsort")
def _(d: Draw) -> Call:
    x = d.array(ORDERED)
    return d.call(x, **d.some(axis=lambda: d.axis(x.ndim), descending=(True, False)))


@_drawn("take")
def _(d: Draw) -> Call:
    x = d.array(ANY, d.of((2, 3), (3,), (2, 1, 3), (4, 1)))
    axis = d.axis(x.ndim)
    n = x.shape[axis] if -x.ndim <= axis < x.ndim else 1
    indices = d.numbers(d.of("int64", "int32"), d.of((2,), (0,), (4,)), 0, n + d.rarely() - 1)
    leave_out = x.ndim == 1 and d.of(True, False)
    return d.call(x, indices) if leave_out else d.call(x, indices, axis=axis)


@_drawn("take_along_axis")
def _(d: Draw) -> Call:
    x = d.array(ANY, d.of((2, 3), (3,), (3, 2, 2)))
    axis = d.axis(x.ndim)
    shape = tuple(2 if i == axis % x.ndim else n for i, n in enumerate(x.shape))
    indices = d.numbers(d.of("int64", "int32"), shape, 0, x.shape[axis % x.ndim] - 1)
    return d.call(x, indices, **({} if axis == -1 else {"axis": axis}))


# Manipulation
def _several(d: Draw, shapes: tuple[Any, ...], dtypes: Any = ANY) -> list[Any]:
    first = d.array(dtypes, shapes[0])
    kind = [first.dtype.name, *(name for name in ANY if name[:3] == first.dtype.name[:3])]
    return [first, *(d.numbers(d.of(*kind[:2]), shape) for shape in shapes[1:])]


@_drawn("broadcast_arrays")
def _(d: Draw) -> Call:
    return d.call(*_several(d, d.of(*PAIRS, ((2, 1), (3,), ()), ((2,),))))


@_drawn("broadcast_shapes")
def _(d: Draw) -> Call:
    return d.call(*d.of(*PAIRS, ((2, 1), (3,), ()), ((2,),)))


@_drawn("broadcast_to")
def _(d: Draw) -> Call:
    shape1, shape2 = d.of(*PAIRS)
    x = d.array(ANY, shape2)
    return d.call(x, d.of(shape1, (2, *shape2), shape2, (7, 5)))


@_drawn("concat")
def _(d: Draw) -> Call:
    shapes = d.of(
        ((2, 3), (1, 3)), ((2, 3), (2, 3)), ((0, 3), (2, 3)), ((3,), (2,), (0,)), ((2, 3),), ((), ())
    )
    arrays = _several(d, shapes)
    return d.call(d.of(tuple, list)(arrays), **d.some(axis=lambda: d.axis(len(shapes[0]), None)))


@_drawn("stack")
def _(d: Draw) -> Call:
    shapes = d.of(((2, 3), (2, 3)), ((3,), (3,), (3,)), ((), ()), ((0, 2),), ((2,), (3,)))
    return d.call(d.of(tuple, list)(_several(d, shapes)), **d.some(axis=lambda: d.axis(len(shapes[0]) + 1)))


@_drawn("expand_dims")
def _(d: Draw) -> Call:
    x = d.array()
    return d.call(x, axis=d.axis(x.ndim + 1, (0, -1)))


@_drawn("flip")
def _(d: Draw) -> Call:
    x = d.array()
    return d.call(x, **d.some(axis=lambda: d.axes(x.ndim)))


@_drawn("moveaxis")
def _(d: Draw) -> Call:
    x = d.array(ANY, d.of((2, 3), (2, 1, 3), (2, 0, 3), (3,)))
    if x.ndim > 1 and d.of(True, False):
        return d.call(x, (0, 1), d.of((1, 0), (-1, 0), (0, 1)))
    return d.call(x, d.axis(x.ndim), d.axis(x.ndim))


@_drawn("permute_dims")
def _(d: Draw) -> Call:
    x = d.array()
    axes = d.draw(st.permutations(range(x.ndim)))
    return d.call(x, tuple(a - x.ndim for a in axes) if d.of(True, False) else tuple(axes))


_drawn("matrix_transpose linalg.matrix_transpose")(lambda d: d.call(d.array()))


@_drawn("repeat")
def _(d: Draw) -> Call:
    x = d.array(ANY, d.of((2, 3), (3,), (2, 0), ()))
    axis = d.axis(x.ndim, None)
    if axis is not None and -x.ndim <= axis < x.ndim and d.of(True, False):
        return d.call(x, d.numbers("int64", (x.shape[axis],), 0, 2), axis=axis)
    return d.call(x, d.of(2, 0, 1), **({} if axis is None else {"axis": axis}))


@_drawn("reshape")
def _(d: Draw) -> Call:
    shape = d.shape()
    size = int(np.prod(shape))
    new = d.of((size,), (-1,), (1, *shape), shape[::-1], (size + 1,))
    return d.call(d.array(ANY, shape), new, **d.some(copy=(True, None)))


@_drawn("roll")
def _(d: Draw) -> Call:
    x = d.array()
    if d.of(True, False):
        return d.call(x, d.of(1, -4, 0), **d.some(axis=lambda: d.axis(x.ndim, None)))
    return d.call(x, (1, -2), axis=d.of((0, -1), (0, 1), (0, 0)))


@_drawn("squeeze")
def _(d: Draw) -> Call:
    return d.call(d.array(ANY, d.of((1, 3), (2, 1, 1), (1,), (1, 0), (2,))), d.of(0, -1, (0, -1), (0,), ()))


@_drawn("tile")
def _(d: Draw) -> Call:
    return d.call(d.array(), d.of((2,), (2, 1), (0, 2), (), (1, 2, 2)))


@_drawn("unstack")
def _(d: Draw) -> Call:
    x = d.array()
    return d.call(x, **d.some(axis=lambda: d.axis(x.ndim)))


@_drawn("meshgrid")
def _(d: Draw) -> Call:
    arrays = _several(d, d.of(((2,), (3,)), ((2,), (3,), (1,)), ((2,),), ((0,), (2,))), NUMERIC)
    return d.call(*arrays, **d.some(indexing=("ij", "xy", "yx")))


@_drawn("tril triu")
def _(d: Draw) -> Call:
    return d.call(
        d.array(ANY, d.of((2, 3), (3, 3), (2, 2, 3), (0, 2), (1, 1))), **d.some(k=(0, 1, -1, 5, -5))
    )


# Creation and data types
@_drawn("arange")
def _(d: Draw) -> Call:
    args = d.of((5,), (1, 7), (1, 7, 2), (0, 1, 0.25), (5, 0, -2), (0,), (2.5,), (3, 1))
    return d.call(*args, **d.some(dtype=lambda: d.dtype("float32", "float64", "int32", None)))


@_drawn("asarray")
def _(d: Draw) -> Call:
    obj = d.of(d.array(), 2.5, True, [[1, 2], [3, 4]], (1.5, 2.5), 1j, [], [[1], [2, 3]])
    return d.call(
        obj, **d.some(dtype=lambda: d.dtype("float32", "float64", "complex128", None), copy=(True, None))
    )


@_drawn("empty zeros ones")
def _(d: Draw) -> Call:
    return d.call(d.of((2, 3), 3, (), (0, 2), -1), **d.some(dtype=d.dtype))


@_drawn("empty_like zeros_like ones_like")
def _(d: Draw) -> Call:
    return d.call(d.array(), **d.some(dtype=d.dtype))


@_drawn("full")
def _(d: Draw) -> Call:
    dtype = d.of(*ANY)
    return d.call(d.of((2, 3), 3, (), (0, 2)), d.scalar(dtype), **d.some(dtype=lambda: Dtype(dtype)))


@_drawn("full_like")
def _(d: Draw) -> Call:
    x = d.array()
    return d.call(x, d.scalar(x.dtype.name))


@_drawn("eye")
def _(d: Draw) -> Call:
    return d.call(*d.of((3,), (2, 4), (3, None), (0, 2)), **d.some(k=(0, 1, -1, 9), dtype=d.dtype))


@_drawn("linspace")
def _(d: Draw) -> Call:
    ends = d.of((0.0, 1.0), (0, 4), (2.0, -1.0), (1.0, 1.0))
    options = d.some(endpoint=(False, True), dtype=lambda: d.dtype("float32", "float64", None))
    return d.call(*ends, d.of(5, 1, 0, 2), **options)


_drawn("from_dlpack")(lambda d: d.call(d.array(NUMERIC)))
_drawn("astype")(lambda d: d.call(d.array(), d.dtype(*ANY), **d.some(copy=(False, True))))
_drawn("can_cast")(lambda d: d.call(d.of(d.dtype(), d.array()), d.dtype()))
_drawn("finfo")(lambda d: d.call(d.of(d.dtype(*FLOATING), d.array(FLOATING), d.dtype("int32"))))
_drawn("iinfo")(lambda d: d.call(d.of(d.dtype(*INTEGER), d.array(INTEGER), d.dtype("float32"))))
_drawn("result_type")(
    lambda d: d.call(
        d.array(), d.of(d.dtype(), d.array()), *d.of((), (d.dtype(*NUMERIC),), (2,), (1.5,), (True,))
    )
)
_KINDS = (
    "bool",
    "signed integer",
    "unsigned integer",
    "integral",
    "real floating",
    "complex floating",
    "numeric",
)
_drawn("isdtype")(lambda d: d.call(d.dtype(), d.of(*_KINDS, ("bool", "integral"), d.dtype(), "nonsense")))


# Linear algebra
@_drawn("matmul linalg.matmul")
def _(d: Draw) -> Call:
    shapes = d.of(
        *(((2, 3), (3, 4)), ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((2, 1, 2, 3), (4, 3, 2))),
        *(((0, 3), (3, 2)), ((2, 0), (0, 2)), ((2, 3), (4, 2)), ((2, 3), ())),
    )
    return d.call(*_several(d, shapes, NUMERIC))


@_drawn("tensordot linalg.tensordot")
def _(d: Draw) -> Call:
    shapes, axes = d.of(
        *(
            (((2, 3), (2, 3)), 2),
            (((2, 3), (3, 2)), 1),
            (((2,), (3,)), 0),
            (((2, 3, 4), (4, 2)), ((0, 2), (1, 0))),
        ),
        *((((2, 3), (3, 2)), ((-1,), (-2,))), (((0, 2), (2, 3)), 1), (((2, 3), (2, 3)), 1)),
    )
    return d.call(*_several(d, shapes, NUMERIC), **({} if axes == 2 else {"axes": axes}))


@_drawn("vecdot linalg.vecdot")
def _(d: Draw) -> Call:
    shapes, axis = d.of(
        *((((2, 3), (2, 3)), -1), (((2, 3), (3,)), -1), (((2, 3), (2, 3)), -2), (((4, 2, 3), (2, 3)), -2)),
        *((((3,), (3,)), -1), (((0,), (0,)), -1), (((2, 3), (2, 4)), -1)),
    )
    return d.call(*_several(d, shapes, NUMERIC), **({} if axis == -1 else {"axis": axis}))


@_drawn("linalg.cross")
def _(d: Draw) -> Call:
    shapes, axis = d.of(
        *((((3,), (3,)), -1), (((2, 3), (2, 3)), -1), (((3, 2), (3, 2)), 0), (((3, 2), (3, 2)), -2)),
        *((((2, 3), (3,)), -1), (((2, 2), (2, 2)), -1)),
    )
    return d.call(*_several(d, shapes, NUMERIC), **({} if axis == -1 else {"axis": axis}))


@_drawn("linalg.outer")
def _(d: Draw) -> Call:
    return d.call(*_several(d, d.of(((2,), (3,)), ((0,), (2,)), ((1,), (1,))), NUMERIC))


_drawn("linalg.det linalg.inv linalg.slogdet linalg.eig linalg.eigvals")(
    lambda d: d.call(d.array(FLOATING, d.of(*MATRICES, (2, 3))))
)
_drawn("linalg.svdvals")(lambda d: d.call(d.array(FLOATING, d.of(*OBLONG))))


def _hermitian(d: Draw) -> Any:
    x = d.array(FLOATING, d.of(*MATRICES))
    return np.asarray((x + np.conj(x.mT)) / 2, dtype=x.dtype) if x.dtype.kind in "fc" else x


_drawn("linalg.eigh linalg.eigvalsh")(lambda d: d.call(_hermitian(d)))


@_drawn("linalg.cholesky")
def _(d: Draw) -> Call:
    x = d.array(FLOATING, d.of(*MATRICES))
    if x.dtype.kind in "fc" and not d.rarely():  # else it may not be positive definite
        x = np.asarray(x @ np.conj(x.mT) + np.eye(x.shape[-1]), dtype=x.dtype)
    return d.call(x, **d.some(upper=(True, False)))


@_drawn("linalg.qr")
def _(d: Draw) -> Call:
    return d.call(d.array(FLOATING, d.of(*OBLONG)), **d.some(mode=("reduced", "complete")))


@_drawn("linalg.svd")
def _(d: Draw) -> Call:
    return d.call(d.array(FLOATING, d.of(*OBLONG)), **d.some(full_matrices=(False, True)))


@_drawn("linalg.diagonal")
def _(d: Draw) -> Call:
    return d.call(d.array(ANY, d.of((2, 3), (3, 3), (2, 2, 3), (0, 2))), **d.some(offset=(0, 1, -1, 5)))


@_drawn("linalg.trace")
def _(d: Draw) -> Call:
    x = d.array(NUMERIC, d.of((2, 3), (3, 3), (2, 2, 3), (0, 2)))
    return d.call(x, **d.some(offset=(0, 1, -1, 5), dtype=lambda: d.dtype("float64", "complex128")))


@_drawn("linalg.pinv linalg.matrix_rank")
def _(d: Draw) -> Call:
    x = d.array(FLOATING, d.of((3, 2), (2, 3), (3, 3), (2, 3, 2)))
    name = x.dtype.name.replace("complex128", "float64").replace("complex64", "float32")
    return d.call(x, **d.some(rtol=lambda: d.of(1e-3, 0.5, np.full(x.shape[:-2], 1e-2, name))))


@_drawn("linalg.matrix_norm")
def _(d: Draw) -> Call:
    x = d.array(FLOATING, d.of((3, 2), (2, 3), (2, 3, 2), (1, 1), (2,)))
    return d.call(
        x, **d.some(ord=("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf, 3, "none"), keepdims=(True, False))
    )


@_drawn("linalg.matrix_power")
def _(d: Draw) -> Call:
    return d.call(d.array(FLOATING, d.of((3, 3), (2, 2), (2, 3, 3), (1, 1), (2, 3))), d.of(2, 0, 1, 5, -1))


@_drawn("linalg.solve")
def _(d: Draw) -> Call:
    shapes = d.of(
        *(((3, 3), (3,)), ((3, 3), (3, 2)), ((2, 3, 3), (2, 3, 2)), ((2, 3, 3), (3, 2)), ((2, 3, 3), (3,))),
        *(((1, 1), (1,)), ((3, 3), (2, 3, 1)), ((3, 3), (4,))),
    )
    first = d.array(FLOATING, shapes[0])
    return d.call(first, d.numbers(first.dtype.name, shapes[1]))


@_drawn("linalg.vector_norm")
def _(d: Draw) -> Call:
    x = d.array(FLOATING, d.of((2, 3), (3,), (), (2, 1, 3)))
    options = d.some(ord=(2, 1, np.inf, -np.inf, 0, 3, 2.5, -1), keepdims=(True, False))
    return d.call(x, **d.some(axis=lambda: d.axes(x.ndim)), **options)


# Fourier transforms
_NORMS = ("ortho", "forward", "backward", "sideways")


def _one_axis(names: str, dtypes: Any) -> None:
    @_drawn(names)
    def _(d: Draw) -> Call:
        x = d.array(dtypes, d.of((2, 4), (3,), (1, 5), (2, 2, 3)))
        return d.call(x, **d.some(n=(None, 4, 3, 7), axis=lambda: d.axis(x.ndim), norm=_NORMS))


def _several_axes(names: str, dtypes: Any) -> None:
    @_drawn(names)
    def _(d: Draw) -> Call:
        x = d.array(dtypes, d.of((2, 4), (3, 3), (2, 2, 3)))
        sizes = d.of(
            {}, {"axes": (0,)}, {"axes": (1, 0)}, {"s": (3, 4), "axes": (0, 1)}, {"s": (2,), "axes": (-1,)}
        )
        return d.call(x, **sizes, **d.some(norm=_NORMS))


_one_axis("fft.fft fft.ifft fft.irfft fft.hfft", COMPLEX)
_one_axis("fft.rfft fft.ihfft", REAL)
_several_axes("fft.fftn fft.ifftn fft.irfftn", COMPLEX)
_several_axes("fft.rfftn", REAL)
_drawn("fft.fftfreq fft.rfftfreq")(
    lambda d: d.call(d.of(5, 6, 1), **d.some(d=(0.5, 2.0), dtype=lambda: d.dtype("float32", "float64")))
)


@_drawn("fft.fftshift fft.ifftshift")
def _(d: Draw) -> Call:
    x = d.array(FLOATING, d.of((2, 3), (4,), (2, 1, 3)))
    return d.call(x, **d.some(axes=lambda: d.axis(x.ndim, None, (0,), (0, -1))))
