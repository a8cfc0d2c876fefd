"""A compiled graph on CuPy: generated kernels and cuBLAS in static memory, captured in a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import cupy
import numpy

from portagrad_cupy.blas import Blas, blas, empty_workspace
from portagrad_cupy.capture import Captures
from portagrad_cupy.planner import Call, Copy, Launch, Multiply, Planner, compiled
from portagrad_cupy.writer import THREADS

INLINES = (
    *("cross_entropy", "cross_entropy_slope", "elu", "gelu", "layer_norm", "leaky_relu", "linear"),
    *("log_softmax", "logsumexp", "one_hot", "relu", "sigmoid", "silu", "softmax", "softplus"),
    *("special.expit", "special.logit", "special.xdivy", "special.xlog1py", "special.xlogy", "standardize"),
)
"""Ops whose forwards are elementwise ops and reductions, which generated kernels fuse."""


class Plan:
    """What runs a compiled graph on CuPy.

    The results of a call are new arrays, or lie in donated memory: no later call writes to them, unless they
    are donated to it. All work is put on the caller's current stream.
    """

    def __init__(self, graph: Any, donated: tuple[int, ...]) -> None:
        planner = Planner(graph, donated)
        self.schedule, graph = planner.plan, planner.graph
        self.device = graph.inputs[0].device
        self.constants = graph.constants()
        self.input_count = len(graph.inputs)
        self.donated = frozenset(planner.buffers.target.values())
        self.captures = Captures(self.execute, self.donated, self.begin_writing)
        self.fixed: list[Any] | None = None
        self.functions: dict[str, Any] = {}
        self.blas: Blas | None = None
        self.workspace: Any = None
        self.without_blas: str | None = None
        self.stream: Any = None
        self.writing = False

    @property
    def source(self) -> str:
        """The CUDA C++ of all kernels."""
        return self.schedule.source

    def __call__(self, *inputs: Any) -> list[Any]:
        guard = self.device.backend.guard
        with guard(self.device.native) if guard else nullcontext():
            self.writing = False
            if self.fixed is None:
                self.allocate()
            self.order()
            ready = [x if x.flags.c_contiguous else cupy.asarray(x, order="C") for x in inputs]
            values = self.captures.run(ready)
            return self.results([*ready, *values])

    def allocate(self) -> None:
        """The memory and the kernels, at the first call: tracing needs no device."""
        plan = self.schedule
        arena = cupy.empty(max(1, plan.size), numpy.uint8)
        fixed: list[Any] = [None] * plan.count
        fixed[self.input_count : self.input_count + len(self.constants)] = [
            cupy.array(c.value, order="C") for c in self.constants
        ]
        for slot, (dtype, shape, begin) in plan.fixed.items():
            size = int(numpy.prod(shape, dtype=numpy.int64)) * dtype.itemsize
            fixed[slot] = arena[begin : begin + size].view(dtype).reshape(shape)
        for slot, size in plan.zeros.items():
            fixed[slot] = cupy.zeros(size, numpy.uint32)
        if plan.source:
            module = compiled(plan.source)
            names = [step.name for step in plan.steps if isinstance(step, Launch)]
            self.functions = {name: module.get_function(name) for name in names}
        if any(isinstance(step, Multiply) for step in plan.steps):
            try:
                self.blas, self.workspace = blas(), empty_workspace()
            except (OSError, AttributeError) as error:  # CuPy's own calls remain, outside of a capture
                self.without_blas = f"{type(error).__name__}: {error}"
        self.fixed = fixed

    def order(self) -> None:
        """A call on another stream than the last one's waits for it: both use the same memory."""
        stream = cupy.cuda.get_current_stream()
        if self.stream is not None and stream != self.stream:
            stream.wait_event(self.stream.record())
        self.stream = stream

    def begin_writing(self) -> None:
        self.writing = self.schedule.first_write is not None

    def execute(self, inputs: list[Any]) -> list[Any]:
        """All steps, one after the other, on the current stream; returns the values of all slots."""
        assert self.fixed is not None
        self.writing = False
        values = [*inputs, *self.fixed[self.input_count :]]
        plan = self.schedule
        stream = cupy.cuda.get_current_stream()
        with self.blas.on(stream.ptr, self.workspace) if self.blas is not None else nullcontext():
            for i, (step, drops) in enumerate(zip(plan.steps, plan.drops, strict=True)):
                if i == plan.first_write:
                    self.begin_writing()
                try:
                    self.step(step, values)
                except Exception as error:
                    error.add_note(f"step {i + 1} of {len(plan.steps)} of the plan: {step}")
                    raise
                for slot in drops:
                    values[slot] = None
        return values

    def step(self, step: Launch | Multiply | Call | Copy, values: list[Any]) -> None:
        match step:
            case Launch():
                args = tuple([values[s] for s in step.slots])
                self.functions[step.name]((step.blocks,), (THREADS,), args)
            case Multiply():
                self.multiply(step, values)
            case Copy():
                cupy.copyto(values[step.target], values[step.source])
            case Call():
                self.call(step, values)

    def multiply(self, step: Multiply, values: list[Any]) -> None:
        x, y, out = (values[s] for s in step.slots)
        if self.blas is not None:
            self.blas.multiply(step.product, out.dtype, x.data.ptr, y.data.ptr, out.data.ptr)
            return
        first, second = (self.seen(a, v) for a, v in zip(step.eq.args, (x, y), strict=True))
        if step.eq.op.name == "matmul":
            cupy.matmul(first, second, out=out)
        else:
            made = step.eq.kernel()(first, second, **step.eq.params)
            cupy.copyto(out, cupy.asarray(made, order="C"))

    def call(self, step: Call, values: list[Any]) -> None:
        """The library's own function.

        Its results are new arrays in C order: a view of an argument would change with the memory.
        """
        slot, root = self.schedule.slot, self.schedule.layouts.root
        args = [self.seen(a, values[slot[root[a]]]) if hasattr(a, "dtype") else a for a in step.eq.args]
        given = [a for a in args if hasattr(a, "dtype")]
        made = step.run(*args, **step.eq.params)
        for s, part in zip(step.slots, made if step.eq.op.several else (made,), strict=True):
            part = cupy.asarray(part, order="C")
            if any(cupy.may_share_memory(part, a) for a in given):
                part = part.copy()
            values[s] = part

    def seen(self, v: Any, array: Any) -> Any:
        """A variable as an array, from its root's."""
        layouts = self.schedule.layouts
        if layouts.root[v] is v:
            return array
        offset, strides = layouts.steps(v)
        bytes_ = tuple([s * v.dtype.itemsize for s in strides])
        return cupy.lib.stride_tricks.as_strided(array.reshape(-1)[offset:], v.shape, bytes_)

    def results(self, values: list[Any]) -> list[Any]:
        """The outputs: donated memory, or copies of what lies in memory that the next call uses again."""
        plan = self.schedule
        outs: list[Any] = []
        for kind, what in plan.returned:
            if kind == "number":
                outs.append(what)
            elif kind == "donated":
                outs.append(values[what].view())
            else:
                root = plan.layouts.root[what]
                outs.append(self.seen(what, values[plan.slot[root]]).copy(order="C"))
        return outs

    def intact(self, error: BaseException) -> bool:
        """Whether a call that ended with `error` had not yet begun to write to donated arrays."""
        return not self.writing

    @property
    def report(self) -> dict[str, str]:
        """What was made of the graph."""
        plan = self.schedule
        launches = [step for step in plan.steps if isinstance(step, Launch)]
        calls = [step.eq.op.name for step in plan.steps if isinstance(step, Call)]
        products, copies = (sum(isinstance(s, kind) for s in plan.steps) for kind in (Multiply, Copy))
        groups = [group for step in launches for group in step.groups]
        ops = sum(len(group.eqs) for group in groups)
        told = {
            "plan": f"{len(launches)} generated kernels of {len(groups)} groups ({ops} ops), {products} "
            f"products, {copies} copies, {len(calls)} calls of CuPy",
            "memory": f"one block of {plan.size:,} bytes for {plan.asked:,} bytes of values",
            "in place": f"{len(self.donated)} results in donated memory",
            "CUDA graph": self.captures.told(),
        }
        if calls:
            told["calls"] = ", ".join(dict.fromkeys(calls))
        if self.without_blas is not None:
            told["products"] = f"by CuPy, as cuBLAS was not found: {self.without_blas}"
        return told


class Replay:
    """The library's ops one after the other, where values of a graph are on several devices."""

    def __init__(self, run: Callable[..., list[Any]]) -> None:
        self.run = run
        self.report = {"plan": "CuPy's ops, one after the other: the values are on several devices"}

    def __call__(self, *inputs: Any) -> list[Any]:
        return self.run(*inputs)


def plan(graph: Any, run: Callable[..., list[Any]], donated: tuple[int, ...]) -> Plan | Replay:
    """The plan of a graph, whose ops `run` replays."""
    values = [*graph.inputs, *graph.constants(), *(out for eq in graph.equations for out in eq.outs)]
    if len({str(v.device) for v in values}) != 1 or any(eq.op.moves for eq in graph.equations):
        return Replay(run)
    return Plan(graph, donated)
