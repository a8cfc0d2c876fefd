"""Indexing and functional assignment; the transpose of reading is adding."""

import math
from dataclasses import dataclass
from typing import Any

from portagrad.backend import BY_TYPE, basic_index
from portagrad.op import TABLE, Filled, case, linear, names_of, primitive


def scatter_forward(x: Any, *, key: Any, shape: tuple[int, ...], xp: Any) -> Any:
    """Zeros with `x` added at `key`."""
    zeros = xp.zeros(shape, dtype=x.dtype, device=xp.device_of(x))
    return xp.index_add(zeros, x, key=key)


def index_add_forward(x: Any, value: Any, *, key: Any, xp: Any) -> Any:
    """Portable, and right for repeated elements as well."""
    if basic_index(key):  # meets no element twice
        out = xp.asarray(x, copy=True)
        out[key] = out[key] + value
        return out
    shape, device = tuple(x.shape), xp.device_of(x)
    positions = xp.getitem(xp.reshape(xp.arange(math.prod(shape), device=device), shape), key=key)
    values = xp.broadcast_to(xp.asarray(value, dtype=x.dtype, device=device), tuple(positions.shape))
    flat = xp.reshape(x, (-1,))
    added = accumulate(flat, xp.reshape(positions, (-1,)), xp.reshape(values, (-1,)), xp)
    return xp.reshape(added, shape)


def accumulate(x: Any, positions: Any, values: Any, xp: Any) -> Any:
    """`x` with `values` added at `positions`, all of one axis.

    The standard has no such function, and it assigns to no array of indices. With the positions sorted, the
    values for one element lie side by side: so many rounds as an element is met at most, each of which adds
    to every element its next value. A sum of differences would do in one round, but loses digits.
    """
    if 0 in positions.shape:
        return x
    order = xp.argsort(positions)
    positions, values = xp.take(positions, order), xp.take(values, order)
    elements = xp.arange(x.shape[0], dtype=positions.dtype, device=xp.device_of(x))
    first = xp.searchsorted(positions, elements)
    count = xp.searchsorted(positions, elements, side="right") - first
    last = positions.shape[0] - 1
    for i in range(int(xp.max(count))):
        following = xp.take(values, xp.clip(first + i, max=last))
        x = xp.where(count > i, x + following, x)
    return x


def index_put_forward(x: Any, value: Any, *, key: Any, xp: Any) -> Any:
    out = xp.asarray(x, copy=True)
    out[key] = value
    return out


def index_put_transpose(g: Any, key: Any, xp: Any) -> Any:
    """To each value its element's cotangent; of several put at one element, to the one that stayed."""
    picked = xp.getitem(g, key=key)
    if not may_repeat(key, xp):
        return picked
    places = xp.arange(math.prod(picked.shape), device=xp.device_of(g))
    places = xp.reshape(places, tuple(picked.shape))
    put = xp.index_put(xp.zeros(tuple(g.shape), dtype=places.dtype, device=xp.device_of(g)), places, key=key)
    return xp.where(xp.getitem(put, key=key) == places, picked, 0.0)


def replaces(shape: tuple[int, ...], key: Any, value: Any) -> bool:
    """Whether an assignment leaves nothing of an array of `shape`: as many values as a mask has elements.

    Shapes tell, and what the array was made of is then not differentiated. Array-API code fills in by a mask
    where it has divided zero by zero: the derivatives there are NaN, and stay NaN times a cotangent of 0.
    """
    whole = getattr(key, "shape", ())
    if not whole or whole != shape or getattr(value, "shape", None) != (math.prod(shape),) or whole == (1,):
        return False
    backend = BY_TYPE[type(key)]
    return backend is not None and bool(backend.xp.isdtype(key.dtype, "bool"))


def may_repeat(key: Any, xp: Any) -> bool:
    """Whether an index may meet an element twice: only one with arrays of integers does."""
    parts = key if isinstance(key, tuple) else (key,)
    arrays = [part for part in parts if getattr(part, "shape", ())]
    return any(not xp.isdtype(part.dtype, "bool") for part in arrays)


def one_index_per_axis(indices: Any, axis: int, shape: tuple[int, ...], xp: Any) -> tuple[Any, ...]:
    """A key of index arrays that broadcast: `indices` along `axis`, all there is along the others.

    The standard knows no slices beside arrays of integers.
    """
    ndim, device = len(shape), xp.device_of(indices)
    key = [
        xp.reshape(xp.arange(n, device=device), (*[1] * k, n, *[1] * (ndim - k - 1)))
        for k, n in enumerate(shape)
    ]
    key[axis] = indices
    return tuple(key)


