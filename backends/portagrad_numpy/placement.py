"""Where the values of a plan lie: in memory of the plan's own, in a donated input, or in a new array."""

from __future__ import annotations

import math
from typing import Any

import numpy

from portagrad_numpy import fusion, loops
from portagrad_numpy.calls import UFUNCS, VIEWS, call
from portagrad_numpy.schedule import Layouts, roots, schedule

_ALIGNMENT = 64


class _Memory:
    """Blocks of memory, handed out again when what lay there is not needed any more."""

    def __init__(self) -> None:
        self.free: list[Any] = []
        self.bytes = 0
        self.count = 0

    def take(self, shape: tuple[int, ...], dtype: Any) -> tuple[Any, Any]:
        """A block and an array in it."""
        size = math.prod(shape) * dtype.itemsize
        fitting = [b for b in self.free if size <= b.nbytes <= 2 * size + 4096]
        if fitting:
            block = min(fitting, key=lambda b: b.nbytes)
            self.free = [b for b in self.free if b is not block]
        else:
            raw = numpy.empty(size + _ALIGNMENT, numpy.uint8)
            start = -raw.ctypes.data % _ALIGNMENT
            block = raw[start : start + size]
            self.bytes += size
            self.count += 1
        return block, block[:size].view(dtype).reshape(shape)

    def give(self, block: Any) -> None:
        self.free.append(block)


class Placement:
    """Decides where each value of a graph lies, and how the plan's source names it."""

    def __init__(self, graph: Any, donated: tuple[int, ...]) -> None:
        self.graph = graph
        self.layouts = Layouts(graph)
        self.steps = schedule(graph, self.layouts, loops.AVAILABLE)
        self.memory = _Memory()
        self.env: dict[str, Any] = {"empty": numpy.empty, "copyto": numpy.copyto}
        self.names: dict[Any, str] = {}  # root -> the expression of its array
        self.static: dict[Any, Any] = {}  # root -> its array, where it is always the same
        self.blocks: dict[Any, Any] = {}
        self.lines: list[str] = []
        self.fresh: dict[str, str] = {}  # results that are new in each call, and what makes them
        self.sources: list[str] = []
        self.blocked: list[Any] = []
        self.written_from: int | None = None
        self.strict: set[int] = set()  # inputs that must be in C order and writeable
        for k, v in enumerate(graph.inputs):
            self.names[v] = f"a{k}"
        for k, constant in enumerate(graph.constants()):
            self.names[constant] = self.bound(f"k{k}", numpy.array(constant.value, order="C"))
            self.static[constant] = self.env[f"k{k}"]
        self.made_at = {out: i for i, s in enumerate(self.steps) for eq in s.eqs for out in eq.outs}
        self.read_at = self.readers()
        self.results = [y if hasattr(y, "dtype") else None for y in graph.outputs]
        self.escaping = {self.layouts.root[y] for y in self.results if y is not None}
        self.target = self.targets(donated)

    def bound(self, name: str, value: Any) -> str:
        self.env[name] = value
        return name

    def readers(self) -> dict[Any, list[tuple[int, Any]]]:
        """For each memory the steps that read it, and the equations."""
        found: dict[Any, list[tuple[int, Any]]] = {}
        for i, step in enumerate(self.steps):
            for eq in step.eqs:
                for root in roots(eq, self.layouts):
                    found.setdefault(root, []).append((i, eq))
        return found

    def targets(self, donated: tuple[int, ...]) -> dict[Any, int]:
        """For results that take the memory of a donated input, which."""
        free = [k for k in donated if self.graph.inputs[k] not in self.escaping]
        found: dict[Any, int] = {}
        for y in self.results:
            if y is None or self.layouts.root[y] is not y or y in found or y not in self.made_at:
                continue
            for k in free:
                p = self.graph.inputs[k]
                if p.shape == y.shape and p.dtype == y.dtype:
                    free.remove(k)
                    found[y] = k
                    break
        return found

    def in_place(self, y: Any, k: int) -> bool:
        """Whether a result may be written over the input that it replaces while it is computed."""
        p = self.graph.inputs[k]
        at = self.made_at[y]
        step = self.steps[at]
        (maker,) = [eq for eq in step.eqs if y in eq.outs]
        if not step.loop and (maker.op.name not in UFUNCS or call(maker) is None):
            return False
        for i, eq in self.read_at.get(p, ()):
            if i > at:
                return False
            if i == at and any(self.layouts.root[a] is p and a is not p for a in eq.variables()):
                return False  # seen otherwise, for example transposed
            if i == at and step.loop:
                places = [n for n, nest in enumerate(step.nests) if eq in nest.eqs]
                mine = [n for n, nest in enumerate(step.nests) if maker in nest.eqs]
                if places > mine or (places == mine and step.nests[mine[0]].shape != p.shape):
                    return False
        return not (step.loop and fusion.reduced(maker))

    def array(self, v: Any) -> Any:
        """The array of a variable that is always the same memory; None for others."""
        root = self.layouts.root[v]
        if root not in self.static:
            return None
        if v is root:
            return self.static[root]
        eq = self.layouts.views[v]
        inner = self.array(eq.args[0])
        return VIEWS[eq.op.name](inner, **eq.params)

    def expression(self, v: Any) -> str:
        """How the code names a variable; a view of what changes from call to call is taken where needed."""
        if v in self.names:
            return self.names[v]
        static = self.array(v)
        if static is not None:
            name = self.bound(f"w{len(self.env)}", static)
        else:
            eq = self.layouts.views[v]
            name = f"w{len(self.env)}"
            self.env[name] = None
            self.line(f"{name}_ = {self.seen(eq, name)}")
            name += "_"
        self.names[v] = name
        return name

    def argument(self, a: Any) -> str:
        """How the code names an argument: a variable, or a number."""
        known = a in self.layouts.root if not isinstance(a, numpy.ndarray) else False
        return self.expression(a) if known else self.bound(f"c{len(self.env)}", a)

    def seen(self, eq: Any, name: str) -> str:
        inner = self.expression(eq.args[0])
        root = self.layouts.root[eq.args[0]]
        if eq.op.name == "reshape" and root in self.graph.inputs:
            self.strict.add(self.graph.inputs.index(root))  # else it could not be a view
        if eq.op.name == "matrix_transpose" and len(eq.outs[0].shape) == 2:
            return f"{inner}.T"
        params = eq.params
        view = VIEWS[eq.op.name]
        self.bound(f"{name}_view", lambda x: view(x, **params))
        return f"{name}_view({inner})"

    def line(self, text: str) -> None:
        self.lines.append("    " + text)

    def store(self, out: Any, reuse: Any = None) -> str:
        """Where a result is to be written."""
        if out in self.names:
            return self.names[out]
        if out in self.target and self.in_place(out, self.target[out]):
            k = self.target[out]
            self.strict.add(k)
            self.names[out] = f"a{k}"
            if self.written_from is None:
                self.written_from = len(self.lines)
        elif out in self.escaping and out not in self.target:
            name = f"y{len(self.fresh)}"
            self.bound(f"{name}_shape", tuple(out.shape))
            self.bound(f"{name}_dtype", out.dtype)
            self.fresh[name] = f"{name} = empty({name}_shape, {name}_dtype)"
            self.names[out] = name
        elif reuse is not None:
            self.blocks[out] = self.blocks.pop(reuse)
            self.static[out] = self.static[reuse]
            self.names[out] = self.names[reuse]
        else:
            block, array = self.memory.take(out.shape, out.dtype)
            self.blocks[out], self.static[out] = block, array
            self.names[out] = self.bound(f"b{len(self.env)}", array)
        return self.names[out]
