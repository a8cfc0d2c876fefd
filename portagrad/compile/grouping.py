"""Grouping: a graph whose equations are the loops or kernels of a plan, and its calls."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from portagrad.compile.views import Layouts
from portagrad.op import Op
from portagrad.transforms.equations import Equation, Graph, Variable

SHARERS = 8
"""How many groups are tried that read what an equation reads, the latest ones."""

Space = tuple[str, tuple[int, ...], int]
"""What a loop runs over: kind, shape and split, as `Group` has them."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the loops of an adapter can do.

    Attributes
    ----------
    space : callable
        ``space(eq)``: what a loop for this equation alone would run over; None where the library runs it.
    together : callable
        ``together(a, b)``: what one loop for both would run over; None where there is none.
    reduces : callable
        ``reduces(eq)``: whether an equation that a loop takes is a reduction.
    gathers : callable
        ``gathers(eq)``: whether an element of its result is made of other elements of what it reads.
    through_views : bool
        Whether a loop may read what it makes by way of a view.
    equations, reads : int
        How many equations one group may have, and how many memories it may read.
    """

    space: Callable[[Equation], Space | None]
    together: Callable[[Space, Space], Space | None]
    reduces: Callable[[Equation], bool]
    gathers: Callable[[Equation], bool] = lambda eq: False
    through_views: bool = True
    equations: int
    reads: int


@dataclass(frozen=True, eq=False)
class Group:
    """Equations that run together, element by element.

    Attributes
    ----------
    kind : str
        ``"flat"``: each element of `shape` by itself. ``"rows"``: reductions over the last `split` axes, and
        what is computed of them, a row at a time. ``"columns"``: reductions over the first `split` axes. An
        adapter may have others.
    shape : tuple of int
        What is iterated over.
    split : int
    eqs : tuple of Equation
        In the graph's order, without views.
    body : Graph
        The group as a function of what it reads.
    """

    kind: str
    shape: tuple[int, ...]
    split: int
    eqs: tuple[Equation, ...]
    body: Graph

    def made(self) -> Iterator[Variable]:
        """All that it computes, needed outside or not."""
        return (out for eq in self.eqs for out in eq.outs)

    def sizes(self) -> tuple[int, int]:
        """How many rows there are and how long they are; of other kinds the axes before and after `split`."""
        cut = self.split if self.kind == "columns" else len(self.shape) - self.split
        return math.prod(self.shape[:cut]), math.prod(self.shape[cut:])

    def of_rows(self, eq: Equation) -> bool:
        """Whether an equation, which is no reduction, has one value for each row."""
        return _of_rows((self.kind, self.shape, self.split), eq)

    def __repr__(self) -> str:
        """Its ops and where they were called, for whoever looks for an error in generated source."""
        ops = ", ".join(dict.fromkeys(eq.op.name for eq in self.eqs))
        lines = ", ".join(dict.fromkeys(eq.line for eq in self.eqs if eq.line))
        return f"{self.kind} {list(self.shape)}: {ops}{f' at {lines}' if lines else ''}"


def reduced(eq: Equation) -> frozenset[int]:
    """The axes that a reduction is over."""
    axis, rank = eq.params.get("axis"), len(eq.args[0].shape)
    axes = range(rank) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return frozenset(a % rank for a in axes)


def row_shapes(space: Space) -> tuple[tuple[int, ...], ...]:
    """The shapes that a value for each row may have."""
    _, shape, split = space
    outer = shape[: len(shape) - split]
    return outer, outer + (1,) * split


def _of_rows(space: Space, eq: Equation) -> bool:
    return space[0] == "rows" and tuple(eq.outs[0].shape) != space[1]


GROUP = Op(
    name="group",
    kind="composite",
    signature="(*arrays, group)",
    arrays=("*arrays",),
    params=("group",),
    outputs=("*results",),
    forward=lambda *arrays, group, xp: tuple(group.body.run(list(arrays))),
    doc="The equations of a group, as one: made by a pass, and known to no namespace.",
)


def group_of(eq: Equation) -> Group | None:
    """The group that an equation stands for; None where it is a call."""
    return eq.params["group"] if eq.op is GROUP else None


def inside(eq: Equation) -> tuple[Equation, ...]:
    """The equations that an equation stands for: a group's, or itself."""
    group = group_of(eq)
    return (eq,) if group is None else group.eqs


class _Unit:
    """What is to be one equation, while it grows: equations with their places, roots made and read."""

    def __init__(self, space: Space | None, eq: Equation, place: int, reads: Iterable[Variable]) -> None:
        self.space = space
        self.eqs = [(place, eq)]
        self.made = dict.fromkeys(eq.outs, eq)
        self.reads = set(reads)
        self.needs: set[_Unit] = set()
        self.users: set[_Unit] = set()


