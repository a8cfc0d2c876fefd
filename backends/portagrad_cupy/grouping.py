"""Which equations become one kernel, and in which order kernels and calls run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from portagrad.compile.views import Layouts
from portagrad_cupy.expressions import JOINS, expression, reduction

EQUATIONS = 160
"""How many equations one group may have: more would not fit a thread's registers."""
LONG = 4096
"""How many times longer than there are rows a row may be, which one block adds up: longer ones are left to
CuPy, and what is computed of their elements keeps the whole device busy."""
READS = 40
"""How many arrays one group may read."""


class Group:
    """Equations that run together.

    Attributes
    ----------
    kind : str
        ``"flat"``: one thread for each element of `shape`. ``"rows"``: reductions over the last `split` axes,
        and what is computed of them, a row at a time. ``"columns"``: reductions over the first `split` axes.
        ``"call"``: one equation that the library runs.
    shape : tuple of int
        What is iterated over.
    eqs : list
        In the graph's order.
    reads : set
        Roots that it reads and does not make.
    needs : set of Group
        Groups whose results it reads.
    """

    def __init__(self, kind: str, shape: tuple[int, ...], split: int, eq: Any, place: int) -> None:
        self.kind, self.shape, self.split = kind, shape, split
        self.eqs = [eq]
        self.places = [place]
        self.needs: set[Group] = set()
        self.reads: set[Any] = set()

    def __str__(self) -> str:
        """Its ops and where they were called, for whoever looks for an error in generated source."""
        ops = ", ".join(dict.fromkeys(eq.op.name for eq in self.eqs))
        lines = ", ".join(dict.fromkeys(eq.line for eq in self.eqs if eq.line))
        return f"{self.kind} {list(self.shape)}: {ops}{f' at {lines}' if lines else ''}"

    def made(self) -> Iterator[Any]:
        return (out for eq in self.eqs for out in eq.outs)

    def sizes(self) -> tuple[int, int]:
        """How many rows there are and how long they are; of other kinds the axes before and after `split`."""
        cut = self.split if self.kind == "columns" else len(self.shape) - self.split
        return math.prod(self.shape[:cut]), math.prod(self.shape[cut:])

    def row_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes that a value for each row may have."""
        outer = self.shape[: len(self.shape) - self.split]
        return outer, outer + (1,) * self.split

    def of_rows(self, eq: Any) -> bool:
        """Whether an equation, which is no reduction, has one value for each row."""
        return self.kind == "rows" and tuple(eq.outs[0].shape) != self.shape


def reduced(eq: Any) -> frozenset[int]:
    """The axes, longer than one, that a reduction is over."""
    x, axis = eq.args[0], eq.params.get("axis")
    rank = len(x.shape)
    axes = range(rank) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return frozenset(a % rank for a in axes if x.shape[a % rank] != 1)


def _kind(eq: Any) -> tuple[str, tuple[int, ...], int]:
    """Of an equation on its own: kind, shape and split of its group."""
    shape = tuple(eq.outs[0].shape)
    if math.prod(shape) and expression(eq) is not None:
        return "flat", shape, 0
    if reduction(eq) is None:
        return "call", (), 0
    shape = tuple(eq.args[0].shape)
    rank, axes = len(shape), reduced(eq)
    long = [a for a in range(rank) if shape[a] != 1]
    if axes == frozenset(long[: len(axes)]):  # the first ones, or all
        kept = [a for a in long if a not in axes]
        return "columns", shape, min(kept, default=rank)
    if axes == frozenset(long[len(long) - len(axes) :]):
        rows, length = math.prod(shape[: min(axes)]), math.prod(shape[min(axes) :])
        return ("rows", shape, rank - min(axes)) if length <= LONG * rows else ("call", (), 0)
    return "call", (), 0


class _Grouping:
    def __init__(self, graph: Any, layouts: Layouts) -> None:
        self.layouts = layouts
        self.maker: dict[Any, Group] = {}  # by root
        self.groups: dict[Group, None] = {}
        self.readers: dict[Any, dict[Group, None]] = {}
        for place, eq in enumerate(graph.equations):
            if eq.outs[0] not in layouts.views:
                self.add(eq, place)

    def roots(self, eq: Any) -> set[Any]:
        return {self.layouts.root[a] for a in eq.variables()}

    def add(self, eq: Any, place: int) -> None:
        group = Group(*_kind(eq), eq, place)
        roots = self.roots(eq)
        group.reads = roots
        group.needs = {self.maker[r] for r in roots if r in self.maker}
        if group.kind != "call":
            producers = sorted(group.needs, key=lambda g: -g.places[-1])
            sharers = [g for r in roots if tuple(r.shape) == group.shape for g in self.readers.get(r, ())]
            for other in dict.fromkeys([*producers, *sharers[-8:]]):
                if other in self.groups and (merged := self.merged(other, group)):
                    group = merged
        self.enter(group)

    def enter(self, group: Group) -> None:
        self.groups[group] = None
        for out in group.made():
            self.maker[out] = group
        if group.kind != "call":
            for eq in group.eqs:
                for r in self.roots(eq):
                    self.readers.setdefault(r, {})[group] = None

    def merged(self, a: Group, b: Group) -> Group | None:
        """Both as one group, `b` being new and not entered yet; None where that cannot be."""
        shape = _together(a, b)
        if shape is None or len(a.eqs) + len(b.eqs) > EQUATIONS or len(a.reads | b.reads) > READS:
            return None
        if self.reaches(b.needs - {a}, a) or self.reaches(a.needs - {b}, b):
            return None  # something between the two has to run between them
        both = Group(*shape, b.eqs[0], b.places[0])
        order = sorted(zip([*a.places, *b.places], [*a.eqs, *b.eqs], strict=True), key=lambda pair: pair[0])
        both.places, both.eqs = [p for p, _ in order], [eq for _, eq in order]
        both.reads, both.needs = (a.reads | b.reads) - {*a.made(), *b.made()}, (a.needs | b.needs) - {a, b}
        if not self.sound(both):
            return None
        del self.groups[a]
        for group in self.groups:
            if a in group.needs or b in group.needs:
                group.needs = (group.needs - {a, b}) | {both}
        for root in {root for eq in a.eqs for root in self.roots(eq)}:
            self.readers[root].pop(a, None)
        return both

    def reaches(self, start: Iterable[Group], goal: Group) -> bool:
        """Whether one of the groups needs `goal`, be it by way of others."""
        seen: set[Group] = set()
        todo = list(start)
        while todo:
            group = todo.pop()
            if goal in group.needs:
                return True
            if group not in seen:
                seen.add(group)
                todo += group.needs
        return False

    def sound(self, group: Group) -> bool:
        """Whether each equation finds what the group makes in its own thread, or its own row."""
        made = {out: eq for eq in group.eqs for out in eq.outs}
        outer = group.shape[: len(group.shape) - group.split] if group.kind == "rows" else group.shape
        for eq in group.eqs:
            total = reduction(eq) is not None
            by_row = not total and group.of_rows(eq)
            over = tuple(eq.outs[0].shape) if by_row else group.shape
            for a in eq.variables():
                maker = made.get(self.layouts.root[a])
                if maker is None:
                    continue
                if eq.op.name in JOINS:
                    return False  # another thread has computed it
                of_row = reduction(maker) is not None or group.of_rows(maker)
                if of_row and group.kind != "rows":
                    return False  # a column's sum is complete only when all rows have been seen
                if by_row and not of_row:
                    return False
                if not self.layouts.walks(a, over, outer if of_row else group.shape):
                    return False
        return True


def _together(a: Group, b: Group) -> tuple[str, tuple[int, ...], int] | None:
    """Kind, shape and split of a group that does what both do."""
    for one, other in ((a, b), (b, a)):
        kind = (one.kind, one.shape, one.split)
        if (other.kind, other.shape, other.split) == kind and one.kind != "call":
            return kind
        if other.kind != "flat" or one.kind not in ("rows", "columns"):
            continue
        if other.shape == one.shape or (one.kind == "rows" and other.shape in one.row_shapes()):
            return kind
    return None


def schedule(graph: Any, layouts: Layouts) -> list[list[Group]]:
    """The groups in the order in which they run; those of one list run in one launch.

    What a call waits for comes first, and beside it what can run as well. Only what nothing waits for, such
    as the steps of an optimizer, is left for one launch at the end, when nothing reads the parameters any
    more.
    """
    found = list(_Grouping(graph, layouts).groups)
    place = {group: group.places[0] for group in found}
    users: dict[Group, list[Group]] = {group: [] for group in found}
    for group in found:
        for needed in group.needs:
            users[needed].append(group)
    urgent: set[Group] = set()
    todo = [group for group in found if group.kind == "call"]
    while todo:
        group = todo.pop()
        if group not in urgent:
            urgent.add(group)
            todo += group.needs
    waiting = {group: len(group.needs) for group in found}
    steps: list[list[Group]] = []
    while waiting:
        ready = sorted([g for g, count in waiting.items() if not count], key=place.__getitem__)
        calls = [g for g in ready if g.kind == "call"][:1]
        beside = [g for g in ready if users[g]] if urgent.intersection(ready) else []
        step = calls or beside or ready
        steps.append(step)
        for group in step:
            del waiting[group]
            for user in users[group]:
                waiting[user] -= 1
    return steps
