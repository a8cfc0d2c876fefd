"""A compiled graph on NumPy: straight-line calls into memory that is allocated once and used again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy

from portagrad_numpy import fusion, loops
from portagrad_numpy.calls import KEYWORD, UFUNCS, VIEWS, call
from portagrad_numpy.donation import given_away
from portagrad_numpy.schedule import Layouts, Step, roots, schedule
from portagrad_numpy.softmax import CrossEntropy
from portagrad_numpy.words import Threefry

_ALIGNMENT = 64
_WHOLE: dict[str, Any] = {"cross_entropy_and_slope": CrossEntropy, "threefry": Threefry}
"""Ops of several results that a plan computes as a whole."""


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


class _Planner:
    """Decides where each value lies, and writes the plan's source."""

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
        self.sources: list[str] = []
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

    # Emission

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
            name = f"y{len(self.lines)}"
            self.bound(f"{name}_shape", tuple(out.shape))
            self.bound(f"{name}_dtype", out.dtype)
            self.line(f"{name} = empty({name}_shape, {name}_dtype)")
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

    def write(self) -> None:
        last: dict[int, list[Any]] = {}
        for root, places in self.read_at.items():
            last.setdefault(max(i for i, _ in places), []).append(root)
        for i, step in enumerate(self.steps):
            dying = [r for r in last.get(i, ()) if r in self.blocks and r not in self.escaping]
            if step.loop:
                self.loop(step)
            else:
                self.single(step.eqs[0], dying)
            for root in dying:
                if root in self.blocks:
                    self.memory.give(self.blocks.pop(root))
            for eq in step.eqs:  # results that nothing reads
                for out in eq.outs:
                    if out in self.blocks and out not in self.read_at and out not in self.escaping:
                        self.memory.give(self.blocks.pop(out))

    def single(self, eq: Any, dying: list[Any]) -> None:
        """One equation: a call into memory, or the library's own function."""
        whole = _WHOLE.get(eq.op.name)
        if whole is not None and whole.takes(eq):
            given = [*map(self.argument, eq.args), *map(self.store, eq.outs)]
            name = self.bound(f"f{len(self.env)}", whole(eq, loops.AVAILABLE))
            self.line(f"{name}({', '.join(given)})")
            return
        made = call(eq) if len(eq.outs) == 1 else None
        if made is None:
            self.library(eq)
            return
        function, args = made
        given = [self.argument(a) for a in args]
        (out,) = eq.outs
        same = [
            a
            for a in eq.variables()
            if a in dying and a.shape == out.shape and a.dtype == out.dtype and self.layouts.root[a] is a
        ]
        out_name = self.store(out, same[0] if same and function in UFUNCS.values() else None)
        name = self.bound(f"f{len(self.env)}", function)
        if function in KEYWORD:
            out_name = f"out={out_name}"
        self.line(f"{name}({', '.join([*given, out_name])})")

    def library(self, eq: Any) -> None:
        """The op's own kernel: its results are new arrays in each call."""
        run = eq.kernel()
        params = eq.params
        name = self.bound(f"f{len(self.env)}", (lambda *args: run(*args, **params)) if params else run)
        given = [self.argument(a) for a in eq.args]
        outs = []
        for out in eq.outs:
            outs.append(f"v{len(self.env)}")
            self.env[outs[-1]] = None
            self.names[out] = f"{outs[-1]}_"
        comma = "," if eq.op.several else ""
        self.line(f"{', '.join(o + '_' for o in outs)}{comma} = {name}({', '.join(given)})")
        for out in eq.outs:
            self.bound("ordered", numpy.ascontiguousarray)
            here = self.names[out]
            self.line(f"{here} = ordered({here}){'.reshape(())' if out.shape == () else ''}")

    def loop(self, step: Step) -> None:
        """The loops of a step as one compiled function."""
        kept = set()
        for out in (out for eq in step.eqs for out in eq.outs):
            nest = next(n for n in step.nests if out in n.made)
            inside = all(e in nest.eqs and out in e.args for _, e in self.read_at.get(out, ()))
            if not inside or out in self.escaping or out in nest.sums:
                kept.add(out)
                self.store(out)
        names: dict[
            str, str
        ] = {}  # in the loop's source, by the order of use: equal loops have equal sources
        memories: dict[str, Any] = {}
        given: list[str] = []

        def memory(v: Any) -> tuple[str, int, tuple[int, ...]]:
            root = self.layouts.root[v]
            name = self.expression(root)
            if name not in names:
                here = names[name] = f"m{len(names)}"
                if root in self.static:
                    memories[here] = self.static[root].reshape(-1)
                    name_flat = (
                        name if self.static[root].ndim == 1 else self.bound(f"{name}f", memories[here])
                    )
                    given.append(name_flat)
                else:
                    memories[here] = self.layouts.dummy[root]
                    given.append(name)
                    if name.startswith("a"):
                        self.strict.add(int(name[1:]))
            return (names[name], *self.layouts.steps(v))

        writer = loops.Writer(memory, lambda v, nest: v in kept)
        for nest in step.nests:
            writer.nest(nest)
        function, source = loops.function(writer, memories)
        self.sources.append(source)
        name = self.bound(f"f{len(self.env)}", function)
        self.line(f"{name}({', '.join(given)})")

    def finish(self) -> Callable[..., list[Any]]:
        """The end of the code: results put where they belong, donated arrays marked."""
        self.write()
        outs: list[str] = []
        seen: set[Any] = set()
        previous: dict[int, str] = {}
        for j, (y, value) in enumerate(zip(self.results, self.graph.outputs, strict=True)):
            if y is None:
                outs.append(self.bound(f"o{j}", value))
                continue
            name, root = self.expression(y), self.layouts.root[y]
            if y in self.target and y not in seen:
                k = self.target[y]
                if name != f"a{k}":
                    self.strict.add(k)
                    if self.written_from is None:
                        self.written_from = len(self.lines)
                    self.line(f"copyto(a{k}, {name})")
                self.line(f"r{j} = a{k}.view()")
                self.bound(f"d{k}", given_away(y.dtype))
                previous[k] = f"r{j}"
                outs.append(f"r{j}")
            elif root in seen or root in self.target or root in self.graph.inputs or root in self.static:
                self.line(f"r{j} = {name}.copy()")
                outs.append(f"r{j}")
            else:
                outs.append(name)
            seen.add(root)
        for k, result in previous.items():
            self.line(f"a{k}.dtype = d{k}; last[{k}] = {result}")
        self.env["last"] = [None] * len(self.graph.inputs)
        checks = []
        for k in sorted(self.strict):
            self.env["ready"] = _ready
            checks.append(f"    if a{k} is not last[{k}]: a{k} = ready(a{k})")
        head = f"def run({', '.join(self.names[v] for v in self.graph.inputs)}):"
        source = "\n".join([head, *checks, *self.lines, f"    return [{', '.join(outs)}]"])
        scope = {**self.env, "numpy": numpy}
        exec(compile(source, "<plan>", "exec"), scope)
        run: Callable[..., list[Any]] = scope["run"]
        self.source = source
        self.first_write = None if self.written_from is None else 2 + len(checks) + self.written_from
        return run


