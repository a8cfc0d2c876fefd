"""The plan of any library: the graph's kernels, one after the other, as straight-line code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from portagrad.namespace import asarray
from portagrad.op import define
from portagrad.trace import kernel_for
from portagrad.transforms.equations import Constant, Graph, Variable


def replay(graph: Graph) -> Callable[..., list[Any]]:
    """A function of the graph's inputs, in order, that runs each op and drops each value after its last use.

    The kernels are those of the values that come in, so that a library's own tracers pass through.
    """
    env: dict[str, Any] = {"kernel_for": kernel_for, "copied": asarray}
    names: dict[Variable, str] = {}
    for i, v in enumerate(graph.inputs):
        names[v] = f"a{i}"
    for i, constant in enumerate(graph.constants()):
        names[constant] = f"k{i}"
        env[f"k{i}"] = constant.value

    def shown(a: Any, where: str) -> str:
        if isinstance(a, Variable):
            return names[a]
        env[where] = a
        return where

    lines = []
    for i, (eq, gone) in enumerate(zip(graph.equations, graph.last_uses(), strict=True)):
        env[f"op{i}"], env[f"p{i}"] = eq.op, eq.params
        for j, out in enumerate(eq.outs):
            names[out] = f"v{i}_{j}"
        given = "".join(shown(a, f"s{i}_{j}") + ", " for j, a in enumerate(eq.args))
        outs = ", ".join(names[out] for out in eq.outs)
        comma = "," if eq.op.several and len(eq.outs) == 1 else ""
        params = f", **p{i}" if eq.params else ""
        lines.append(f"    {outs}{comma} = kernel_for(op{i}, ({given})).run({given.rstrip(', ')}{params})")
        dead = [names[v] for v in gone if not isinstance(v, Constant)]
        if dead:
            lines.append(f"    del {', '.join(dead)}")
    # Each call gives arrays of its own, which a caller may donate: a constant must not be among them.
    results = ", ".join(
        f"copied({names[y]}, copy=True)" if isinstance(y, Constant) else shown(y, f"y{i}")
        for i, y in enumerate(graph.outputs)
    )
    head = f"def run({', '.join(names[v] for v in graph.inputs)}):"
    return define("\n".join([head, *lines, f"    return [{results}]"]), "run", env)
