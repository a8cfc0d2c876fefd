"""Which equations become one kernel."""

from __future__ import annotations

import math
from typing import Any

from portagrad.compile.grouping import Rules, Space, reduced, row_shapes
from portagrad_cupy.expressions import JOINS, expression, reduction

EQUATIONS = 160
"""How many equations one group may have: more would not fit a thread's registers."""
LONG = 4096
"""How many times longer than there are rows a row may be, which one block adds up: longer ones are left to
CuPy, and what is computed of their elements keeps the whole device busy."""
READS = 40
"""How many arrays one group may read."""


def _space(eq: Any) -> Space | None:
    """Of an equation on its own what its kernel runs over."""
    shape = tuple(eq.outs[0].shape)
    if math.prod(shape) and expression(eq) is not None:
        return "flat", shape, 0
    if reduction(eq) is None:
        return None
    shape = tuple(eq.args[0].shape)
    rank = len(shape)
    long = [a for a in range(rank) if shape[a] != 1]
    axes = reduced(eq).intersection(long)
    if axes == frozenset(long[: len(axes)]):  # the first ones, or all
        kept = [a for a in long if a not in axes]
        return "columns", shape, min(kept, default=rank)
    if axes == frozenset(long[len(long) - len(axes) :]):
        rows, length = math.prod(shape[: min(axes)]), math.prod(shape[min(axes) :])
        return ("rows", shape, rank - min(axes)) if length <= LONG * rows else None
    return None


def _together(a: Space, b: Space) -> Space | None:
    """What a kernel runs over that does what both do."""
    for one, other in ((a, b), (b, a)):
        if one == other:
            return one
        if other[0] != "flat" or one[0] == "flat":
            continue
        if other[1] == one[1] or (one[0] == "rows" and other[1] in row_shapes(one)):
            return one
    return None


RULES = Rules(
    space=_space,
    together=_together,
    reduces=lambda eq: reduction(eq) is not None,
    gathers=lambda eq: eq.op.name in JOINS,
    equations=EQUATIONS,
    reads=READS,
)
