"""How an op becomes a call of NumPy that writes into memory it is given."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy

from portagrad_numpy import special

_NAMES = (
    *("abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_and"),
    *("bitwise_invert", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor"),
    *("ceil", "conj", "copysign", "cos", "cosh", "divide", "equal", "exp", "expm1", "floor"),
    *("floor_divide", "greater", "greater_equal", "hypot", "isfinite", "isinf", "isnan", "less"),
    *("less_equal", "log", "log10", "log1p", "log2", "logaddexp", "logical_and", "logical_not"),
    *("logical_or", "logical_xor", "maximum", "minimum", "multiply", "negative", "nextafter"),
    *("not_equal", "positive", "pow", "reciprocal", "remainder", "sign", "signbit", "sin", "sinh"),
    *("sqrt", "square", "subtract", "tan", "tanh", "trunc"),
)
UFUNCS: dict[str, Any] = {"round": numpy.rint, **{name: getattr(numpy, name) for name in _NAMES}}
"""Elementwise ops by the ufunc that computes them."""

BLOCKWISE = frozenset({*UFUNCS, *special.kernels, "astype", "gate", "where"})
"""Ops of which a part of the result needs that part of the arguments only."""

KEYWORD = (numpy.maximum, numpy.minimum)
"""Ufuncs that want their memory by name: NumPy means to give a third argument another sense."""

REDUCTIONS: dict[str, Any] = {
    "sum": numpy.add,
    "mean": numpy.add,
    "prod": numpy.multiply,
    "max": numpy.maximum,
    "min": numpy.minimum,
}


def scalar(a: Any, dtype: Any) -> Any:
    """A Python number as the ufunc of an array of `dtype` takes it, already converted."""
    kind = numpy.result_type(dtype, a) if not isinstance(a, bool) else numpy.dtype(bool)
    return numpy.asarray(a, dtype=kind)


Call = tuple[Callable[..., Any], tuple[Any, ...]] | None
"""A function, and its arguments without the memory for the result, which comes last; arguments that are
variables are replaced by their arrays."""


def call(eq: Any) -> Call:
    """The call for an equation with one result; None where there is none that takes memory."""
    name, args, params, out = eq.op.name, eq.args, eq.params, eq.outs[0]
    arrays = [a for a in args if hasattr(a, "dtype")]
    if (name in UFUNCS or name in special.kernels) and not params:
        ufunc = UFUNCS[name] if name in UFUNCS else special.ufunc(name)
        first = next((a.dtype for a in arrays), None)
        given = tuple([a if hasattr(a, "dtype") else scalar(a, first) for a in args])
        dtypes = [a.dtype for a in given]
        try:
            natural = ufunc.resolve_dtypes((*dtypes, None))[-1]
        except TypeError:
            return None
        return (ufunc, given) if natural == out.dtype else None
    if name in REDUCTIONS and arrays[0].dtype == out.dtype and out.dtype.kind in "fc":
        return _reduction(name, arrays[0], params)
    if name == "matmul" and all(a.dtype == out.dtype for a in arrays) and out.dtype.kind in "fc":
        plain = len(arrays[0].shape) == len(arrays[1].shape) == 2
        return (numpy.dot if plain else numpy.matmul), args
    if name == "where" and len(arrays) > 1:
        return _where, args
    if name == "gate" and all(a.dtype == out.dtype for a in arrays):
        return _gate(out), args
    if name == "astype":
        return _copy, args
    if name == "indexed" and len(args) == 2 and args[0].dtype == out.dtype and args[1].dtype.kind == "i":
        rows = _rows(params)
        return rows and (rows, args)
    if name in ("concat", "stack") and params.get("axis") is not None:
        return _joined(getattr(numpy, "concatenate" if name == "concat" else "stack"), params["axis"]), args
    return None


def _reduction(name: str, x: Any, params: Any) -> Call:
    axis, keepdims = params.get("axis"), bool(params.get("keepdims"))
    if params.get("dtype") not in (None, x.dtype):
        return None
    reduce = REDUCTIONS[name].reduce
    if name != "mean":
        return (lambda x, out: reduce(x, axis, None, out, keepdims)), (x,)
    ndim = len(x.shape)
    axes = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    count = scalar(max(1, math.prod(x.shape[a] for a in axes)), x.dtype)
    divide = numpy.true_divide

    def mean(x: Any, out: Any) -> None:
        reduce(x, axis, None, out, keepdims)
        divide(out, count, out)

    return mean, (x,)


def _copy(x: Any, out: Any) -> None:
    numpy.copyto(out, x, casting="unsafe")


def _rows(params: Any) -> Callable[..., Any] | None:
    """Rows read, or added to, at computed indices."""
    key = params["key"]
    alone = key[0] if isinstance(key, tuple) and len(key) == 1 else key
    if not hasattr(alone, "number"):
        return None
    return {"getitem": _take, "scatter": _scatter}.get(params["of"])


def _take(x: Any, indices: Any, out: Any) -> None:
    n = len(x)
    if indices.size and (indices.min() < -n or indices.max() >= n):
        x[indices]  # which raises, and says where
    x.take(indices, 0, out, "wrap")


def _scatter(x: Any, indices: Any, out: Any) -> None:
    out.fill(0)
    numpy.add.at(out, indices, x)


def _where(condition: Any, x1: Any, x2: Any, out: Any) -> None:
    numpy.copyto(out, x2)
    numpy.copyto(out, x1, where=condition)


def _gate(out: Any) -> Callable[..., Any]:
    mask = numpy.empty(out.shape, dtype=bool)
    zero = numpy.zeros((), out.dtype)
    greater, multiply = numpy.greater, numpy.multiply

    def gate(x: Any, on: Any, out: Any) -> None:
        greater(on, zero, mask)
        multiply(x, mask, out)

    return gate


def _joined(join: Any, axis: int) -> Callable[..., Any]:
    def joined(*args: Any) -> None:
        join(args[:-1], axis=axis, out=args[-1])

    return joined
