"""Sets: which values there are; each of them is one of the elements, and has its derivative."""

from typing import Any, NamedTuple

from portagrad.op import case, constant, primitive


class UniqueAllResult(NamedTuple):
    """What `unique_all` returns."""

    values: Any
    indices: Any
    inverse_indices: Any
    counts: Any


class UniqueCountsResult(NamedTuple):
    """What `unique_counts` returns."""

    values: Any
    counts: Any


class UniqueInverseResult(NamedTuple):
    """What `unique_inverse` returns."""

    values: Any
    inverse_indices: Any


def first(x: Any, values: Any, xp: Any) -> Any:
    """Where in `x`, as one axis, each of its different elements comes first."""
    x = xp.reshape(x, (-1,))
    if xp.isdtype(x.dtype, "complex floating"):  # which have no order
        return xp.argmax(xp.astype(x[None, :] == values[:, None], xp.int8), axis=1)
    order = xp.argsort(x, stable=True)
    return xp.take(order, xp.searchsorted(xp.take(x, order), values))


def values_vjp(g: Any, x: Any, y: Any, xp: Any) -> Any:
    """Back to the first of the elements that are equal."""
    return xp.untake(g, first(x, y, xp), axis=None, shape=tuple(x.shape))


def values_jvp(t: Any, x: Any, y: Any, xp: Any) -> Any:
    return xp.take(xp.reshape(t, (-1,)), first(x, y, xp))


def all_vjp(g: Any, x_like: Any, indices: Any, xp: Any) -> Any:
    return xp.untake(g[0], indices, axis=None, shape=tuple(x_like.shape))


def all_jvp(t: Any, indices: Any, xp: Any) -> Any:
    return xp.take(xp.reshape(t, (-1,)), indices), None, None, None


def pair_vjp(g: Any, x: Any, values: Any, xp: Any) -> Any:
    return values_vjp(g[0], x, values, xp)


def pair_jvp(t: Any, x: Any, values: Any, xp: Any) -> Any:
    return values_jvp(t, x, values, xp), None


PICKED = "The derivative of each is that of the element; of equal ones, of the first."

isin = constant(
    "isin",
    "(x1, x2, /, *, invert=False)",
    arrays=2,
    cases=(case((2, 3), (2,)), case((4,), 2), case((2, 3), (2, 2), invert=True)),
    dtypes="integer",
    since="2025.12",
    batch="member",
    doc="Whether each element of an array is among those of another.\n"
    "x1: array or Python scalar; what is looked for\n"
    "x2: array or Python scalar; where\n"
    "invert: bool; whether to tell which are not there",
)
unique_all = primitive(
    "unique_all",
    "(x, /)",
    (all_vjp,),
    (all_jvp,),
    ragged=True,
    outputs=UniqueAllResult._fields,
    result=UniqueAllResult,
    cases=(case((2, 3)), case((6,))),
    dtypes="floating",
    doc="The different elements, where each comes first, which each element is, and how often each occurs.\n"
    "returns: named tuple of arrays; ``values``, ``indices``, ``inverse_indices``, ``counts``\n" + PICKED,
)
unique_counts = primitive(
    "unique_counts",
    "(x, /)",
    (pair_vjp,),
    (pair_jvp,),
    ragged=True,
    outputs=UniqueCountsResult._fields,
    result=UniqueCountsResult,
    cases=(case((2, 3)), case((6,))),
    dtypes="floating",
    doc="The different elements, and how often each occurs.\n"
    "returns: named tuple of arrays; ``values``, ``counts``\n" + PICKED,
)
unique_inverse = primitive(
    "unique_inverse",
    "(x, /)",
    (pair_vjp,),
    (pair_jvp,),
    ragged=True,
    outputs=UniqueInverseResult._fields,
    result=UniqueInverseResult,
    cases=(case((2, 3)), case((6,))),
    dtypes="floating",
    doc="The different elements, and which of them each element is.\n"
    "returns: named tuple of arrays; ``values``, ``inverse_indices``\n" + PICKED,
)
unique_values = primitive(
    "unique_values",
    "(x, /)",
    (values_vjp,),
    (values_jvp,),
    ragged=True,
    cases=(case((2, 3)), case((6,))),
    dtypes="floating",
    doc="The different elements.\nreturns: array; of one axis\n" + PICKED,
)