def untake_forward(x: Any, indices: Any, *, axis: int | None, shape: tuple[int, ...], xp: Any) -> Any:
    """Zeros with `x` added where `take` reads it."""
    if axis is None:
        return xp.reshape(xp.scatter(x, key=(indices,), shape=(math.prod(shape),)), shape)
    if not -len(shape) <= axis < len(shape):
        raise IndexError(f"untake: shape {shape} has no axis {axis}")
    axis %= len(shape)
    if len(indices.shape) != 1:  # beyond the standard, where a library takes them
        return xp.scatter(x, key=(slice(None),) * axis + (indices, ...), shape=shape)
    indices = xp.reshape(indices, (-1, *[1] * (len(shape) - axis - 1)))
    return xp.scatter(x, key=one_index_per_axis(indices, axis, shape, xp), shape=shape)


def untake_along_axis_forward(x: Any, indices: Any, *, axis: int, shape: tuple[int, ...], xp: Any) -> Any:
    """Zeros with `x` added where `take_along_axis` reads it."""
    return xp.scatter(x, key=one_index_per_axis(indices, axis, shape, xp), shape=shape)


@dataclass(frozen=True, slots=True)
class Slot:
    """The place in an index of an array that is an argument of its own."""

    number: int

    def __repr__(self) -> str:
        return f"#{self.number}"


def filled(key: Any, arrays: Any) -> tuple[Any, tuple[Any, ...]]:
    """An index with the last of `arrays` in its slots, and those before them."""
    parts = key if isinstance(key, tuple) else (key,)
    first = len(arrays) - sum(isinstance(part, Slot) for part in parts)
    whole = tuple([arrays[first + part.number] if isinstance(part, Slot) else part for part in parts])
    return whole if isinstance(key, tuple) else whole[0], tuple(arrays[:first])


def indexed_forward(*arrays: Any, of: str, key: Any, shape: Any = None, xp: Any) -> Any:
    key, args = filled(key, arrays)
    return getattr(xp, of)(*args, key=key, **({} if shape is None else {"shape": shape}))


def indexed_vjp(g: Any, arrays: Any, of: str, key: Any, xp: Any) -> list[Any]:
    """By the transposes of the op that takes the index as a whole."""
    key, args = filled(key, arrays)
    op, known = TABLE[of], {"g": g, "key": key, "xp": xp, "x_like": args[0]}
    parts = [rule(**{name: known[name] for name in names_of(rule)}) for rule in op.pulls if callable(rule)]
    return parts + [None] * (len(arrays) - len(args))


def indexed_jvp(t: Any, arrays: Any, of: str, key: Any, shape: Any, xp: Any) -> Any:
    """Linear in what is not the index."""
    count = len(filled(key, arrays)[1])
    moved = [xp.zeros_like(x) if dx is None else dx for x, dx in zip(arrays[:count], t, strict=False)]
    return indexed_forward(*moved, *arrays[count:], of=of, key=key, shape=shape, xp=xp)


KEYS = (
    case((4, 3), key=(1, ...)),
    case((4, 3), key=(slice(None), -1)),
    case((4, 3), key=(slice(1, None, 2), None, Ellipsis)),
    case((4, 3), key=(slice(None, None, -1), ...)),
    case((4, 3), key=(..., slice(2, 2))),
    case((4,), key=-1),
    case((), key=()),
)

