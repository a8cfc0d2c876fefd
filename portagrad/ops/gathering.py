"""Indexing by arrays as array-API code: an index becomes positions in flattened axes.

That is how `vmap` indexes where each example does at places of its own: `take`, `untake` and `put`, whose
indices are arguments, have batching rules.
"""

import math
from collections.abc import Callable
from typing import Any

from portagrad.op import Filled, case, linear
from portagrad.ops.indexing import Slot


def by_arrays(name: str, args: tuple[Any, ...], key: tuple[Any, ...], xp: Any) -> Any:
    """What the op `name` does at an index: `getitem`, `index_put` or `index_add`, on tensors."""
    slots, arrays = slotted(key, xp)
    if name == "getitem":
        return gather(args[0], arrays, slots, xp)
    x, value = args
    return scatter(x, value, arrays, slots, xp.put if name == "index_put" else _add, xp)


def slotted(key: tuple[Any, ...], xp: Any) -> tuple[list[Any], list[Any]]:
    """An index with slots for its arrays, and the arrays: of a mask the integers that it stands for."""
    parts: list[Any] = []
    arrays: list[Any] = []
    for part in key:
        if part is None or part is ... or isinstance(part, slice | int):
            parts.append(part)
            continue
        array = xp.asarray(part)
        found = xp.nonzero(array) if xp.isdtype(array.dtype, "bool") else (array,)
        parts.extend(Slot(len(arrays) + i) for i in range(len(found)))
        arrays.extend(found)
    return parts, arrays


def gather(x: Any, arrays: list[Any], key: list[Any], xp: Any) -> Any:
    """``x[key]``: first what is no array, then the axes of the arrays as one.

    As in NumPy the arrays' own axes stand where they are applied, or in front where others come between.
    """
    missing = len(x.shape) - sum(part is not None and part is not ... for part in key)
    at = next((i for i, part in enumerate(key) if part is ...), len(key))
    parts = [*key[:at], *[slice(None)] * missing, *key[at + 1 :]]
    placed = [i for i, part in enumerate(parts) if isinstance(part, Slot | int)]
    together = placed[-1] - placed[0] < len(placed)
    basic = tuple([slice(None) if isinstance(part, Slot) else part for part in parts])
    x = xp.getitem(x, key=basic) if any(part != slice(None) for part in basic) else x
    parts = [part for part in parts if not isinstance(part, int)]
    axes = [i for i, part in enumerate(parts) if isinstance(part, Slot)]
    start = axes[0]
    if axes[-1] - start >= len(axes):
        x, start = xp.moveaxis(x, tuple(axes), tuple(range(len(axes)))), 0
    shape, end = tuple(x.shape), start + len(axes)
    index = merged([arrays[parts[i].number] for i in axes], shape[start:end], xp)
    if len(axes) > 1:
        x = xp.reshape(x, (*shape[:start], math.prod(shape[start:end]), *shape[end:]))
    y = xp.take(x, xp.reshape(index, (-1,)), axis=start)
    y = xp.reshape(y, (*shape[:start], *index.shape, *shape[end:]))
    if together or not start:
        return y
    count = len(index.shape)
    return xp.moveaxis(y, tuple(range(start, start + count)), tuple(range(count)))


def merged(indices: list[Any], lengths: tuple[int, ...], xp: Any) -> Any:
    """Positions along axes that have become one; an index out of range stays out of range."""
    if len(indices) == 1:
        return indices[0]
    whole = xp.arange(0).dtype
    position, outside = 0, False
    for index, n in zip(indices, lengths, strict=True):
        index = xp.astype(index, whole, copy=False)
        position = position * n + xp.where(index < 0, index + n, index)
        outside = outside | (index < -n) | (index >= n)
    return xp.where(outside, math.prod(lengths), position)


def scatter(x: Any, value: Any, arrays: list[Any], key: list[Any], write: Callable[..., Any], xp: Any) -> Any:
    """`x` with `write` done to it flattened, at the positions of an index."""
    shape, device = tuple(x.shape), xp.device_of(x)
    numbers = xp.reshape(xp.arange(math.prod(shape), device=device), shape)
    positions = gather(numbers, arrays, key, xp)
    value = xp.broadcast_to(xp.asarray(value, dtype=x.dtype, device=device), tuple(positions.shape))
    flat = write(*[xp.reshape(a, (-1,)) for a in (x, value, positions)])
    return xp.reshape(flat, shape)


def _add(x: Any, value: Any, positions: Any) -> Any:
    xp = x.__array_namespace__()
    return x + xp.untake(value, positions, axis=None, shape=tuple(x.shape))


def put_value(g: Any, indices: Any, xp: Any) -> Any:
    """To each value its element's cotangent; of several put at one element, to the one that stayed."""
    device = xp.device_of(indices)
    numbers = xp.arange(indices.shape[0], device=device)
    none = xp.zeros(tuple(g.shape), dtype=numbers.dtype, device=device)
    stayed = xp.take(xp.put(none, numbers, indices), indices) == numbers
    return xp.where(stayed, xp.take(g, indices), 0.0)


def put_x(g: Any, value_like: Any, indices: Any, xp: Any) -> Any:
    zeros = xp.zeros(tuple(value_like.shape), dtype=g.dtype, device=xp.device_of(indices))
    return xp.put(g, zeros, indices)


put = linear(
    "put",
    "(x, value, indices, /)",
    put_x,
    put_value,
    None,
    forward=lambda x, value, indices, *, xp: xp.index_put(x, value, key=(indices,)),
    cases=(case((4,), (2,), Filled((2,), 4)), case((2,), (5,), Filled((5,), 2))),
    since="",
    batch="put",
    doc="A copy of an array with values put at indices.\n"
    "x: array; of one axis\n"
    "value: array; of one axis\n"
    "indices: array; integers, one for each value; of several for one element the last stays",
)
