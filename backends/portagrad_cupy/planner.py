"""What a compiled graph becomes on CuPy: kernels, products and library calls, and where each value lies."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cupy
import numpy

from portagrad.compile.views import Layouts
from portagrad_cupy.blas import Product, product
from portagrad_cupy.grouping import Group, schedule
from portagrad_cupy.kernel import Kernel, Part
from portagrad_cupy.memory import Arena
from portagrad_cupy.writer import POINTERS, PREAMBLE, THREADS, GroupWriter

OPTIONS = ("-std=c++17", "--fmad=false")
"""For NVRTC. Products and sums are not contracted, so that results are the eager ones."""


@dataclass
class Launch:
    """One kernel for one or more groups: its name, how many blocks, and the slots of its arguments."""

    name: str
    blocks: int
    slots: list[int]
    groups: list[Group]

    def __str__(self) -> str:
        return "; ".join([f"kernel {self.name}", *map(str, self.groups)])


@dataclass
class Multiply:
    """One product by cuBLAS, between slots."""

    product: Product
    eq: Any
    slots: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.eq.op.name} by cuBLAS at {self.eq.line}: {self.product}"


@dataclass
class Call:
    """One equation by the library's own function, which makes new arrays."""

    eq: Any
    run: Any
    slots: list[int]

    def __str__(self) -> str:
        return f"{self.eq.op.name} by CuPy at {self.eq.line}"


@dataclass
class Copy:
    """A value moved into the donated memory that it is to be returned in."""

    source: int
    target: int


@dataclass
class Schedule:
    """All that a plan needs to run.

    Slots are where values lie: the inputs first, then constants, then what is computed. ``fixed`` has for
    slots that are always the same memory a dtype, a shape and the first byte in the arena. ``zeros`` are
    counters. ``returned`` has for each output ``("donated", input)``, ``("copied", variable)`` or
    ``("number", value)``.
    """

    layouts: Layouts
    steps: list[Launch | Multiply | Call | Copy] = field(default_factory=list)
    slot: dict[Any, int] = field(default_factory=dict)
    count: int = 0
    fixed: dict[int, tuple[Any, tuple[int, ...], int]] = field(default_factory=dict)
    zeros: dict[int, int] = field(default_factory=dict)
    drops: list[list[int]] = field(default_factory=list)
    returned: list[tuple[str, Any]] = field(default_factory=list)
    first_write: int | None = None
    arena: Arena = field(default_factory=Arena)
    source: str = ""

    def new_slot(self) -> int:
        self.count += 1
        return self.count - 1


