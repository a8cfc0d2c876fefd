"""Indexing and functional assignment; the transpose of reading is adding."""

from typing import Any

from portagrad.op import case, linear


def scatter_forward(x: Any, *, key: Any, shape: tuple[int, ...], xp: Any) -> Any:
    """Zeros with `x` added at `key`."""
    zeros = xp.zeros(shape, dtype=x.dtype, device=xp.backend.device_of(x))
    return xp.index_add(zeros, x, key=key)


def index_add_forward(x: Any, value: Any, *, key: Any, xp: Any) -> Any:
    """Portable: exact for keys without repeated elements, which slices and integers never have."""
    out = xp.asarray(x, copy=True)
    out[key] = out[key] + value
    return out


def index_put_forward(x: Any, value: Any, *, key: Any, xp: Any) -> Any:
    out = xp.asarray(x, copy=True)
    out[key] = value
    return out


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
    doc="A copy of an array with values added at an index.\n"
    "value: array or Python scalar; of the shape that `key` selects, or broadcast to it\n"
    "key: index; where, repeated elements adding up",
)
index_put = linear(
    "index_put",
    "(x, value, /, *, key)",
    lambda g, key, xp: xp.index_put(g, 0.0, key=key),
    lambda g, key, xp: xp.getitem(g, key=key),
    forward=index_put_forward,
    cases=(
        case((4, 3), (3,), key=(1, ...)),
        case((4, 3), (), key=(slice(1, None, 2), ...)),
        case((4, 3), 0.5, key=(2, ...)),
    ),
    since="",
    doc="A copy of an array with values put at an index.\n"
    "value: array or Python scalar; of the shape that `key` selects, or broadcast to it\n"
    "key: index; where",
)
