"""Sets: which values there are, each differentiated as the element where it comes first."""

import math
from typing import Any, NamedTuple

from portagrad.op import case, composite, constant, primitive


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


def unique_vjp(g: Any, x_like: Any, indices: Any, xp: Any) -> Any:
    """Back to the elements that the values were read at."""
    shape = tuple(x_like.shape)
    return xp.reshape(xp.untake(g[0], indices, axis=0, shape=(math.prod(shape),)), shape)


def unique_jvp(t: Any, indices: Any, xp: Any) -> tuple[Any, ...]:
    return xp.take(xp.reshape(t, (-1,)), indices, axis=0), None, None, None


def unique_counts_forward(x: Any, *, xp: Any) -> UniqueCountsResult:
    found = xp.unique_all(x)
    return UniqueCountsResult(found.values, found.counts)


def unique_inverse_forward(x: Any, *, xp: Any) -> UniqueInverseResult:
    found = xp.unique_all(x)
    return UniqueInverseResult(found.values, found.inverse_indices)


PICKED = "The derivative of each is that of the element; of equal ones, of the first."
DIFFERENT = (case((2, 3)), case((6,)), case(()), case((0,)))

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
    (unique_vjp,),
    (unique_jvp,),
    ragged=True,
    outputs=UniqueAllResult._fields,
    result=UniqueAllResult,
    holomorphic=True,
    cases=DIFFERENT,
    dtypes="floating",
    doc="The different elements, where each comes first, which each element is, and how often each occurs.\n"
    "returns: named tuple of arrays; ``values``, ``indices``, ``inverse_indices``, ``counts``\n" + PICKED,
)
unique_counts = composite(
    "unique_counts",
    "(x, /)",
    unique_counts_forward,
    ragged=True,
    outputs=UniqueCountsResult._fields,
    result=UniqueCountsResult,
    cases=DIFFERENT,
    dtypes="floating",
    doc="The different elements, and how often each occurs.\n"
    "returns: named tuple of arrays; ``values``, ``counts``\n" + PICKED,
)
unique_inverse = composite(
    "unique_inverse",
    "(x, /)",
    unique_inverse_forward,
    ragged=True,
    outputs=UniqueInverseResult._fields,
    result=UniqueInverseResult,
    cases=DIFFERENT,
    dtypes="floating",
    doc="The different elements, and which of them each element is.\n"
    "returns: named tuple of arrays; ``values``, ``inverse_indices``\n" + PICKED,
)
unique_values = composite(
    "unique_values",
    "(x, /)",
    lambda x, *, xp: xp.unique_all(x).values,
    ragged=True,
    cases=DIFFERENT,
    dtypes="floating",
    doc="The different elements.\nreturns: array; of one axis\n" + PICKED,
)
