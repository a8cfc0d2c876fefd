"""Indexing and functional assignment, computed on demand."""

from typing import Any

import dask.array
import numpy
from dask.delayed import delayed

from portagrad.backend import basic_index

da: Any = dask.array


def getitem(x: Any, *, key: Any) -> Any:
    """``x[key]``, also for several index arrays or one of more than one axis."""
    if basic_index(key):
        return x[tuple(_expanded(x, key))]
    arrays = [part for part in (key if isinstance(key, tuple) else (key,)) if hasattr(part, "dtype")]
    if any(a.dtype == bool for a in arrays) or (not isinstance(key, tuple) and key.ndim == 1):
        return x[key]
    shape = numpy.broadcast_to(numpy.int8(0), x.shape)[_zeros(key)].shape
    return da.from_delayed(delayed(_numpy_getitem)(x, key), shape, x.dtype, meta=x._meta)


def index_add(x: Any, value: Any, *, key: Any) -> Any:
    """`x` with `value` added at `key`; repeated elements accumulate."""
    if basic_index(key):
        there, spread = _spread(x, value, key)
        return x if spread is None else x + da.where(there, spread, x.dtype.type(0))
    return _whole(_numpy_add, x, value, key)


def index_put(x: Any, value: Any, *, key: Any) -> Any:
    """`x` with `value` at `key`."""
    if basic_index(key):
        there, spread = _spread(x, value, key)
        return x if spread is None else da.where(there, spread, x)
    return _whole(_numpy_put, x, value, key)


def _spread(x: Any, value: Any, key: Any) -> tuple[Any, Any]:
    """Where `key` points, as a mask of x's shape, and `value` laid out in that shape; None if nowhere.

    Dask's own assignment has gaps (negative steps beside integers, nothing selected); this is exact and
    leaves the chunks of `x` as they are.
    """
    parts = _expanded(x, key)
    target = numpy.broadcast_to(numpy.int8(0), x.shape)[tuple(parts)].shape
    if 0 in target:
        return None, None
    value = da.broadcast_to(da.asarray(value).astype(x.dtype), target)
    if all(part is not None and (not isinstance(part, slice) or part.step == 1) for part in parts):
        return _padded(x, value, parts)
    there: Any = True
    axis = 0  # of x
    column = 0  # of value
    for part in parts:
        if part is None:
            value = da.squeeze(value, axis=column)
            continue
        picked = numpy.atleast_1d(numpy.arange(x.shape[axis])[part])
        if not isinstance(part, slice):
            value = da.expand_dims(value, column)
        source = numpy.zeros(x.shape[axis], dtype=numpy.int64)
        source[picked] = numpy.arange(picked.size)
        hit = numpy.zeros(x.shape[axis], dtype=bool)
        hit[picked] = True
        value = da.take(value, source, axis=column)
        there = there & da.asarray(hit.reshape(-1, *[1] * (x.ndim - axis - 1)))
        axis += 1
        column += 1
    return there, value


def _padded(x: Any, value: Any, parts: list[Any]) -> tuple[Any, Any]:
    """`_spread` for runs of neighbours, by zeros around them: no array as long as an axis is in the graph."""
    there = da.ones(value.shape, dtype=bool, chunks=value.chunks)
    for axis, part in enumerate(parts):
        size = x.shape[axis]
        if not isinstance(part, slice):
            value, there = da.expand_dims(value, axis), da.expand_dims(there, axis)
            part = slice(part % size, part % size + 1)
        value, there = (_between_zeros(a, axis, part.start, size - part.stop) for a in (value, there))
    return there, value


def _between_zeros(x: Any, axis: int, before: int, after: int) -> Any:
    def zeros(n: int) -> list[Any]:
        return [da.zeros((*x.shape[:axis], n, *x.shape[axis + 1 :]), dtype=x.dtype)] if n else []

    return da.concatenate([*zeros(before), x, *zeros(after)], axis) if before or after else x


def _expanded(x: Any, key: Any) -> list[Any]:
    """A basic index without ``...``, its slices as Dask reads them right: bounds within the axis."""
    parts = list(key if isinstance(key, tuple) else (key,))
    rest = x.ndim - sum(part is not None and part is not ... for part in parts)
    at = parts.index(...) if ... in parts else len(parts)
    parts[at : at + 1] = [slice(None)] * rest
    axis = 0
    for i, part in enumerate(parts):
        if isinstance(part, slice):
            picked = range(x.shape[axis])[part]
            stop = None if picked.stop < 0 else picked.stop
            parts[i] = slice(picked.start, stop, picked.step) if picked else slice(0, 0)
        axis += part is not None
    return parts


def _whole(function: Any, x: Any, value: Any, key: Any) -> Any:
    """A NumPy function of whole arrays, as one task; the result is cut into the chunks of `x`."""
    task = delayed(function)(x, value, key)
    return da.from_delayed(task, x.shape, x.dtype, meta=x._meta).rechunk(x.chunks)


def _zeros(key: Any) -> Any:
    """An index of the same shape whose values need not be known."""
    if isinstance(key, tuple):
        return tuple(map(_zeros, key))
    return numpy.zeros(key.shape, dtype=numpy.int64) if hasattr(key, "dtype") else key


def _numpy_getitem(x: Any, key: Any) -> Any:
    return x[key]


def _numpy_add(x: Any, value: Any, key: Any) -> Any:
    out = numpy.array(x)
    numpy.add.at(out, key, value)
    return out


def _numpy_put(x: Any, value: Any, key: Any) -> Any:
    out = numpy.array(x)
    out[key] = value
    return out
