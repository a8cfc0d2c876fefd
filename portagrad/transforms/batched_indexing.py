"""Batching rules of indexing and searching: where each example reads, writes and looks is its own affair."""

from __future__ import annotations

import math
from typing import Any

from portagrad.backend import basic_index
from portagrad.ops.gathering import by_arrays
from portagrad.ops.indexing import filled
from portagrad.transforms.batching import Batch, beyond, lifted, rows


def indexed(call: Batch) -> Any:
    """Indexing by one key for all; arrays in it become arguments, to ops that have rules of their own."""
    key, xp, name = call.params["key"], call.xp, call.op.name
    key = key if isinstance(key, tuple) else (key,)
    if not basic_index(key):
        return call.each(lambda *args: at_places(call, name, args, key))
    key = (slice(None), *key)
    if name == "scatter":
        return call.run(*call.args, key=key, shape=(call.size, *call.params["shape"]))
    if name == "getitem":
        return call.run(*call.args, key=key)
    x, value = call.full(0), call.args[1]
    if call.batched[1]:
        value = lifted(value, True, len(xp.getitem(x, key=key).shape) - 1, xp)
    return call.run(x, value, key=key)


def gathered(call: Batch) -> Any:
    """``indexed``: arrays of the index are others in each example."""

    def one(*arrays: Any) -> Any:
        key, args = filled(call.params["key"], arrays)
        return at_places(call, call.params["of"], args, key if isinstance(key, tuple) else (key,))

    return call.each(one)


def at_places(call: Batch, name: str, args: tuple[Any, ...], key: tuple[Any, ...]) -> Any:
    """What an op that takes an index does for one example; ``scatter`` adds to zeros."""
    xp = call.xp
    if name == "scatter":
        (x,) = args
        zeros = xp.zeros(call.params["shape"], dtype=x.dtype, device=xp.device_of(x))
        name, args = "index_add", (zeros, x)
    return by_arrays(name, args, key, xp)


def own_positions(indices: Any, n: int, xp: Any) -> Any:
    """Each example's indices along an axis of length `n`, where those of all examples are one."""
    size = indices.shape[0]
    first = n * xp.reshape(xp.arange(size, device=xp.device_of(indices)), (size, 1))
    indices = xp.astype(indices, first.dtype, copy=False)
    inside = (indices >= -n) & (indices < n)
    return xp.where(inside, first + xp.where(indices < 0, indices + n, indices), size * n)


def taken(call: Batch) -> Any:
    """``take``: of one array for all the indices in a row; else along the axis, as far as it goes."""
    (x, indices), (rank, _), axis, xp = call.args, call.ranks, call.params["axis"], call.xp
    if axis is None and rank != 1:
        return NotImplemented  # an error, in the library's words
    axis = 0 if axis is None else axis % rank
    first, second = call.batched
    if not second:
        return call.run(x, indices, axis=axis + 1)
    shape, own = tuple(x.shape), tuple(indices.shape[1:])
    if not first:
        y = call.run(x, xp.reshape(indices, (-1,)), axis=axis)
        y = xp.reshape(y, (*shape[:axis], call.size, *own, *shape[axis + 1 :]))
        return xp.moveaxis(y, axis, 0)
    indices = xp.reshape(indices, (call.size, *(1,) * axis, math.prod(own), *(1,) * (rank - axis - 1)))
    y = xp.take_along_axis(x, indices, axis=axis + 1)
    return xp.reshape(y, (*shape[: axis + 1], *own, *shape[axis + 2 :]))


def untaken(call: Batch) -> Any:
    """``untake``: examples that add at their own indices do so along one long axis."""
    (g, indices), axis, shape, xp = call.args, call.params["axis"], tuple(call.params["shape"]), call.xp
    axis = 0 if axis is None else axis % len(shape)
    if not call.batched[1]:
        return call.run(g, indices, axis=axis + 1, shape=(call.size, *shape))
    n, before, rest = shape[axis], shape[:axis], shape[axis + 1 :]
    indices = rows(indices, xp)
    m = indices.shape[1]
    g = xp.moveaxis(xp.reshape(call.full(0), (call.size, *before, m, *rest)), axis + 1, 1)
    g = xp.reshape(g, (call.size * m, *before, *rest))
    positions = xp.reshape(own_positions(indices, n, xp), (-1,))
    y = call.run(g, positions, axis=0, shape=(call.size * n, *before, *rest))
    return xp.moveaxis(xp.reshape(y, (call.size, n, *before, *rest)), 1, axis + 1)


def beside(call: Batch) -> Any:
    """``take_along_axis`` and its transpose: arguments of as many axes, that of the batch one more."""
    rank, xp = max(call.ranks), call.xp
    pairs = zip(call.args, call.batched, strict=True)
    args = [lifted(x, b, rank, xp) for x, b in pairs]
    axis = beyond(call.params["axis"], rank)
    if "shape" not in call.params:
        return call.run(*args, axis=axis)
    return call.run(call.full(0), args[1], axis=axis, shape=(call.size, *call.params["shape"]))


def put(call: Batch) -> Any:
    """``put``: along one long axis."""
    (x, value, indices), xp = [call.full(i) for i in range(3)], call.xp
    positions = own_positions(indices, x.shape[1], xp)
    y = call.run(*[xp.reshape(a, (-1,)) for a in (x, value, positions)])
    return xp.reshape(y, tuple(x.shape))


def searched(call: Batch) -> Any:
    """``searchsorted``: how many of an example's values come before, by sorting all of them together."""
    xp, side = call.xp, call.params["side"]
    if not call.batched[0] and not call.batched[2]:
        return call.run(*call.args)
    x1, x2 = call.full(0), call.full(1)
    if call.args[2] is not None:
        x1 = xp.take_along_axis(x1, call.full(2), axis=1)
    values = rows(x2, xp)
    both = [values, x1] if side == "left" else [x1, values]
    start = 0 if side == "left" else x1.shape[1]
    place = _ranks(xp.concat(both, axis=1), xp)[:, start : start + values.shape[1]]
    return xp.reshape(place - _ranks(values, xp), tuple(x2.shape))


def _ranks(x: Any, xp: Any) -> Any:
    """Where each element of the last axis is once sorted, equal ones in the order they have."""
    return xp.argsort(xp.argsort(x, axis=-1, stable=True), axis=-1)


def member(call: Batch) -> Any:
    """``isin``: compared with each of the example's own."""
    (x1, x2), (rank, _), (first, second), xp = call.args, call.ranks, call.batched, call.xp
    if not second:
        return call.run(x1, x2)
    others = rows(x2, xp)
    others = xp.reshape(others, (call.size, *(1,) * rank, others.shape[1]))
    x1 = xp.expand_dims(x1, axis=-1) if first or rank else x1
    found = xp.any(x1 == others, axis=-1)
    return xp.logical_not(found) if call.params["invert"] else found
