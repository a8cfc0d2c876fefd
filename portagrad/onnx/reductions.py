"""ONNX's counterparts of sums, extrema, sorting and searching."""

from __future__ import annotations

import math
from typing import Any

from portagrad.onnx.lowering import LOWERINGS, Axis, alike, axes_of, flattened, lowers
from portagrad.onnx.writer import BOOL, INT64, Lowering, Value, Writer


def _reduction(w: Writer, op_type: str, x: Value, axis: Axis, keepdims: bool) -> Value:
    axes = axes_of(x, axis)
    if not axes:
        return w.emit("Identity", x)
    return w.emit(op_type, x, w.constant(axes, INT64), keepdims=int(keepdims))


def _reduced(op_type: str) -> Lowering:
    def lower(
        w: Writer, out: Value, x: Value, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False
    ) -> Value:
        x = Value(w.cast(x, out.dtype).name, out.dtype, x.dims)
        return _reduction(w, op_type, x, axis, keepdims)

    return lower


LOWERINGS |= {name: _reduced(f"Reduce{name.capitalize()}") for name in ("sum", "prod", "mean", "max", "min")}


def _counted(w: Writer, x: Value, axis: Axis, keepdims: bool) -> Value:
    """How many elements are true, or not 0."""
    told = Value(w.cast(w.cast(x, BOOL), INT64).name, INT64, x.dims)
    return _reduction(w, "ReduceSum", told, axis, keepdims)


@lowers("any")
def _any(w: Writer, out: Value, x: Value, *, axis: Axis = None, keepdims: bool = False) -> Value:
    return w.cast(_counted(w, x, axis, keepdims), BOOL)


@lowers("all")
def _all(w: Writer, out: Value, x: Value, *, axis: Axis = None, keepdims: bool = False) -> Value:
    """Whether none is false."""
    denied = w.emit("Not", w.cast(x, BOOL))
    return w.emit("Not", _any(w, out, Value(denied.name, BOOL, x.dims), axis=axis, keepdims=keepdims))


@lowers("count_nonzero")
def _count_nonzero(w: Writer, out: Value, x: Value, *, axis: Axis = None, keepdims: bool = False) -> Value:
    return w.cast(_counted(w, x, axis, keepdims), out.dtype)


def _arg(op_type: str) -> Any:
    def lower(w: Writer, out: Value, x: Value, *, axis: int | None = None, keepdims: bool = False) -> Value:
        if axis is not None and x.dims:
            found = w.emit(op_type, x, dtype=INT64, axis=axis, keepdims=int(keepdims))
        else:
            found = w.emit(op_type, flattened(w, x), dtype=INT64, axis=0, keepdims=0)
            found = w.reshaped(found, out.dims)
        return w.cast(found, out.dtype)

    return lower


LOWERINGS |= {"argmax": _arg("ArgMax"), "argmin": _arg("ArgMin")}


def _ordered(w: Writer, x: Value, axis: int, descending: bool) -> list[Value]:
    """All elements in order and their indices; of equal ones the first comes first, as in a stable sort."""
    n = x.dims[axis]
    return w.emit_several("TopK", [x, w.ints([n])], [x.dtype, INT64], axis=axis, largest=int(descending))


@lowers("sort")
def _sort(
    w: Writer, out: Value, x: Value, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> Value:
    return _ordered(w, x, axis, descending)[0]


@lowers("argsort")
def _argsort(
    w: Writer, out: Value, x: Value, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> Value:
    return w.cast(_ordered(w, x, axis, descending)[1], out.dtype)


@lowers("cumulative_sum")
def _cumulative_sum(
    w: Writer,
    out: Value,
    x: Value,
    *,
    axis: int | None = None,
    dtype: Any = None,
    include_initial: bool = False,
) -> Value:
    a = (axis or 0) % len(x.dims)
    dims = list(x.dims)
    x = w.cast(x, out.dtype)
    if include_initial:
        dims[a] = 1
        zeros = w.emit("Expand", w.constant(0, out.dtype), w.ints(dims))
        x = w.emit("Concat", zeros, x, axis=a)
    return w.emit("CumSum", x, w.constant(a, INT64))


@lowers("linalg.vector_norm")
def _vector_norm(
    w: Writer, out: Value, x: Value, *, axis: Axis = None, keepdims: bool = False, ord: float = 2
) -> Value:
    size = Value(w.emit("Abs", x).name, x.dtype, x.dims)
    known = {1: "ReduceL1", 2: "ReduceL2", math.inf: "ReduceMax", -math.inf: "ReduceMin"}
    if ord in known:
        return _reduction(w, known[ord], size, axis, keepdims)
    if ord == 0:
        told = Value(w.cast(w.cast(x, BOOL), out.dtype).name, out.dtype, x.dims)
        return _reduction(w, "ReduceSum", told, axis, keepdims)
    power = w.emit("Pow", size, w.constant(ord, x.dtype))
    total = _reduction(w, "ReduceSum", Value(power.name, x.dtype, x.dims), axis, keepdims)
    return w.emit("Pow", total, w.constant(1 / ord, x.dtype))


@lowers("isin")
def _isin(w: Writer, out: Value, a: Value, b: Value, *, invert: bool = False) -> Value:
    """Each element beside all of the others."""
    a, b = (Value(y.name, y.dtype, x.dims) for x, y in zip((a, b), alike(w, a, b), strict=True))
    beside = w.emit("Unsqueeze", a, w.constant([-1], INT64))
    equal = Value(w.emit("Equal", beside, flattened(w, b), dtype=BOOL).name, BOOL, (*a.dims, -1))
    found = _any(w, out, equal, axis=-1)
    return w.emit("Not", found) if invert else found
