"""What a group reads and stores, and how its threads step through that memory."""

from __future__ import annotations

import math
from typing import Any

from portagrad.compile.grouping import Group
from portagrad.compile.views import Layouts, collapsed
from portagrad_cupy.expressions import JOINS, ctype, reduction, starts
from portagrad_cupy.indices import Operand


class Accesses:
    """The operands of a group.

    Parameters
    ----------
    slot : callable
        ``slot(root)`` tells which memory a root lies in.
    kept : set
        Which results are stored, because something outside of the group reads them.
    """

    def __init__(self, group: Group, layouts: Layouts, slot: Any, kept: set[Any]) -> None:
        self.group, self.layouts, self.slot, self.kept = group, layouts, slot, kept
        self.slots: dict[Any, str] = {}  # memories in the order of their use: equal groups are written alike
        self.types: list[str] = []
        self.stored: set[str] = set()
        self.made = {out: eq for eq in group.eqs for out in eq.outs}
        self.phase = self.phases()
        self.loads: dict[Any, Operand] = {}
        self.stores: dict[Any, Operand] = {}
        self.operands()
        self.rows, self.length = group.sizes()
        cut = group.split if group.kind == "columns" else len(group.shape) - group.split
        every = [*self.loads.values(), *self.stores.values()]
        self.outer = collapsed(group.shape[:cut], [o.strides[:cut] for o in every])
        self.inner = collapsed(group.shape[cut:], [o.strides[cut:] for o in every])
        for i, o in enumerate(every):
            o.outer, o.inner = self.outer[1][i], self.inner[1][i]
        self.reach = max(math.prod(group.shape), *[o.reach(group.shape) for o in every])

    def memory(self, root: Any) -> str:
        where = self.slot(root)
        if where not in self.slots:
            self.slots[where] = f"m{len(self.slots)}"
            self.types.append(ctype(root.dtype))
        return self.slots[where]

    def by_row(self, eq: Any) -> bool:
        return reduction(eq) is None and self.group.of_rows(eq)

    def phases(self) -> dict[Any, int]:
        """For each value how many reductions come one after the other before it is known."""
        found: dict[Any, int] = {}
        for eq in self.group.eqs:
            needed = max((found.get(self.layouts.root[a], 0) for a in eq.variables()), default=0)
            found.update(dict.fromkeys(eq.outs, needed + (reduction(eq) is not None)))
        return found

    def operands(self) -> None:
        shape = self.group.shape
        for eq in self.group.eqs:
            over = tuple(eq.outs[0].shape) if self.by_row(eq) else shape
            if eq.op.name in JOINS:
                for i, (a, begin) in enumerate(zip(eq.args, starts(eq), strict=True)):
                    self.loads[eq, i] = self.piece(a, begin, eq)
                continue
            for a in eq.variables():
                root = self.layouts.root[a]
                if root not in self.made:
                    key = (a, over)
                    if key not in self.loads:
                        self.loads[key] = self.operand(a, over)
        for out, eq in self.made.items():
            if out in self.kept:
                self.stores[out] = self.result(out, eq)
                self.stored.add(self.stores[out].memory)

    def operand(self, v: Any, over: tuple[int, ...]) -> Operand:
        offset, strides = self.layouts.over(v, over)
        rank = len(self.group.shape)
        full = [*strides[:rank], *(0,) * (rank - len(strides))]  # a row's value may lack the last axes
        return Operand(self.memory(self.layouts.root[v]), offset, tuple(full))

    def piece(self, v: Any, begin: int, eq: Any) -> Operand:
        """What is joined from `begin` on: where the result's first element would be if it were part of it."""
        offset, strides = self.layouts.steps(v)
        full, axis = list(strides), eq.params["axis"] % len(eq.outs[0].shape)
        if eq.op.name == "stack":
            full.insert(axis, 0)
        return Operand(self.memory(self.layouts.root[v]), offset - begin * full[axis], tuple(full))

    def result(self, out: Any, eq: Any) -> Operand:
        """Results are in C order over the axes that are left."""
        group, rank = self.group, len(self.group.shape)
        if reduction(eq) is None and not self.by_row(eq):
            kept = range(rank)
        elif group.kind == "rows":
            kept = range(rank - group.split)
        else:
            kept = range(group.split, rank)
        strides, step = [0] * rank, 1
        for a in reversed(kept):
            strides[a] = 0 if group.shape[a] == 1 else step
            step *= group.shape[a]
        return Operand(self.memory(out), 0, tuple(strides))
