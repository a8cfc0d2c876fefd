"""Functions that move elements about: all linear, their transposes move them back."""

import math
from typing import Any

from portagrad.op import case, composite, linear


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape to which arrays of these shapes broadcast.

    Parameters
    ----------
    *shapes : tuples of int

    Raises
    ------
    ValueError
        If they do not broadcast; the message says which axis.

    Examples
    --------
    >>> broadcast_shapes((3, 1), (1, 4), ())
    (3, 4)
    """
    out: list[int] = []
    for i in range(-max(map(len, shapes), default=0), 0):
        lengths = {shape[i] for shape in shapes if len(shape) >= -i}
        longer = lengths - {1}
        if len(longer) > 1:
            raise ValueError(
                f"broadcast_shapes: shapes {', '.join(map(str, shapes))} do not broadcast: "
                f"axis {i} has {sorted(longer)}"
            )
        out.append(longer.pop() if longer else 1)
    return tuple(out)


def ravel(x: Any, xp: Any) -> Any:
    return xp.reshape(x, (-1,))


def inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes ``permute_dims(x, axes)``."""
    axes = tuple(a % len(axes) for a in axes)
    return tuple(axes.index(i) for i in range(len(axes)))


def concat_transpose(g: Any, arrays_like: Any, axis: Any, xp: Any) -> list[Any]:
    """To each array its stretch of the cotangent."""
    if axis is None:
        ends = [math.prod(a.shape) for a in arrays_like]
        parts = cut(g, ends, 0)
        return [xp.reshape(part, tuple(a.shape)) for part, a in zip(parts, arrays_like, strict=True)]
    axis %= len(g.shape)
    return cut(g, [a.shape[axis] for a in arrays_like], axis)


def cut(g: Any, lengths: list[int], axis: int) -> list[Any]:
    """Consecutive stretches of an axis."""
    parts, start = [], 0
    for n in lengths:
        parts.append(g[(slice(None),) * axis + (slice(start, start + n), ...)])
        start += n
    return parts


def repeat_transpose(g: Any, x_like: Any, repeats: Any, axis: Any, xp: Any) -> Any:
    """The copies of an element, added up."""
    axis_ = 0 if axis is None else axis % len(x_like.shape)
    n = math.prod(x_like.shape) if axis is None else x_like.shape[axis_]
    if not getattr(repeats, "shape", ()):
        shape, repeats = tuple(g.shape), int(repeats)
        split = xp.reshape(g, (*shape[:axis_], n, repeats, *shape[axis_ + 1 :]))
        out = xp.sum(split, axis=axis_ + 1)
    else:
        counts = [int(repeats[i % len(repeats)]) for i in range(n)]
        out = xp.stack([xp.sum(part, axis=axis_) for part in cut(g, counts, axis_)], axis=axis_)
    return xp.reshape(out, tuple(x_like.shape))


def tile_transpose(g: Any, x_like: Any, repetitions: Any, xp: Any) -> Any:
    """The copies of the array, added up."""
    ndim = max(len(x_like.shape), len(repetitions))
    shape = (1,) * (ndim - len(x_like.shape)) + tuple(x_like.shape)
    counts = (1,) * (ndim - len(repetitions)) + tuple(repetitions)
    split = xp.reshape(g, tuple(n for pair in zip(counts, shape, strict=True) for n in pair))
    return xp.reshape(xp.sum(split, axis=tuple(range(0, 2 * ndim, 2))), tuple(x_like.shape))


def roll_transpose(g: Any, shift: Any, axis: Any, xp: Any) -> Any:
    return xp.roll(g, tuple(-s for s in shift) if isinstance(shift, tuple | list) else -shift, axis=axis)