class Planner:
    """Makes the schedule of a graph."""

    def __init__(self, graph: Any, donated: tuple[int, ...]) -> None:
        self.graph = graph
        self.layouts = layouts = Layouts(graph)
        self.plan = plan = Schedule(layouts)
        for v in (*graph.inputs, *graph.constants()):
            plan.slot[v] = plan.new_slot()
        steps = schedule(graph, layouts)
        self.made_in = {out: group for step in steps for group in step for out in group.made()}
        self.read_in: dict[Any, dict[Group, None]] = {}
        for group in [group for step in steps for group in step]:
            for a in (a for eq in group.eqs for a in eq.variables()):
                self.read_in.setdefault(layouts.root[a], {})[group] = None
        self.results = [y if hasattr(y, "dtype") else None for y in graph.outputs]
        self.escaping = {layouts.root[y] for y in self.results if y is not None}
        self.target = self.targets(donated)
        self.kept = {
            out
            for out, group in self.made_in.items()
            if out in self.escaping or any(reader is not group for reader in self.read_in.get(out, ()))
        }
        self.groups = [part for step in steps for part in self.parts(step)]
        self.step_of = {group: i for i, step in enumerate(self.groups) for group in step}
        self.places: dict[Any, tuple[int, int]] = {}
        self.functions: dict[str, str] = {}  # text -> name: equal groups share one
        self.kernels: list[str] = []
        for i, step in enumerate(self.groups):
            self.step(i, step)
        self.finish()

    def parts(self, step: list[Group]) -> Iterator[list[Group]]:
        """The groups of one step, divided where one launch would have more arguments than CUDA takes."""
        part: list[Group] = []
        taken = 0
        for group in step:
            stored = self.kept.intersection(group.made())
            asked = len(group.reads) + len(stored) + 2 * len(group.eqs) * (group.kind == "columns")
            if part and taken + asked > POINTERS:
                yield part
                part, taken = [], 0
            part.append(group)
            taken += asked
        yield part

    def targets(self, donated: tuple[int, ...]) -> dict[Any, int]:
        """For results that are returned in the memory of a donated input, which."""
        inputs = self.graph.inputs
        free = [k for k in donated if inputs[k] not in self.escaping]
        found: dict[Any, int] = {}
        for y in self.results:
            if y is None or y in found or y not in self.made_in:
                continue
            fitting = (k for k in free if (inputs[k].shape, inputs[k].dtype) == (y.shape, y.dtype))
            if (k := next(fitting, None)) is not None:
                free.remove(k)
                found[y] = k
        return found

    def in_place(self, y: Any) -> bool:
        """Whether a result may be computed right into the donated memory: each thread reads there only the
        element that it writes, and nothing reads there afterwards or in another group beside it."""
        p, group = self.graph.inputs[self.target[y]], self.made_in[y]
        if group.kind != "flat":
            return False
        for reader in self.read_in.get(p, ()):
            if reader is not group:
                if self.step_of[reader] >= self.step_of[group]:
                    return False
                continue
            for eq in group.eqs:
                for a in eq.variables():
                    if self.layouts.root[a] is p and not self.layouts.walks(a, group.shape, group.shape):
                        return False
        return True

    def store(self, out: Any) -> int:
        """The slot of a result."""
        if out not in self.plan.slot:
            if out in self.target and self.in_place(out):
                self.plan.slot[out] = self.target[out]
                self.writes(len(self.plan.steps))
            else:
                self.plan.slot[out], self.places[out] = self.taken(out.dtype, tuple(out.shape))
        return self.plan.slot[out]

    def taken(self, dtype: Any, shape: tuple[int, ...]) -> tuple[int, tuple[int, int]]:
        place = self.plan.arena.take(math.prod(shape) * dtype.itemsize)
        slot = self.plan.new_slot()
        self.plan.fixed[slot] = (dtype, shape, place[0])
        return slot, place

    def writes(self, step: int) -> None:
        if self.plan.first_write is None:
            self.plan.first_write = step

    def step(self, i: int, groups: list[Group]) -> None:
        plan, scratch, drops = self.plan, [], []
        eq = groups[0].eqs[0]
        if groups[0].kind != "call":
            scratch = self.launch(groups)
        elif (p := product(eq, self.layouts)) is not None:
            x, y = (plan.slot[self.layouts.root[a]] for a in eq.args)
            plan.steps.append(Multiply(p, eq, (x, y, self.store(eq.outs[0]))))
        else:
            for out in eq.outs:
                plan.slot[out] = plan.new_slot()
            plan.steps.append(Call(eq, eq.kernel(), [plan.slot[out] for out in eq.outs]))
        plan.arena.give(scratch)
        touched = {self.layouts.root[a] for g in groups for e in g.eqs for a in e.variables()}
        for root in [*touched, *(out for g in groups for out in g.made())]:
            last = max((self.step_of[g] for g in self.read_in.get(root, ())), default=i)
            if last == i and root not in self.escaping:
                if root in self.places:
                    plan.arena.give([self.places.pop(root)])
                elif root in self.made_in and self.made_in[root].kind == "call":
                    drops.append(plan.slot[root])
        plan.drops.append(drops)

    def launch(self, groups: list[Group]) -> list[tuple[int, int]]:
        """The kernel of groups that do not wait for each other; returns the scratch it takes."""
        kernel = Kernel(f"launch{len(self.kernels)}")
        places: list[tuple[int, int]] = []

        def where(root: Any) -> int:
            return self.store(root) if root in self.made_in else self.plan.slot[root]

        for group in groups:
            writer = GroupWriter(group, self.layouts, where, self.kept)
            text = writer.function("NAME")
            name = self.functions.setdefault(text, f"group{len(self.functions)}")
            args = [kernel.argument(s, t) for s, t in zip(writer.slots, writer.types, strict=True)]
            kernel.written |= {s for s, m in writer.slots.items() if m in writer.stored}
            for s in writer.scratch:
                if s.dtype == "counter":
                    slot = self.plan.new_slot()
                    self.plan.zeros[slot] = s.size
                else:
                    slot, place = self.taken(numpy.dtype(s.dtype), (s.size,))
                    places.append(place)
                args.append(kernel.argument(slot, s.ctype))
                kernel.written.add(slot)
            kernel.add(Part(name, args, writer.rows, writer.blocks, str(group)), writer.parameters())
        self.kernels.append(kernel.text())
        self.plan.steps.append(Launch(kernel.name, kernel.blocks, list(kernel.slots), groups))
        return places

    def finish(self) -> None:
        """Results that could not be computed in place are moved there at the end."""
        plan = self.plan
        seen: set[Any] = set()
        for y, value in zip(self.results, self.graph.outputs, strict=True):
            if y is None:
                plan.returned.append(("number", value))
            elif y in self.target and y not in seen:
                seen.add(y)
                k = self.target[y]
                if plan.slot[y] != k:
                    self.writes(len(plan.steps))
                    plan.steps.append(Copy(plan.slot[y], k))
                    plan.drops.append([])
                plan.returned.append(("donated", k))
            else:
                plan.returned.append(("copied", y))
        functions = [text.replace("NAME", name, 1) for text, name in self.functions.items()]
        if self.kernels:
            define = f"#define PG_THREADS {THREADS}\n"
            plan.source = "\n\n".join([define + PREAMBLE, *functions, *self.kernels]) + "\n"


@functools.lru_cache(maxsize=128)
def compiled(source: str) -> Any:
    """The module of a source, which NVRTC compiles once for equal plans."""
    return cupy.RawModule(code=source, options=OPTIONS)
