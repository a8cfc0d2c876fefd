"""A compiled graph on NumPy: straight-line calls into memory that is allocated once and used again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from portagrad.compile.grouping import group_of
from portagrad_numpy import blocks, loops, threads
from portagrad_numpy.calls import KEYWORD
from portagrad_numpy.donation import given_away
from portagrad_numpy.fusion import Nest
from portagrad_numpy.jobs import Jobs


class _Writer(Jobs):
    """Writes the plan's source."""

    def write(self) -> None:
        for step in self.steps:
            if group_of(step[0]) is not None:
                self.loop(step)
            elif self.calls[step[0]] is not None:
                self.single(step[0])
            else:
                self.library(step[0])

    def single(self, eq: Any) -> None:
        """One equation as a call into memory."""
        if self.product(eq):
            return
        function, args = self.calls[eq]
        given = [self.argument(a) for a in args]
        outs = [self.store(out) for out in eq.outs]
        name = self.bound(f"f{len(self.env)}", function)
        keyword = "out=" if function in KEYWORD else ""
        self.line(f"{name}({', '.join([*given, keyword + outs[0], *outs[1:]])})")

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

    def loop(self, eqs: list[Any]) -> None:
        """Groups: those that numba compiles as one function, the others block by block."""
        kept: dict[Any, Any] = {}  # the memory of what is needed outside its group
        for out in (out for eq in eqs for out in eq.outs):
            self.store(out)
            kept[out] = self.buffers.over.get(out, out)
        together: list[Nest] = []
        for nest in (Nest(group) for eq in eqs if (group := group_of(eq)) is not None):
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
        """A nest as blocks, where some of it is calls of NumPy."""
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
        target = self.buffers.target
        seen: set[Any] = set()
        previous: dict[int, str] = {}
        for j, y in enumerate(self.graph.outputs):
            if not hasattr(y, "dtype"):
                outs.append(self.bound(f"o{j}", y))
                continue
            name, root = self.expression(y), self.layouts.root[y]
            if y in target and y not in seen:
                k = target[y]
                if name != f"a{k}":
                    self.strict.add(k)
                    if self.written_from is None:
                        self.written_from = len(self.lines)
                    self.line(f"copyto(a{k}, {name})")
                self.line(f"r{j} = a{k}.view()")
                self.bound(f"d{k}", given_away(y.dtype))
                previous[k] = f"r{j}"
                outs.append(f"r{j}")
            elif root in seen or root in target or root in self.graph.inputs or root in self.static:
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
        calls = sum(group_of(step[0]) is None for step in planner.steps)
        nests = sum(map(len, planner.steps)) - calls - len(planner.blocked)
        buffers, scratch = planner.buffers, sum(run.nbytes for run in planner.blocked)
        places = len({*buffers.places.values()})
        self.report = {
            "plan": f"{calls} calls of NumPy, {nests} generated loops in {len(self.loops)} functions",
            "memory": f"{places} buffers, {buffers.size:,} bytes for {buffers.asked:,} bytes of values",
            "in place": f"{len(buffers.target)} results in donated memory",
        }
        if planner.divided:
            self.report["pieces"] = (
                f"{planner.divided} loops in pieces, on {threads.team().count} threads at most"
            )
        if planner.blocked:
            most = max(len(run.scratch) for run in planner.blocked)
            on = f"on {most} threads at most, in {scratch:,} bytes"
            self.report["blocks"] = f"{len(planner.blocked)} loops over blocks, {on}"
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
