"""Sets: which values there are. How many is decided by the values, so none of it has a derivative."""

from typing import Any, NamedTuple

from portagrad.op import case, constant


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
unique_all = constant(
    "unique_all",
    "(x, /)",
    ragged=True,
    outputs=UniqueAllResult._fields,
    result=UniqueAllResult,
    cases=(case((2, 3)), case((6,))),
    dtypes="integer",
    doc="The different elements, where each comes first, which each element is, and how often each occurs.\n"
    "returns: named tuple of arrays; ``values``, ``indices``, ``inverse_indices``, ``counts``",
)
unique_counts = constant(
    "unique_counts",
    "(x, /)",
    ragged=True,
    outputs=UniqueCountsResult._fields,
    result=UniqueCountsResult,
    cases=(case((2, 3)), case((6,))),
    dtypes="integer",
    doc="The different elements, and how often each occurs.\n"
    "returns: named tuple of arrays; ``values``, ``counts``",
)
unique_inverse = constant(
    "unique_inverse",
    "(x, /)",
    ragged=True,
    outputs=UniqueInverseResult._fields,
    result=UniqueInverseResult,
    cases=(case((2, 3)), case((6,))),
    dtypes="integer",
    doc="The different elements, and which of them each element is.\n"
    "returns: named tuple of arrays; ``values``, ``inverse_indices``",
)
unique_values = constant(
    "unique_values",
    "(x, /)",
    ragged=True,
    cases=(case((2, 3)), case((6,))),
    dtypes="integer",
    doc="The different elements.\nreturns: array; of one axis",
)
