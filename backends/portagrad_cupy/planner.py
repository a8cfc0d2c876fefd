"""What a compiled graph becomes on CuPy: kernels, products and library calls, and where each value lies."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cupy
import numpy

from portagrad.compile.buffers import Storage, allocated
from portagrad.compile.grouping import Group, group_of, grouped
from portagrad.compile.ordering import launches, ordered
from portagrad.compile.views import Layouts
from portagrad_cupy.blas import Product, product
from portagrad_cupy.grouping import RULES
from portagrad_cupy.kernel import Kernel, Part
from portagrad_cupy.writer import POINTERS, PREAMBLE, THREADS, GroupWriter

OPTIONS = ("-std=c++17", "--fmad=false")
"""For NVRTC. Products and sums are not contracted, so that results are the eager ones."""

ALIGNMENT = 256
"""Of every value, in bytes: as CuPy's own memory is aligned."""


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
    ``("number", value)``. ``size`` and ``asked`` are the bytes of the arena and of all that lies there.
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
    size: int = 0
    asked: int = 0
    source: str = ""

    def new_slot(self) -> int:
        self.count += 1
        return self.count - 1


class Planner:
    """Makes the schedule of a graph."""

    def __init__(self, graph: Any, donated: tuple[int, ...]) -> None:
        self.layouts = layouts = Layouts(graph)
        self.graph = graph = ordered(grouped(graph, layouts, RULES), layouts, at_once=False)
        self.steps = [part for step in launches(graph, layouts, apart=True) for part in _parts(step)]
        self.products = {eq: product(eq, layouts) for eq in layouts.computed(graph)}
        storage = Storage(
            writes=lambda eq: group_of(eq) is not None or self.products[eq] is not None,
            over=_over,
            fresh_results=False,
            alignment=ALIGNMENT,
        )
        self.buffers = allocated(graph, layouts, self.steps, donated, storage)
        self.plan = plan = Schedule(layouts, size=self.buffers.size, asked=self.buffers.asked)
        for v in (*graph.inputs, *graph.constants()):
            plan.slot[v] = plan.new_slot()
        self.called: set[Any] = set()  # what the library makes
        self.functions: dict[str, str] = {}  # text -> name: equal groups share one
        self.kernels: list[str] = []
        for step, dead, used in zip(self.steps, self.buffers.dead, self.buffers.used, strict=True):
            self.step(step, dead, used)
        self.finish()

    def store(self, out: Any) -> int:
        """The slot of a result."""
        plan, slot = self.plan, self.plan.slot
        if out not in slot:
            over = self.buffers.over.get(out)
            if over is None:
                slot[out] = self.fixed(out.dtype, tuple(out.shape), self.buffers.places[out][0])
            else:
                slot[out] = slot[over]
                if slot[out] < len(self.graph.inputs):
                    self.writes(len(plan.steps))
        return slot[out]

    def fixed(self, dtype: Any, shape: tuple[int, ...], begin: int) -> int:
        """A slot that is always the same memory."""
        slot = self.plan.new_slot()
        self.plan.fixed[slot] = (dtype, shape, begin)
        return slot

    def writes(self, step: int) -> None:
        if self.plan.first_write is None:
            self.plan.first_write = step

    def step(self, eqs: list[Any], dead: list[Any], used: int) -> None:
        plan, eq = self.plan, eqs[0]
        groups = [group for e in eqs if (group := group_of(e)) is not None]
        if groups:
            self.launch(groups, {out for e in eqs for out in e.outs}, used)
        elif (p := self.products[eq]) is not None:
            x, y = (plan.slot[self.layouts.root[a]] for a in eq.args)
            plan.steps.append(Multiply(p, eq, (x, y, self.store(eq.outs[0]))))
        else:
            for out in eq.outs:
                plan.slot[out] = plan.new_slot()
                self.called.add(out)
            plan.steps.append(Call(eq, eq.kernel(), [plan.slot[out] for out in eq.outs]))
        plan.drops.append([plan.slot[v] for v in dead if v in self.called])

    def launch(self, groups: list[Group], kept: set[Any], used: int) -> None:
        """The kernel of groups that do not wait for each other; what they need besides lies behind `used`."""
        kernel = Kernel(f"launch{len(self.kernels)}")
        begin = used
        for group in groups:
            writer = GroupWriter(group, self.layouts, self.store, kept)
            text = writer.function("NAME")
            name = self.functions.setdefault(text, f"group{len(self.functions)}")
            args = [kernel.argument(s, t) for s, t in zip(writer.slots, writer.types, strict=True)]
            kernel.written |= {s for s, m in writer.slots.items() if m in writer.stored}
            for s in writer.scratch:
                if s.dtype == "counter":
                    slot = self.plan.new_slot()
                    self.plan.zeros[slot] = s.size
                else:
                    dtype = numpy.dtype(s.dtype)
                    slot = self.fixed(dtype, (s.size,), begin)
                    begin += -(-s.size * dtype.itemsize // ALIGNMENT) * ALIGNMENT
                args.append(kernel.argument(slot, s.ctype))
                kernel.written.add(slot)
            kernel.add(Part(name, args, writer.rows, writer.blocks, str(group)), writer.parameters())
        self.kernels.append(kernel.text())
        self.plan.steps.append(Launch(kernel.name, kernel.blocks, list(kernel.slots), groups))
        self.plan.size = max(self.plan.size, begin)
        self.plan.asked += begin - used

    def finish(self) -> None:
        """Results that could not be computed in place are moved there at the end."""
        plan, target = self.plan, dict(self.buffers.target)
        for y in self.graph.outputs:
            if not hasattr(y, "dtype"):
                plan.returned.append(("number", y))
            elif y in target:  # the first time it is returned
                k = target.pop(y)
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


def _parts(step: list[Any]) -> Iterator[list[Any]]:
    """The groups of one launch, divided where it would have more arguments than CUDA takes."""
    part: list[Any] = []
    taken = 0
    for eq in step:
        group = group_of(eq)
        columns = 2 * len(group.eqs) if group is not None and group.kind == "columns" else 0
        asked = len(eq.args) + len(eq.outs) + columns
        if part and taken + asked > POINTERS:
            yield part
            part, taken = [], 0
        part.append(eq)
        taken += asked
    yield part


def _over(eq: Any, out: Any) -> bool:
    """Each thread of a flat group reads, of what it writes over, only the element that it writes."""
    group = group_of(eq)
    return group is not None and group.kind == "flat"


@functools.lru_cache(maxsize=128)
def compiled(source: str) -> Any:
    """The module of a source, which NVRTC compiles once for equal plans."""
    return cupy.RawModule(code=source, options=OPTIONS)