getitem = linear(
    "getitem",
    "(x, /, *, key)",
    lambda g, x_like, key, xp: xp.scatter(g, key=key, shape=tuple(x_like.shape)),
    forward=lambda x, *, key, xp: x[key],
    cases=KEYS,
    since="",
    batch="indexed",
    doc="The elements that an index selects.\n"
    "key: index; slices, integers, ``...``, None, and arrays of integers or booleans",
)
scatter = linear(
    "scatter",
    "(x, /, *, key, shape)",
    lambda g, key, xp: xp.getitem(g, key=key),
    forward=scatter_forward,
    cases=(case((3,), key=(1, ...), shape=(4, 3)), case((2, 3), key=(slice(1, None, 2), ...), shape=(4, 3))),
    since="",
    batch="indexed",
    doc="Zeros, with values added at an index: the transpose of `getitem`.\n"
    "key: index; where, repeated elements adding up",
)
index_add = linear(
    "index_add",
    "(x, value, /, *, key)",
    lambda g: g,
    lambda g, key, xp: xp.getitem(g, key=key),
    forward=index_add_forward,
    cases=(case((4, 3), (3,), key=(1, ...)), case((4, 3), (2, 3), key=(slice(1, None, 2), ...))),
    since="",
    batch="indexed",
    doc="A copy of an array with values added at an index.\n"
    "value: array or Python scalar; of the shape that `key` selects, or broadcast to it\n"
    "key: index; where, repeated elements adding up",
)
index_put = linear(
    "index_put",
    "(x, value, /, *, key)",
    lambda g, key, xp: xp.index_put(g, 0.0, key=key),
    index_put_transpose,
    forward=index_put_forward,
    cases=(
        case((4, 3), (3,), key=(1, ...)),
        case((4, 3), (), key=(slice(1, None, 2), ...)),
        case((4, 3), 0.5, key=(2, ...)),
    ),
    since="",
    batch="indexed",
    doc="A copy of an array with values put at an index.\n"
    "value: array or Python scalar; of the shape that `key` selects, or broadcast to it\n"
    "key: index; where",
)
indexed = primitive(
    "indexed",
    "(*arrays, of, key, shape=None)",
    (indexed_vjp,),
    (indexed_jvp,),
    forward=indexed_forward,
    starred=True,
    holomorphic=True,
    batch="gathered",
    cases=(
        case((4,), Filled((2, 3), 4), of="getitem", key=Slot(0)),
        case((4, 3), Filled((2,), 4), Filled((2,), 3), of="getitem", key=(Slot(0), Slot(1))),
        case((5,), Filled((5,), 3), of="scatter", key=(Slot(0),), shape=(3,)),
        case((3,), (5,), Filled((5,), 3), of="index_add", key=Slot(0)),
        case((3,), (5,), Filled((5,), 3), of="index_put", key=Slot(0)),
    ),
    since="",
    doc="An op that takes an index, with arrays of the index as arguments of their own.\n"
    "arrays: arrays; those of the op, then those of the index\n"
    "of: str; the name of the op: ``getitem``, ``scatter``, ``index_add`` or ``index_put``\n"
    "key: index; with a ``Slot`` in the place of each array\n"
    "shape: tuple of ints; of the result of ``scatter``\n"
    "The form in which graphs and batches hold an index that is computed.",
)
take = linear(
    "take",
    "(x, indices, /, *, axis=None)",
    lambda g, x_like, indices, axis, xp: xp.untake(g, indices, axis=axis, shape=tuple(x_like.shape)),
    None,
    cases=(
        case((2, 3), Filled((4,), 3), axis=1),
        case((3,), Filled((2,), 3)),
        case((3, 2), Filled((0,), 3), axis=-2),
        case((2, 3, 2), Filled((4,), 3), axis=-2),
    ),
    since="2022.12",
    batch="taken",
    doc="The elements at indices along an axis.\n"
    "indices: array; integers, of one axis; from the end where they are negative\n"
    "axis: int; the axis, which may be left out if it is the only one\n"
    "Gradients of an element that is taken several times add up.",
)
take_along_axis = linear(
    "take_along_axis",
    "(x, indices, /, *, axis=-1)",
    lambda g, x_like, indices, axis, xp: xp.untake_along_axis(
        g, indices, axis=axis, shape=tuple(x_like.shape)
    ),
    None,
    cases=(
        case((2, 3), Filled((2, 4), 3)),
        case((3, 2), Filled((1, 2), 3), axis=0),
        case((2, 3, 2), Filled((2, 4, 1), 3), axis=-2),
    ),
    since="2024.12",
    batch="beside",
    doc="Along an axis the elements at indices of their own for each place on the other axes.\n"
    "indices: array; integers, of as many axes as `x`, broadcast with it along all but `axis`\n"
    "Gradients of an element that is taken several times add up.",
)
untake = linear(
    "untake",
    "(x, indices, /, *, axis, shape)",
    lambda g, indices, axis, xp: xp.take(g, indices, axis=axis),
    None,
    forward=untake_forward,
    cases=(
        case((2, 4), Filled((4,), 3), axis=1, shape=(2, 3)),
        case((4,), Filled((4,), 3), axis=None, shape=(3,)),
    ),
    since="",
    batch="untaken",
    doc="Zeros, with values added where `take` reads them: its transpose.\n"
    "indices: array; integers\n"
    "axis: int or None; as of `take`",
)
untake_along_axis = linear(
    "untake_along_axis",
    "(x, indices, /, *, axis, shape)",
    lambda g, indices, axis, xp: xp.take_along_axis(g, indices, axis=axis),
    None,
    forward=untake_along_axis_forward,
    cases=(
        case((2, 4), Filled((2, 4), 3), axis=-1, shape=(2, 3)),
        case((3, 2), Filled((3, 1), 2), axis=0, shape=(2, 2)),
    ),
    since="",
    batch="beside",
    doc="Zeros, with values added where `take_along_axis` reads them: its transpose.\n"
    "indices: array; integers",
)
