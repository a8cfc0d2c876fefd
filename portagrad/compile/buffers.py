"""Buffers: how long each value of an ordered graph is needed, and the memory that it takes until then."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from portagrad.compile.grouping import inside
from portagrad.compile.views import Layouts
from portagrad.transforms.equations import Equation, Graph, Variable

Place = tuple[int, int]
"""First byte and end in the arena."""


def packed(lives: Sequence[tuple[int, int, int]], alignment: int) -> list[Place]:
    """Places in one block of memory for values, each needed from one step to another and of so many bytes.

    The largest comes first, and each where the lowest bytes are that nothing else needs meanwhile: greedy by
    size, of Pisarchyk and Lee (2020), "Efficient memory management for deep neural net inference".
    """
    if not lives:
        return []
    first, last, size = np.asarray(lives, np.int64).T
    begin, end = np.zeros_like(size), -np.ones_like(size)  # nothing lies anywhere yet
    for i in np.argsort(-size, kind="stable"):
        others = np.flatnonzero((end >= 0) & (first <= last[i]) & (last >= first[i]))
        needed, at = -(-max(1, int(size[i])) // alignment) * alignment, 0
        for j in others[np.argsort(begin[others])]:
            if begin[j] - at >= needed:
                break
            at = max(at, int(end[j]))
        begin[i], end[i] = at, at + needed
    return list(zip(begin.tolist(), end.tolist(), strict=True))


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
    used : list of int
        For each step the end of all that is needed meanwhile: what lies behind is free for its own needs.
    size, asked : int
        Bytes of the arena, and of all that lies in it at one time or another.
    """

    places: dict[Variable, Place] = field(default_factory=dict)
    over: dict[Variable, Variable] = field(default_factory=dict)
    target: dict[Variable, int] = field(default_factory=dict)
    dead: list[list[Variable]] = field(default_factory=list)
    used: list[int] = field(default_factory=list)
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
        if not isinstance(y, Variable) or y not in made or y in found:
            continue
        fitting = (k for k in free if (inputs[k].shape, inputs[k].dtype) == (y.shape, y.dtype))
        if (k := next(fitting, None)) is not None:
            free.remove(k)
            found[y] = k
    return found


class _Allocation:
    """Goes through the steps as a run does, and notes which values need memory, and how long."""

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
        self.end = len(steps)
        self.lives: list[list[int]] = []  # of the memories: first and last step, and bytes
        self.memory: dict[Variable, int] = {}  # which of them a value lies in
        self.found = found = Buffers(target=donation(graph, layouts, donated))
        for i, step in enumerate(steps):
            self.step(i, step)
        places = packed([(a, b, size) for a, b, size in self.lives], storage.alignment)
        found.places = {v: places[k] for v, k in self.memory.items()}
        found.size = max((end for _, end in places), default=0)
        found.asked = sum(size for *_, size in self.lives)
        used = np.zeros(len(steps), np.int64)
        for (first, last, _), (_, end) in zip(self.lives, places, strict=True):
            used[first : last + 1] = np.maximum(used[first : last + 1], end)
        found.used = used.tolist()

    def step(self, i: int, eqs: Sequence[Equation]) -> None:
        for eq in eqs:
            for out in eq.outs if self.storage.writes(eq) else ():
                self.store(out, eq, i)
        touched = dict.fromkeys(v for eq in eqs for v in (*eq.outs, *self.layouts.reads(eq)))
        self.found.dead.append([v for v in touched if self.last(v, i) == i])

    def store(self, out: Variable, eq: Equation, i: int) -> None:
        """Find the memory of a result."""
        over, k = self.found.over, self.found.target.get(out)
        if k is not None and self.fits(out, eq, i, self.inputs[k]):
            over[out] = self.inputs[k]
            return
        if k is None and out in self.escaping and self.storage.fresh_results:
            return
        taken = {over[v] for v in eq.outs if v in over}
        for root in dict.fromkeys(eq.variables()):
            free = root in self.memory and root not in taken and root not in self.escaping
            if free and self.fits(out, eq, i, root):
                over[out] = root
                self.memory[out] = self.memory[root]
                self.lives[self.memory[out]][1] = self.last(out, i)
                return
        self.memory[out] = len(self.lives)
        self.lives.append([i, self.last(out, i), math.prod(out.shape) * out.dtype.itemsize])

    def last(self, root: Variable, made: int) -> int:
        """The last step that knows of a value made in step `made`, or earlier."""
        if root in self.escaping:
            return self.end
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
