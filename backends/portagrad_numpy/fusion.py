"""Which equations a loop takes, and what each does to an element."""

from __future__ import annotations

import copy
import math
from typing import Any

from portagrad.compile.grouping import Group, reduced

# What numba writes for an op, in its arguments' places.
_FLOATS = {
    "reciprocal": "1 / {0}",
    "sqrt": "math.sqrt({0})",
    "floor": "numpy.floor({0})",
    "ceil": "numpy.ceil({0})",
    "divide": "{0} / {1}",
    "isnan": "{0} != {0}",
}
_NUMBERS = {
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "negative": "-{0}",
    "positive": "{0}",
    "square": "{0} * {0}",
    "abs": "abs({0})",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "maximum": "({0} if ({0} > {1} or {0} != {0}) else {1})",
    "minimum": "({0} if ({0} < {1} or {0} != {0}) else {1})",
    "gate": "({0} if {1} > 0 else {0} * 0)",
    "astype": "{0}",
}
_INTEGERS = {
    "bitwise_and": "{0} & {1}",
    "bitwise_or": "{0} | {1}",
    "bitwise_xor": "{0} ^ {1}",
    "bitwise_left_shift": "{0} << {1}",
    "bitwise_right_shift": "{0} >> {1}",
}
_ANY = {
    "where": "({1} if {0} else {2})",
    "logical_and": "bool({0}) and bool({1})",
    "logical_or": "bool({0}) or bool({1})",
    "logical_not": "not {0}",
}
_SLOW = {
    name: f"math.{name}({{0}})"
    for name in ("exp", "expm1", "log", "log1p", "sin", "cos", "tan", "tanh", "sinh", "cosh")
} | {"pow": "{0} ** {1}"}
REDUCTIONS = {
    "sum": ("0", "{0} + {1}"),
    "mean": ("0", "{0} + {1}"),
    "max": ("-numpy.inf", "({1} if ({1} > {0} or {1} != {1}) else {0})"),
    "min": ("numpy.inf", "({1} if ({1} < {0} or {1} != {1}) else {0})"),
}
EXPRESSIONS = {**_FLOATS, **_NUMBERS, **_INTEGERS, **_ANY, **_SLOW}
SMALL = 512
"""Up to how many elements a transcendental function is worth a place in a loop: numba calls the C library for
each, NumPy computes several at once."""


def takes(eq: Any) -> bool:
    """Whether an equation can be part of a loop."""
    if len(eq.outs) != 1:
        return False
    name, out = eq.op.name, eq.outs[0]
    arrays = [a for a in eq.args if hasattr(a, "dtype")]
    size = math.prod(out.shape)
    if not arrays or not size or any(a is None or isinstance(a, complex) for a in eq.args):
        return False
    kinds = {a.dtype.kind + str(a.dtype.itemsize) for a in (*arrays, out)}
    if not kinds <= {"f4", "f8", "i4", "i8", "b1"}:
        return False
    if name in REDUCTIONS:
        return _reducible(eq, arrays[0])
    if name == "astype" and out.dtype.kind != "f" and arrays[0].dtype.kind == "f":
        return False  # what is out of range is the processor's affair
    floating = all(a.dtype.kind == "f" for a in arrays)
    if name in _FLOATS:
        return floating
    if name in _NUMBERS:
        return name == "astype" or all(a.dtype.kind != "b" for a in arrays)
    if name in _INTEGERS:
        return all(a.dtype.kind == "i" for a in (*arrays, out))
    if name in _SLOW:
        return floating and size <= SMALL
    return name in _ANY


def _reducible(eq: Any, x: Any) -> bool:
    """Whether the axes are the first or the last ones, and the sum of floating numbers."""
    if x.dtype != eq.outs[0].dtype or x.dtype.kind != "f" or not math.prod(x.shape):
        return False
    axes, rank = reduced(eq), len(x.shape)
    count = len(axes)
    return axes in (frozenset(range(count)), frozenset(range(rank - count, rank)))


def is_sum(eq: Any) -> bool:
    """Whether an equation is a reduction, be it over no axes at all."""
    return eq.op.name in REDUCTIONS


def space(eq: Any) -> tuple[int, ...]:
    """The shape that a loop for an equation runs over."""
    return tuple(eq.args[0].shape) if eq.op.name in REDUCTIONS else tuple(eq.outs[0].shape)


class Nest:
    """A group as loops write it.

    `sums` are the results of reductions. `blocked` tells whether some equations are calls of NumPy's, so that
    the loop is one over blocks of elements.
    """

    def __init__(self, group: Group) -> None:
        self.shape = group.shape
        self.eqs = list(group.eqs)
        self.made = dict.fromkeys(group.made())  # in order, so that equal loops are written alike
        self.sums = dict.fromkeys(eq.outs[0] for eq in group.eqs if is_sum(eq))
        self.blocked = group.kind == "blocks"

    def part(self, eqs: list[Any]) -> Nest:
        """Some of the equations as a nest of their own."""
        made = copy.copy(self)
        made.eqs = [eq for eq in self.eqs if eq in eqs]
        made.made = dict.fromkeys(out for eq in made.eqs for out in eq.outs)
        made.sums = dict.fromkeys(v for v in made.made if v in self.sums)
        return made
