"""ONNX's counterparts of ops that move and select elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from portagrad.onnx.lowering import Axis, axes_of, flattened, length_of, lowers
from portagrad.onnx.sizes import Size
from portagrad.onnx.writer import INT64, Value, Writer


@lowers("matrix_transpose")
def _matrix_transpose(w: Writer, out: Value, x: Value) -> Value:
    n = len(x.dims)
    return w.emit("Transpose", x, perm=[*range(n - 2), n - 1, n - 2])


@lowers("permute_dims")
def _permute_dims(w: Writer, out: Value, x: Value, axes: Sequence[int]) -> Value:
    return w.emit("Transpose", x, perm=axes_of(x, axes)) if x.dims else w.emit("Identity", x)


@lowers("moveaxis")
def _moveaxis(w: Writer, out: Value, x: Value, source: Axis, destination: Axis) -> Value:
    moved = dict(zip(axes_of(x, destination), axes_of(x, source), strict=True))
    others = iter([a for a in range(len(x.dims)) if a not in moved.values()])
    return w.emit("Transpose", x, perm=[moved[i] if i in moved else next(others) for i in range(len(x.dims))])


@lowers("linalg.diagonal")
def _diagonal(w: Writer, out: Value, x: Value, *, offset: int = 0) -> Value:
    """Elements of the last two axes laid end to end."""
    rows, columns = length_of(x, -2, "a diagonal"), length_of(x, -1, "a diagonal")
    flat = w.reshaped(x, (*x.dims[:-2], rows * columns))
    picked = np.diagonal(np.arange(rows * columns).reshape(rows, columns), offset)
    return w.emit("Gather", flat, w.constant(picked, INT64), axis=len(x.dims) - 2)


@lowers("tril")
def _tril(w: Writer, out: Value, x: Value, *, k: int = 0) -> Value:
    return w.emit("Trilu", x, w.constant(k, INT64), upper=0)


@lowers("triu")
def _triu(w: Writer, out: Value, x: Value, *, k: int = 0) -> Value:
    return w.emit("Trilu", x, w.constant(k, INT64), upper=1)


@lowers("reshape")
def _reshape(w: Writer, out: Value, x: Value, shape: Any, **_: Any) -> Value:
    return w.reshaped(x, out.dims)


@lowers("squeeze")
def _squeeze(w: Writer, out: Value, x: Value, axis: Axis) -> Value:
    return w.emit("Squeeze", x, w.constant(axes_of(x, axis), INT64))


@lowers("expand_dims")
def _expand_dims(w: Writer, out: Value, x: Value, axis: Axis = 0) -> Value:
    return w.emit("Unsqueeze", x, w.constant(axes_of(out, axis), INT64))


@lowers("broadcast_to")
def _broadcast_to(w: Writer, out: Value, x: Value, shape: Any) -> Value:
    return w.emit("Expand", x, w.ints(out.dims))


@lowers("concat")
def _concat(w: Writer, out: Value, *xs: Value, axis: int | None = 0) -> Value:
    parts = [w.cast(x, out.dtype) for x in xs]
    if axis is None:
        return w.emit("Concat", *(flattened(w, x) for x in parts), axis=0)
    return w.emit("Concat", *parts, axis=axis)


@lowers("stack")
def _stack(w: Writer, out: Value, *xs: Value, axis: int = 0) -> Value:
    at = w.constant([axis % len(out.dims)], INT64)
    return w.emit("Concat", *(w.emit("Unsqueeze", w.cast(x, out.dtype), at) for x in xs), axis=axis)


@lowers("unstack")
def _unstack(w: Writer, out: Value, x: Value, *, axis: int = 0) -> list[Value]:
    count = length_of(x, axis, "unstack")
    return [w.emit("Gather", x, w.constant(i, INT64), axis=axis) for i in range(count)]


@lowers("flip")
def _flip(w: Writer, out: Value, x: Value, *, axis: Axis = None) -> Value:
    axes = axes_of(x, axis)
    count = len(axes)
    if not count:
        return w.emit("Identity", x)
    ends = [np.iinfo(np.int64).min + 1] * count
    return w.emit("Slice", x, *(w.constant(v, INT64) for v in ([-1] * count, ends, axes, [-1] * count)))


@lowers("roll")
def _roll(w: Writer, out: Value, x: Value, shift: Any, *, axis: Axis = None) -> Value:
    """The end of each axis, then what was in front of it."""
    if axis is None:
        return w.reshaped(_roll(w, out, flattened(w, x), shift, axis=0), out.dims)
    axes = axes_of(x, axis)
    for by, a in zip([shift] * len(axes) if isinstance(shift, int) else shift, axes, strict=True):
        n = length_of(x, a, "roll")
        if n:
            order = np.roll(np.arange(n), by)
            x = Value(w.emit("Gather", x, w.constant(order, INT64), axis=a).name, x.dtype, x.dims)
    return x


@lowers("repeat")
def _repeat(w: Writer, out: Value, x: Value, repeats: Any, *, axis: int | None = None) -> Value:
    x = flattened(w, x) if axis is None else x
    a = (axis or 0) % len(x.dims)
    n = length_of(x, a, "repeat")
    return w.emit("Gather", x, w.constant(np.repeat(np.arange(n), repeats), INT64), axis=a)


@lowers("tile")
def _tile(w: Writer, out: Value, x: Value, repetitions: Sequence[int]) -> Value:
    ndim = max(len(repetitions), len(x.dims))
    repeats = [*[1] * (ndim - len(repetitions)), *repetitions]
    if len(x.dims) < ndim:
        front = w.constant(list(range(ndim - len(x.dims))), INT64)
        x = w.emit("Unsqueeze", x, front)
    return w.emit("Tile", x, w.constant(repeats, INT64)) if ndim else w.emit("Identity", x)


@lowers("getitem")
def _getitem(w: Writer, out: Value, x: Value, *, key: Any) -> Value:
    """Slices first, then single elements, then new axes; or one array of integers, gathered."""
    parts = list(key) if isinstance(key, tuple) else [key]
    used = sum(part is not None and part is not Ellipsis for part in parts)
    fill = [slice(None)] * (len(x.dims) - used)
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    parts[at : at + 1] = fill
    slices, gathered, singles, new = [], [], [], []
    axis = place = 0
    for part in parts:
        if part is None:
            new.append(place)
            place += 1
            continue
        if isinstance(part, slice):
            if part != slice(None):
                slices.append((axis, part))
            place += 1
        elif isinstance(part, int) and not isinstance(part, bool):
            singles.append((axis, part))
        elif isinstance(part, np.ndarray) and part.dtype.kind in "iu":
            gathered.append((axis, part))
            place += part.ndim
        else:
            raise ValueError(f"an index of {type(part).__name__}")
        axis += 1
    if len(gathered) > 1 or (gathered and (singles or new)):
        raise ValueError("an index of several arrays, or of arrays beside numbers or new axes")
    if slices:
        ends = [(_end(p.start, p.step, True), _end(p.stop, p.step, False)) for _, p in slices]
        starts, stops = w.ints([a for a, _ in ends]), w.ints([b for _, b in ends])
        axes, steps = w.ints([a for a, _ in slices]), w.ints([p.step or 1 for _, p in slices])
        x = w.emit("Slice", x, starts, stops, axes, steps)
    for a, number in reversed(singles):
        x = w.emit("Gather", x, w.constant(number, INT64), axis=a)
    for a, indices in gathered:
        x = w.emit("Gather", x, w.constant(indices, INT64), axis=a)
    return w.emit("Unsqueeze", x, w.constant(new, INT64)) if new else x


def _end(given: int | Size | None, step: int | None, first: bool) -> int | Size:
    """An end of a slice as ONNX wants it: a number also where it is left out."""
    if given is not None:
        return given
    forwards = (step or 1) > 0
    far = np.iinfo(np.int64).max
    return 0 if first and forwards else int(far if first or forwards else -far)


@lowers("take")
def _take(w: Writer, out: Value, x: Value, indices: Value, *, axis: int | None = None) -> Value:
    return w.emit("Gather", flattened(w, x) if axis is None else x, w.cast(indices, INT64), axis=axis or 0)


@lowers("take_along_axis")
def _take_along_axis(w: Writer, out: Value, x: Value, indices: Value, *, axis: int = -1) -> Value:
    """ONNX's indices have x's other lengths; portagrad's broadcast to them."""
    a = axis % len(x.dims)
    wide = w.emit("Expand", w.cast(indices, INT64), w.ints(out.dims))
    lengths = (*out.dims[:a], x.dims[a], *out.dims[a + 1 :])
    return w.emit("GatherElements", w.emit("Expand", x, w.ints(lengths)), wide, axis=a)