def _ready(x: Any) -> Any:
    """An input as loops and in-place results need it: in C order, writeable; a copy if it is not."""
    return x if x.flags.carray else numpy.array(x, order="C")


class Plan:
    """What runs a compiled graph on NumPy."""

    def __init__(self, graph: Any, donated: tuple[int, ...]) -> None:
        planner = _Planner(graph, donated)
        self.run = planner.finish()
        self.source = planner.source
        self.loops = planner.sources
        self.first_write = planner.first_write
        calls = sum(not step.loop for step in planner.steps)
        nests = sum(len(step.nests) for step in planner.steps)
        self.report = {
            "plan": f"{calls} calls of NumPy, {nests} generated loops in {len(self.loops)} functions",
            "memory": f"{planner.memory.count} buffers, {planner.memory.bytes:,} bytes",
            "in place": f"{len(planner.target)} results in donated memory",
        }
        if not loops.AVAILABLE:
            self.report["loops"] = "none: numba is not installed (pip install 'portagrad[numba]')"

    def __call__(self, *inputs: Any) -> list[Any]:
        return self.run(*inputs)

    def intact(self, error: BaseException) -> bool:
        """Whether a run that ended with `error` had not yet written to a donated array."""
        if self.first_write is None:
            return True
        frame: Any = error.__traceback__
        while frame is not None and frame.tb_frame.f_code is not self.run.__code__:
            frame = frame.tb_next
        return frame is not None and frame.tb_lineno < self.first_write


def plan(graph: Any, run: Callable[..., Any], donated: tuple[int, ...]) -> Plan:
    """The plan of a graph; `run`, the replay, is not needed."""
    return Plan(graph, donated)
