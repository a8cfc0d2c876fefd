"""A compiled function that reverse mode meets: its forward and its backward pass, each compiled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from portagrad.backend import KIND, Backend
from portagrad.compile.passes import improved
from portagrad.compile.replay import replay
from portagrad.kernel import namespace
from portagrad.tensor import CONSTANT, bare, raw
from portagrad.trace import Traced
from portagrad.transforms.equations import Constant, Graph, Variable
from portagrad.transforms.gradient import array, vjp
from portagrad.transforms.graph import GraphTrace
from portagrad.transforms.own_call import OwnCall, split
from portagrad.transforms.record import ReverseTrace
from portagrad.transforms.tape import TapeTrace
from portagrad.transforms.tree import any_traced, flatten, is_array, unflatten


class Differentiated:
    """The two passes for arguments of one kind.

    The forward pass returns, beside the results, what the backward pass reads. It is good for reverse mode on
    raw arrays; a second differentiation around it would have to see the ops.
    """

    def __init__(
        self, name: str, f: Callable[..., Any], args: Any, active: Sequence[int], backend: Backend
    ) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.active = active
        recorded, count, self.results = _joint(name, f, args, active, backend.inlines)
        self.closed = closes_over_traced(recorded)
        if self.closed:
            return
        graph = improved(recorded)
        self.count = count
        self.floating = [i for i, y in enumerate(graph.outputs[:count]) if KIND[y.dtype]]
        self.forward, self.backward = _halves(graph, count, len(self.floating))
        self.given = [self.forward.inputs.index(v) for v in self.backward.inputs if v in self.forward.inputs]
        self.plans = [
            backend.plan(half, replay(half), ()) if backend.plan else replay(half)
            for half in (self.forward, self.backward)
        ]

    def __call__(self, args: Any) -> Any:
        call = OwnCall(self.name, args)
        kept: list[Any] = []

        def forward(*arrays: Any, xp: Any = None) -> tuple[Any, ...]:
            outs = self.run(0, arrays)
            kept[:] = [*[arrays[i] for i in self.given], *outs[self.count :]]
            call.results = self.results
            return tuple(map(array, outs[: self.count]))

        def pull(g: Any, leaves: Any) -> list[Any]:
            parts = dict(zip(self.active, self.run(1, [*kept, *[g[i] for i in self.floating]]), strict=True))
            return [parts.get(i) for i in range(len(leaves))]

        return call.run(pull, None, forward, again=False, anew=None)

    def run(self, half: int, arrays: Any) -> list[Any]:
        """The forward (0) or the backward pass (1); op by op where a transform around it takes part."""
        if any_traced(arrays):
            return (self.forward, self.backward)[half].run(list(arrays))
        with self.lock:
            return self.plans[half](*map(array, arrays))

    def report(self) -> str:
        """What was made of the function."""
        counts = [len(half.equations) for half in (self.forward, self.backward)]
        kept = len(self.backward.inputs) - len(self.floating)
        return f"{counts[0]} ops forward, {counts[1]} back, which read {kept} arrays of the way there"


def differentiating(leaves: Sequence[Any]) -> ReverseTrace | None:
    """The trace to which the leaves belong, if it is reverse mode's and there is nothing below it."""
    traced = [x for x in leaves if isinstance(x, Traced)]
    traces = {x.trace for x in traced} - {CONSTANT}
    trace = traces.pop() if len(traces) == 1 else None
    if type(trace) not in (ReverseTrace, TapeTrace) or any(isinstance(x.value, Traced) for x in traced):
        return None
    assert isinstance(trace, ReverseTrace)
    return trace if trace.mode == "pull" else None


def _joint(
    name: str, f: Callable[..., Any], args: Any, active: Sequence[int], inlines: Any
) -> tuple[Graph, int, Any]:
    """One graph of the results and, from cotangents that are further inputs, those of the active arguments.

    Also how many results are arrays, and the tree of the results without them.
    """
    trace = GraphTrace(inlines)
    leaves, structure = flatten(args)
    inner = [trace.input(raw(x)) if is_array(x) else x for x in leaves]
    places = [i for i, x in enumerate(leaves) if is_array(x)]
    chosen = [places[k] for k in active]

    def of_active(*xs: Any) -> Any:
        full = list(inner)
        for i, x in zip(chosen, xs, strict=True):
            full[i] = x
        return f(*unflatten(structure, full))

    try:
        y, pullback = vjp(of_active, *[inner[i] for i in chosen])
        outs, results = flatten(y)
        arrays = [x for x in outs if is_array(x)]
        cotangents = [_cotangent(trace, x) if is_array(x) else x for x in outs]
        gradients = pullback(unflatten(results, cotangents))
        outputs = tuple([trace.argument(bare(x)) for x in (*arrays, *gradients)])
    finally:
        trace.close()
    graph = Graph(name, tuple(trace.inputs), tuple(trace.equations), outputs)
    return graph, len(arrays), split(y)[1]


def closes_over_traced(graph: Graph) -> bool:
    """Whether a recorded function closes over a value of another transform, which must see its ops."""
    return any(isinstance(c.value, Traced) for c in graph.constants())


def _cotangent(trace: GraphTrace, x: Any) -> Any:
    """An input for the cotangent of a result; integers have none."""
    value = raw(x)
    return trace.input(namespace(value).ones_like(value)) if KIND[value.dtype] else x


def _halves(graph: Graph, count: int, cotangents: int) -> tuple[Graph, Graph]:
    """The equations that need no cotangent, and those that do."""
    first = len(graph.inputs) - cotangents
    late: set[Any] = set(graph.inputs[first:])
    before: list[Any] = []
    after: list[Any] = []
    for eq in graph.equations:
        needs = any(v in late for v in eq.variables())
        (after if needs else before).append(eq)
        if needs:
            late.update(eq.outs)
    gradients = graph.outputs[count:]
    read = dict.fromkeys(v for eq in after for v in eq.variables())
    read.update(dict.fromkeys(v for v in gradients if isinstance(v, Variable)))
    kept = [v for v in read if v not in late and not isinstance(v, Constant)]
    inputs = graph.inputs[:first]
    arguments = [v for v in kept if v in inputs]
    made = [v for v in kept if v not in inputs]
    forward = Graph(graph.name, inputs, tuple(before), (*graph.outputs[:count], *made))
    backward = Graph(graph.name, (*arguments, *made, *graph.inputs[first:]), tuple(after), gradients)
    return forward, backward