class _Grouping:
    """Each equation in the graph's order, joined with those that make what it reads, or read the same."""

    def __init__(self, graph: Graph, layouts: Layouts, rules: Rules) -> None:
        self.layouts, self.rules = layouts, rules
        self.maker: dict[Variable, _Unit] = {}  # by root
        self.readers: dict[Variable, dict[_Unit, None]] = {}
        self.units: dict[_Unit, None] = {}
        for place, eq in enumerate(layouts.computed(graph)):
            self.add(eq, place)

    def add(self, eq: Equation, place: int) -> None:
        roots = dict.fromkeys(self.layouts.root[a] for a in eq.variables())  # in order: equal graphs alike
        unit = _Unit(self.rules.space(eq), eq, place, roots)
        unit.needs = {self.maker[r] for r in roots if r in self.maker}
        for needed in unit.needs:
            needed.users.add(unit)
        if unit.space is not None:
            producers = sorted(unit.needs, key=lambda u: -u.eqs[-1][0])
            shape = unit.space[1]
            sharers = [u for r in roots if tuple(r.shape) == shape for u in self.readers.get(r, ())]
            for other in dict.fromkeys([*producers, *sharers[-SHARERS:]]):
                if other in self.units and (both := self.joined(other, unit)) is not None:
                    unit = both
        self.units[unit] = None
        self.maker.update(dict.fromkeys(eq.outs, unit))
        if unit.space is not None:
            for r in roots:
                self.readers.setdefault(r, {})[unit] = None

    def joined(self, a: _Unit, b: _Unit) -> _Unit | None:
        """The larger one, with all of the other, `b` being new; None where both cannot be one group."""
        if a.space is None or b.space is None:
            return None
        space, rules = self.rules.together(a.space, b.space), self.rules
        reads = a.reads | b.reads
        if space is None or len(a.eqs) + len(b.eqs) > rules.equations or len(reads) > rules.reads:
            return None
        if _leads(a, b.needs - {a}) or _leads(b, a.needs - {b}):
            return None  # something between the two has to run between them
        if not (self.sound(space, a, b) and self.sound(space, b, a)):
            return None
        large, small = (a, b) if len(a.eqs) >= len(b.eqs) else (b, a)
        self.maker.update((out, large) for out in small.made if out in self.maker)
        for root in (*small.reads, *small.made):
            its = self.readers.get(root)
            if its is not None and small in its:
                del its[small]
                its[large] = None
        large.space = space
        large.eqs = sorted([*a.eqs, *b.eqs], key=_place)
        large.made.update(small.made)
        large.reads = reads.difference(large.made)
        large.needs, large.users = (a.needs | b.needs) - {a, b}, (a.users | b.users) - {a, b}
        for needed in large.needs:
            needed.users.discard(small)
            needed.users.add(large)
        for user in large.users:
            user.needs.discard(small)
            user.needs.add(large)
        self.units.pop(a, None)
        return large

    def sound(self, space: Space, unit: _Unit, other: _Unit) -> bool:
        """Whether each equation of a unit finds what both make at its own element, or of its own row."""
        if unit.space == space and unit.reads.isdisjoint(other.made):
            return True
        rules, layouts = self.rules, self.layouts
        kind, shape, split = space
        outer = shape[: len(shape) - split] if kind == "rows" else shape
        for _, eq in unit.eqs:
            for a in eq.variables():
                root = layouts.root[a]
                maker = unit.made.get(root) or other.made.get(root)
                if maker is None:
                    continue
                if rules.gathers(eq):
                    return False
                by_row = not rules.reduces(eq) and _of_rows(space, eq)
                of_row = rules.reduces(maker) or _of_rows(space, maker)
                if of_row and kind != "rows":
                    return False  # a sum is complete only when all has been seen
                if by_row and not of_row:
                    return False
                if not rules.through_views:
                    if a is not root:
                        return False
                    continue
                over = tuple(eq.outs[0].shape) if by_row else shape
                if not layouts.walks(a, over, outer if of_row else shape):
                    return False
        return True


def _place(pair: tuple[int, Equation]) -> int:
    return pair[0]


def _leads(start: _Unit, goals: set[_Unit]) -> bool:
    """Whether one of the goals needs `start`, be it by way of others."""
    seen: set[_Unit] = {start}
    todo = list(start.users) if goals else []
    while todo:
        unit = todo.pop()
        if unit in goals:
            return True
        if unit not in seen:
            seen.add(unit)
            todo += unit.users
    return False


def grouped(graph: Graph, layouts: Layouts, rules: Rules) -> Graph:
    """The graph with a `group` in the place of equations that run together; the others are calls.

    It computes the same. Views of what a group makes and reads itself are part of its body; what nothing
    reads is left out.
    """
    units = _Grouping(graph, layouts, rules).units
    escaping = {layouts.root[y] for y in graph.outputs if isinstance(y, Variable)}
    read_by: dict[Variable, set[_Unit]] = {}
    for unit in units:
        for root in {r for _, eq in unit.eqs for r in layouts.reads(eq)}:
            read_by.setdefault(root, set()).add(unit)

    def equation(unit: _Unit) -> Equation | None:
        eqs = tuple([eq for _, eq in unit.eqs])
        if unit.space is None:
            return eqs[0]
        made = [out for eq in eqs for out in eq.outs]
        kept = tuple([v for v in made if v in escaping or read_by.get(v, set()) - {unit}])
        if not kept:
            return None
        reads = [a for eq in eqs for a in eq.variables()]
        outside = tuple(dict.fromkeys(a for a in reads if layouts.root[a] not in unit.made))
        inner = layouts.with_views(eqs, (), outside)
        body = Graph(graph.name, outside, tuple(inner), kept)
        params = {"group": Group(*unit.space, eqs, body)}
        return Equation(GROUP, outside, params, kept, eqs[0].line, backward=all(eq.backward for eq in eqs))

    waiting = {unit: len(unit.needs) for unit in units}
    ready = [(unit.eqs[0][0], unit) for unit in units if not unit.needs]
    heapq.heapify(ready)
    found: list[Equation] = []
    while ready:
        _, unit = heapq.heappop(ready)
        made = equation(unit)
        found += [] if made is None else [made]
        for user in unit.users:
            waiting[user] -= 1
            if not waiting[user]:
                heapq.heappush(ready, (user.eqs[0][0], user))
    return graph.with_equations(layouts.with_views(found, graph.outputs, ()))