def meshgrid_forward(*arrays: Any, indexing: str, xp: Any) -> tuple[Any, ...]:
    """Each array along its own axis, broadcast against the others."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing is {indexing!r}; it must be 'xy' or 'ij'")
    axes = list(range(len(arrays)))
    if indexing == "xy" and len(axes) > 1:
        axes[:2] = 1, 0
    shape = [1] * len(arrays)
    for axis, a in zip(axes, arrays, strict=True):
        shape[axis] = math.prod(a.shape)
    return tuple(
        xp.broadcast_to(xp.reshape(a, tuple(-1 if i == axis else 1 for i in range(len(axes)))), tuple(shape))
        for axis, a in zip(axes, arrays, strict=True)
    )


def broadcast_arrays_forward(*arrays: Any, xp: Any) -> tuple[Any, ...]:
    shape = broadcast_shapes(*[tuple(a.shape) for a in arrays])
    return tuple([xp.broadcast_to(a, shape) for a in arrays])


broadcast_arrays = composite(
    "broadcast_arrays",
    "(*arrays)",
    broadcast_arrays_forward,
    starred=True,
    cases=(case((2, 1), (3,)), case((), (2,)), case((2, 3))),
    doc="Arrays broadcast against each other.\nreturns: tuple of arrays; all of the one shape",
)
broadcast_to = linear(  # the engine sums over broadcast axes wherever they come from
    "broadcast_to",
    "(x, /, shape)",
    lambda g: g,
    cases=(case((3, 1), shape=(2, 3, 4)), case((), shape=(2,))),
    batch="shaped",
    doc="An array repeated along new axes and axes of length 1.",
)
concat = linear(
    "concat",
    "(arrays, /, *, axis=0)",
    concat_transpose,
    starred=True,
    cases=(
        case((2, 3), (1, 3)),
        case((2, 3), (2, 1), (2, 2), axis=-1),
        case((2, 2), (3,), axis=None),
        case((0, 2), (2, 2)),
    ),
    batch="joined",
    doc="Arrays put together along an axis.\n"
    "arrays: sequence of arrays; of one shape but for that axis\n"
    "axis: int or None; the axis, None to flatten the arrays first",
)
expand_dims = linear(
    "expand_dims",
    "(x, /, axis)",
    lambda g, x_like, xp: xp.reshape(g, tuple(x_like.shape)),
    cases=(case((2, 3), axis=1), case((2,), axis=-1), case((2, 3), axis=(0, 2))),
    batch="permuted",
    doc="New axes of length 1.\naxis: int or tuple of int; where they will be in the result",
)
flip = linear(
    "flip",
    "(x, /, *, axis=None)",
    lambda g, axis, xp: xp.flip(g, axis=axis),
    cases=(case((2, 3)), case((2, 3), axis=1), case((2, 3, 2), axis=(0, -1))),
    batch="flattened",
    doc="Elements in reverse order along axes.",
)
meshgrid = composite(
    "meshgrid",
    '(*arrays, indexing="xy")',
    meshgrid_forward,
    starred=True,
    cases=(case((2,), (3,)), case((2,), (3,), (2,), indexing="ij"), case((2,))),
    doc="Coordinates of a grid from those along its axes.\n"
    "arrays: one-dimensional arrays\n"
    'indexing: str; ``"ij"`` for axes in the order of `arrays`, ``"xy"`` for the first two exchanged\n'
    "returns: tuple of arrays; as many as there are `arrays`, all of the grid's shape",
)
moveaxis = linear(
    "moveaxis",
    "(x, source, destination, /)",
    lambda g, source, destination, xp: xp.moveaxis(g, destination, source),
    cases=(case((2, 3, 4), source=0, destination=-1), case((2, 3, 4), source=(0, 1), destination=(2, 0))),
    since="2023.12",
    batch="permuted",
    doc="Axes moved to other places, the rest kept in order.\n"
    "source: int or tuple of int; the axes to move\n"
    "destination: int or tuple of int; where each goes",
)
permute_dims = linear(
    "permute_dims",
    "(x, /, axes)",
    lambda g, axes, xp: xp.permute_dims(g, inverse(axes)),
    cases=(case((2, 3, 4), axes=(2, 0, 1)), case((2, 3), axes=(-1, 0)), case((), axes=())),
    batch="permuted",
    doc="Axes in another order.\naxes: tuple of int; the axes of `x`, as the result has them",
)
repeat = linear(
    "repeat",
    "(x, repeats, /, *, axis=None)",
    repeat_transpose,
    fixed={"repeats": "the shape of the result depends on it: the same for all"},
    cases=(case((2, 3), repeats=2), case((2, 3), repeats=3, axis=1), case((4,), repeats=0, axis=0)),
    since="2023.12",
    batch="flattened",
    doc="Each element several times in a row.\n"
    "repeats: int or array of int; how often, for all elements or each along `axis`\n"
    "axis: int; the axis, by default the flattened array's",
)
reshape = linear(
    "reshape",
    "(x, /, shape, *, copy=None)",
    lambda g, x_like, xp: xp.reshape(g, tuple(x_like.shape)),
    cases=(
        case((2, 3), shape=(3, 2)),
        case((2, 3), shape=(-1,)),
        case((1,), shape=()),
        case((0, 2), shape=(2, 0)),
    ),
    batch="shaped",
    doc="The same elements in another shape.\n"
    "shape: tuple of int; of the result, at most one -1 for what follows from the size",
)
roll = linear(
    "roll",
    "(x, /, shift, *, axis=None)",
    roll_transpose,
    cases=(case((5,), shift=2), case((2, 3), shift=-1, axis=1), case((2, 3), shift=(1, 2), axis=(0, 1))),
    batch="flattened",
    doc="Elements shifted along axes; what leaves at the end comes in at the start.\n"
    "shift: int or tuple of int; by how many places, for each of `axis`\n"
    "axis: int or tuple of int; the axes, by default the flattened array's",
)
squeeze = linear(
    "squeeze",
    "(x, /, axis)",
    lambda g, x_like, xp: xp.reshape(g, tuple(x_like.shape)),
    cases=(case((2, 1, 3), axis=1), case((1, 2, 1), axis=(0, -1))),
    batch="permuted",
    doc="Axes of length 1 taken out.",
)
stack = linear(
    "stack",
    "(arrays, /, *, axis=0)",
    lambda g, axis, xp: list(xp.unstack(g, axis=axis)),
    starred=True,
    cases=(case((2, 3), (2, 3)), case((2,), (2,), (2,), axis=-1), case((), ())),
    batch="joined",
    doc="Arrays put together along a new axis.\n"
    "arrays: sequence of arrays; all of one shape\n"
    "axis: int; where the new axis will be",
)
tile = linear(
    "tile",
    "(x, repetitions, /)",
    tile_transpose,
    cases=(
        case((2, 3), repetitions=(2, 2)),
        case((2,), repetitions=(2, 1, 3)),
        case((2, 3), repetitions=(2,)),
    ),
    since="2023.12",
    batch="shaped",
    doc="An array repeated as a whole along axes.\n"
    "repetitions: tuple of int; how often along each, the last for the last",
)
unstack = linear(
    "unstack",
    "(x, /, *, axis=0)",
    lambda g, axis, xp: xp.stack(list(g), axis=axis),
    outputs=("*parts",),
    result=lambda *parts: parts,
    cases=(case((2, 3)), case((2, 3), axis=1), case((3,), axis=-1)),
    since="2023.12",
    batch="along",
    doc="The parts of an array along an axis, which is taken out.\nreturns: tuple of arrays",
)
