"""NumPy's functions that put arrays together, take them apart, and choose among their elements."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from portagrad.errors import NoCounterpartError
from portagrad.protocols.counterpart import Array, Arrays, Nested, counterpart
from portagrad.protocols.shapes import atleast_1d, atleast_2d, solid

# Together


def joined(xp: Any, arrays: Sequence[Any], axis: int | None, dtype: Any) -> Any:
    y = xp.concat(list(arrays), axis=axis)
    return y if dtype is None else xp.astype(y, dtype)


@counterpart("concatenate")
def concatenate(
    xp: Any,
    arrays: Arrays,
    axis: int | None = 0,
    out: Any = None,
    *,
    dtype: Any = None,
    casting: str = "same_kind",
) -> Any:
    return joined(xp, arrays, axis, dtype)


@counterpart()
def stack(xp: Any, arrays: Arrays, axis: int = 0, dtype: Any = None) -> Any:
    y = xp.stack(arrays, axis=axis)
    return y if dtype is None else xp.astype(y, dtype)


@counterpart()
def vstack(xp: Any, tup: Arrays, dtype: Any = None) -> Any:
    return joined(xp, [atleast_2d(xp, a) for a in tup], 0, dtype)


@counterpart()
def hstack(xp: Any, tup: Arrays, dtype: Any = None) -> Any:
    arrays = [atleast_1d(xp, a) for a in tup]
    return joined(xp, arrays, 0 if arrays[0].ndim == 1 else 1, dtype)


@counterpart()
def dstack(xp: Any, tup: Arrays) -> Any:
    return joined(xp, [solid(a) for a in tup], 2, None)


@counterpart()
def column_stack(xp: Any, tup: Arrays) -> Any:
    return joined(xp, [a if a.ndim > 1 else xp.reshape(a, (-1, 1)) for a in tup], 1, None)


@counterpart()
def append(xp: Any, arr: Array, values: Array, axis: int | None = None) -> Any:
    return xp.concat([arr, values], axis=axis)


@counterpart()
def block(xp: Any, arrays: Nested) -> Any:
    """Innermost lists are put together along the last axis, those around them along the one before."""

    def depth(part: Any) -> int:
        return 1 + max(map(depth, part)) if isinstance(part, list) else 0

    def lift(a: Any, ndim: int) -> Any:
        return a[(*[None] * (ndim - a.ndim), ...)]

    def join(part: Any, level: int) -> Any:
        if not isinstance(part, list):
            return lift(part, levels)
        parts = [join(p, level - 1) for p in part]
        ndim = max(p.ndim for p in parts)
        return xp.concat([lift(p, ndim) for p in parts], axis=-level)

    levels = depth(arrays)
    return join(arrays, levels)


@counterpart()
def insert(xp: Any, arr: Array, obj: Any, values: Array, axis: int | None = None) -> Any:
    arr, axis = (xp.reshape(arr, (-1,)), 0) if axis is None else (arr, axis % arr.ndim)
    n = arr.shape[axis]
    if values.ndim == arr.ndim - 1 and isinstance(obj, int):
        values = xp.expand_dims(values, axis=axis)
    count = np.size(np.arange(n)[obj]) if isinstance(obj, slice) else np.size(obj)
    if np.ndim(obj) == 0 and values.ndim == arr.ndim:
        count = values.shape[axis]
    new = xp.broadcast_to(values, (*arr.shape[:axis], count, *arr.shape[axis + 1 :]))
    order = np.insert(np.arange(n), obj, np.arange(n, n + count))
    return pick(xp, xp.concat([arr, xp.astype(new, arr.dtype)], axis=axis), order, axis)


@counterpart()
def delete(xp: Any, arr: Array, obj: Any, axis: int | None = None) -> Any:
    arr, axis = (xp.reshape(arr, (-1,)), 0) if axis is None else (arr, axis)
    return pick(xp, arr, np.delete(np.arange(arr.shape[axis]), obj), axis)


def pick(xp: Any, a: Any, order: Any, axis: int) -> Any:
    """Elements along an axis, by positions that are known on the host."""
    return xp.take(a, xp.asarray(order.tolist(), dtype=index_dtype(xp), device=xp.device_of(a)), axis=axis)


def index_dtype(xp: Any) -> Any:
    return xp.__array_namespace_info__().default_dtypes()["indexing"]


@counterpart()
def pad(
    xp: Any, array: Array, pad_width: Any, mode: Any = "constant", constant_values: Any = 0, **rest: Any
) -> Any:
    """Constants around an array, or its own elements."""
    if (
        mode not in ("constant", "edge", "reflect", "symmetric", "wrap")
        or rest.get("reflect_type", "even") != "even"
    ):
        raise NoCounterpartError(
            f"np.pad: mode={mode!r} has no counterpart on tensors; these have: 'constant', 'edge', "
            f"'reflect', 'symmetric', 'wrap'"
        )
    if isinstance(pad_width, dict):
        pad_width = [pad_width.get(i, pad_width.get(i - array.ndim, 0)) for i in range(array.ndim)]
        pad_width = [(w, w) if isinstance(w, int) else w for w in pad_width]
    widths = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2)).tolist()
    for axis, (before, after) in enumerate(widths):
        n = array.shape[axis]
        if mode != "constant":
            array = pick(xp, array, np.pad(np.arange(n), ((before, after),), mode=mode), axis)
            continue
        ends = np.broadcast_to(np.asarray(constant_values), (array.ndim, 2))[axis].tolist()
        around = [
            xp.full(
                (*array.shape[:axis], width, *array.shape[axis + 1 :]),
                end,
                dtype=array.dtype,
                device=xp.device_of(array),
            )
            for width, end in zip((before, after), ends, strict=True)
        ]
        array = xp.concat([around[0], array, around[1]], axis=axis)
    return array


@counterpart()
def repeat(xp: Any, a: Array, repeats: Any, axis: int | None = None) -> Any:
    if not isinstance(repeats, int):
        repeats = xp.asarray(repeats, device=xp.device_of(a)).concrete("np.repeat, repeats=")
    return xp.repeat(a, repeats, axis=axis)


@counterpart()
def tile(xp: Any, A: Array, reps: Any) -> Any:
    return xp.tile(A, (reps,) if isinstance(reps, int) else tuple(reps))


# Apart


@counterpart()
def array_split(xp: Any, ary: Array, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """At the given places, or in so many parts as equal as can be."""
    n, axis = ary.shape[axis], axis % ary.ndim
    if isinstance(indices_or_sections, int):
        each, more = divmod(n, indices_or_sections)
        ends = [i * each + min(i, more) for i in range(indices_or_sections + 1)]
    else:
        ends = [0, *[int(i) for i in indices_or_sections], n]
    return [ary[(*[slice(None)] * axis, slice(start, end), ...)] for start, end in itertools.pairwise(ends)]


@counterpart()
def split(xp: Any, ary: Array, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    if isinstance(indices_or_sections, int) and ary.shape[axis] % indices_or_sections:
        raise ValueError(f"np.split: {ary.shape[axis]} elements make no {indices_or_sections} equal parts")
    return array_split(xp, ary, indices_or_sections, axis)


@counterpart()
def hsplit(xp: Any, ary: Array, indices_or_sections: Any) -> list[Any]:
    return split(xp, ary, indices_or_sections, 1 if ary.ndim > 1 else 0)


@counterpart()
def vsplit(xp: Any, ary: Array, indices_or_sections: Any) -> list[Any]:
    return split(xp, ary, indices_or_sections, 0)


@counterpart()
def dsplit(xp: Any, ary: Array, indices_or_sections: Any) -> list[Any]:
    return split(xp, ary, indices_or_sections, 2)


# Chosen


@counterpart()
def take(xp: Any, a: Array, indices: Any, axis: int | None = None) -> Any:
    a, axis = (xp.reshape(a, (-1,)), 0) if axis is None else (a, axis % a.ndim)
    indices = xp.asarray(indices, device=xp.device_of(a))
    y = xp.take(a, xp.reshape(indices, (-1,)), axis=axis)
    return xp.reshape(y, (*a.shape[:axis], *indices.shape, *a.shape[axis + 1 :]))


@counterpart()
def take_along_axis(xp: Any, arr: Array, indices: Array, axis: int | None = -1) -> Any:
    if axis is None:
        arr, indices, axis = xp.reshape(arr, (-1,)), xp.reshape(indices, (-1,)), 0
    return xp.take_along_axis(arr, indices, axis=axis)


@counterpart()
def compress(xp: Any, condition: Array, a: Array, axis: int | None = None) -> Any:
    a, axis = (xp.reshape(a, (-1,)), 0) if axis is None else (a, axis)
    return xp.take(a, xp.nonzero(condition)[0], axis=axis)


@counterpart()
def extract(xp: Any, condition: Array, arr: Array) -> Any:
    return compress(xp, xp.reshape(condition, (-1,)), arr)


@counterpart()
def argwhere(xp: Any, a: Array) -> Any:
    return xp.stack(xp.nonzero(a), axis=1)


@counterpart()
def flatnonzero(xp: Any, a: Array) -> Any:
    return xp.nonzero(xp.reshape(a, (-1,)))[0]


@counterpart()
def unique(
    xp: Any,
    ar: Array,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    sorted: bool = True,
) -> Any:
    if not (return_index or return_inverse or return_counts):
        return xp.unique_values(ar)
    found = xp.unique_all(ar)
    wanted = (True, return_index, return_inverse, return_counts)
    return tuple(part for part, is_wanted in zip(found, wanted, strict=True) if is_wanted)


@counterpart("tril_indices_from")
def tril_indices_from(xp: Any, arr: Array, k: int = 0) -> Any:
    return np.tril_indices(arr.shape[-2], k=k, m=arr.shape[-1])


@counterpart("triu_indices_from")
def triu_indices_from(xp: Any, arr: Array, k: int = 0) -> Any:
    return np.triu_indices(arr.shape[-2], k=k, m=arr.shape[-1])


@counterpart("diag_indices_from")
def diag_indices_from(xp: Any, arr: Array) -> Any:
    return np.diag_indices(arr.shape[0], arr.ndim)
