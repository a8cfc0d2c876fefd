"""Buffers: how long each value of an ordered graph is needed, and the memory that it takes until then."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from portagrad.compile.grouping import inside
from portagrad.compile.views import Layouts
from portagrad.transforms.equations import Equation, Graph, Variable

Place = tuple[int, int]
"""First byte and end in the arena."""


class Arena:
    """Places in one block of memory, handed out again when what lay there is not needed any more."""

    def __init__(self, alignment: int) -> None:
        self.alignment = alignment
        self.free: list[Place] = []  # ascending, none touching another
        self.size = 0

    def take(self, size: int) -> Place:
        """The smallest free place that is large enough, else new memory at the end."""
        size = -(-max(1, size) // self.alignment) * self.alignment
        fitting = [place for place in self.free if place[1] - place[0] >= size]
        if fitting:
            place = min(fitting, key=lambda place: place[1] - place[0])
            self.free.remove(place)
            if place[1] - place[0] > size:
                self.give([(place[0] + size, place[1])])
            return place[0], place[0] + size
        if self.free and self.free[-1][1] == self.size:
            begin, _ = self.free.pop()
        else:
            begin = self.size
        self.size = begin + size
        return begin, self.size

    def give(self, places: Iterable[Place]) -> None:
        joined: list[Place] = []
        for begin, end in sorted([*self.free, *places]):
            if joined and joined[-1][1] == begin:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((begin, end))
        self.free = joined


@dataclass(frozen=True, kw_only=True)
class Storage:
    """How an adapter's plan uses memory.

    Attributes
    ----------
    writes : callable
        ``writes(eq)``: whether its results are written into memory that the plan gives it. The library makes
        new arrays for others.
    over : callable
        ``over(eq, out)``: whether a result may be written over what `eq` reads, where it reads there nothing
        but the element that it writes.
    fresh_results : bool
        Whether what the plan returns is new memory in each call; else it lies in the arena, never used again.
    alignment : int
        In bytes.
    """

    writes: Callable[[Equation], bool]
    over: Callable[[Equation, Variable], bool]
    fresh_results: bool
    alignment: int


@dataclass
class Buffers:
    """Where the values of a graph lie, by their roots.

    Attributes
    ----------
    places : dict
        Of what lies in the arena.
    over : dict
        Of results written over another value of the same shape and dtype: a donated input, or one that is not
        needed any more.
    target : dict
        For what is returned in the memory of a donated input, which: computed there if it is in `over`, else
        to be copied there at the end.
    dead : list
        For each step the values of which nothing after it knows.
    size, asked : int
        Bytes of the arena, and of all that lies in it at one time or another.
    """

    places: dict[Variable, Place] = field(default_factory=dict)
    over: dict[Variable, Variable] = field(default_factory=dict)
    target: dict[Variable, int] = field(default_factory=dict)
    dead: list[list[Variable]] = field(default_factory=list)
    size: int = 0
    asked: int = 0


def donation(graph: Graph, layouts: Layouts, donated: Sequence[int]) -> dict[Variable, int]:
    """For results that are returned in the memory of a donated input, which: the first one like it."""
    inputs = graph.inputs
    escaping = {layouts.root[y] for y in graph.outputs if isinstance(y, Variable)}
    made = {out for eq in layouts.computed(graph) for out in eq.outs}
    free = [k for k in donated if inputs[k] not in escaping]
    found: dict[Variable, int] = {}
    for y in graph.outputs:
        if y not in made or y in found:
            continue
        fitting = (k for k in free if (inputs[k].shape, inputs[k].dtype) == (y.shape, y.dtype))
        if (k := next(fitting, None)) is not None:
            free.remove(k)
            found[y] = k
    return found


class _Allocation:
    """Goes through the steps as a run does, and hands memory out."""

    def __init__(
        self,
        graph: Graph,
        layouts: Layouts,
        steps: Sequence[Sequence[Equation]],
        donated: Sequence[int],
        storage: Storage,
    ) -> None:
        self.inputs, self.layouts, self.storage = graph.inputs, layouts, storage
        self.escaping = {layouts.root[y] for y in graph.outputs if isinstance(y, Variable)}
        self.readers: dict[Variable, list[tuple[int, Equation]]] = {}
        for i, step in enumerate(steps):
            for eq in step:
                for root in layouts.reads(eq):
                    self.readers.setdefault(root, []).append((i, eq))
        self.arena = Arena(storage.alignment)
        self.live: dict[Variable, Place] = {}
        self.found = Buffers(target=donation(graph, layouts, donated))
        for i, step in enumerate(steps):
            self.step(i, step)
        self.found.size = self.arena.size

    def step(self, i: int, eqs: Sequence[Equation]) -> None:
        for eq in eqs:
            for out in eq.outs if self.storage.writes(eq) else ():
                self.store(out, eq, i)
        touched = [
            *(out for eq in eqs for out in eq.outs),
            *(r for eq in eqs for r in self.layouts.reads(eq)),
        ]
        dead = [r for r in dict.fromkeys(touched) if r not in self.escaping and self.last(r, i) == i]
        self.arena.give([self.live.pop(r) for r in dead if r in self.live])
        self.found.dead.append(dead)

    def store(self, out: Variable, eq: Equation, i: int) -> None:
        """Find the memory of a result."""
        found, k = self.found, self.found.target.get(out)
        if k is not None and self.fits(out, eq, i, self.inputs[k]):
            found.over[out] = self.inputs[k]
            return
        if k is None and out in self.escaping and self.storage.fresh_results:
            return
        reads = dict.fromkeys(a for a in eq.variables() if a in self.live and a not in self.escaping)
        for root in reads:
            if self.fits(out, eq, i, root):
                found.over[out] = root
                self.live[out] = found.places[out] = self.live.pop(root)
                return
        size = math.prod(out.shape) * out.dtype.itemsize
        self.live[out] = found.places[out] = self.arena.take(size)
        found.asked += size

    def last(self, root: Variable, made: int) -> int:
        """The last step that knows of a value made in step `made`, or earlier."""
        return max((i for i, _ in self.readers.get(root, ())), default=made)

    def fits(self, out: Variable, eq: Equation, i: int, root: Variable) -> bool:
        """Whether `root` is read last by `eq`, and element by element, so that `out` may be written there."""
        if (root.shape, root.dtype) != (out.shape, out.dtype) or not self.storage.over(eq, out):
            return False
        if any(at > i or (at == i and reader is not eq) for at, reader in self.readers.get(root, ())):
            return False
        reads = [a for each in inside(eq) for a in each.variables()]
        return all(a is root for a in reads if self.layouts.root[a] is root)


def allocated(
    graph: Graph,
    layouts: Layouts,
    steps: Sequence[Sequence[Equation]],
    donated: Sequence[int],
    storage: Storage,
) -> Buffers:
    """Memory for the values of an ordered graph that runs in steps, the equations of a step side by side.

    A value's place is free again after its last use. A result takes the place of what is read for the last
    time, a donated input or a value, where each of its elements is made of that element alone.
    """
    return _Allocation(graph, layouts, steps, donated, storage).found
