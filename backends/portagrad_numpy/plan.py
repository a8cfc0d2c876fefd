"""A compiled graph on NumPy: straight-line calls into memory that is allocated once and used again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from portagrad_numpy import blocks, loops, threads
from portagrad_numpy.calls import KEYWORD, UFUNCS, call
from portagrad_numpy.donation import given_away
from portagrad_numpy.fusion import Nest
from portagrad_numpy.jobs import Jobs
from portagrad_numpy.schedule import Step
from portagrad_numpy.softmax import CrossEntropy
from portagrad_numpy.words import Threefry

_WHOLE: dict[str, Any] = {"cross_entropy_and_slope": CrossEntropy, "threefry": Threefry}
"""Ops of several results that a plan computes as a whole."""


class _Writer(Jobs):
    """Writes the plan's source."""

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
        if self.product(eq):
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
        """The loops of a step: those that numba compiles as one function, the others block by block."""
        kept: dict[Any, Any] = {}  # the memory of what is needed outside its nest
        for out in (out for eq in step.eqs for out in eq.outs):
            nest = next(n for n in step.nests if out in n.made)
            inside = all(e in nest.eqs and out in e.args for _, e in self.read_at.get(out, ()))
            if not inside or out in self.escaping or out in nest.sums:
                name = self.store(out)
                kept[out] = self.graph.inputs[int(name[1:])] if name.startswith("a") else out
        together: list[Nest] = []
        for nest in step.nests:
            run = self.cut(nest, kept)
            if run is None:
                together.append(nest)
                continue
            self.generated(together, kept)
            together = []
            given = [self.expression(v) for v in run.operands]
            self.line(f"{self.bound(f'f{len(self.env)}', run)}({', '.join(given)})")
        self.generated(together, kept)

    def cut(self, nest: Nest, kept: Any) -> blocks.Blocks | None:
        """A nest cut into blocks, where it must or should be."""
        if not nest.blocked:
            return None
        made = blocks.Blocks(nest, {v: p for v, p in kept.items() if v in nest.made}, self.layouts)
        for v in made.operands:
            root = self.layouts.root[v]
            if made.flat and root in self.graph.inputs:
                self.strict.add(self.graph.inputs.index(root))
        self.blocked.append(made)
        return made

    def finish(self) -> Callable[..., list[Any]]:
        """The end of the code: results put where they belong, donated arrays marked."""
        self.write()
        self.flush()
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
        checks = self.beginning()
        head = f"def run({', '.join(self.names[v] for v in self.graph.inputs)}):"
        source = "\n".join([head, *checks, *self.lines, f"    return [{', '.join(outs)}]"])
        scope = {**self.env, "numpy": numpy}
        exec(compile(source, "<plan>", "exec"), scope)
        run: Callable[..., list[Any]] = scope["run"]
        self.source = source
        self.first_write = None if self.written_from is None else 2 + len(checks) + self.written_from
        return run


class Plan:
    """What runs a compiled graph on NumPy."""

    def __init__(self, graph: Any, donated: tuple[int, ...]) -> None:
        planner = _Writer(graph, donated)
        self.run = planner.finish()
        self.source = planner.source
        self.loops = planner.sources
        self.blocks = planner.blocked
        self.first_write = planner.first_write
        calls = sum(not step.loop for step in planner.steps)
        nests = sum(len(step.nests) for step in planner.steps) - len(planner.blocked)
        size = planner.memory.bytes + sum(run.nbytes for run in planner.blocked)
        self.report = {
            "plan": f"{calls} calls of NumPy, {nests} generated loops in {len(self.loops)} functions",
            "memory": f"{planner.memory.count} buffers, {size:,} bytes",
            "in place": f"{len(planner.target)} results in donated memory",
        }
        if planner.divided:
            self.report["pieces"] = (
                f"{planner.divided} loops in pieces, on {threads.team().count} threads at most"
            )
        if planner.blocked:
            most = max(len(run.scratch) for run in planner.blocked)
            self.report["blocks"] = f"{len(planner.blocked)} loops over blocks, on {most} threads at most"
        if planner.large:
            self.report["products"] = f"{planner.large} by MKL, on {threads.team().count} threads at most"
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
