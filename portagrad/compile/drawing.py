"""Graphs as figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from portagrad.transforms.equations import Graph, Variable, described


def dot(graph: Graph) -> str:
    """The graph in graphviz's language: values as ellipses, ops as boxes."""
    names = graph.names()
    lines = ["digraph {"]
    for v, name in names.items():
        lines.append(f'  "{name}" [label="{name}: {described(v)}"];')
    for i, eq in enumerate(graph.equations):
        lines.append(f'  op{i} [label="{eq.op.name}" shape=box];')
        lines += [f'  "{names[a]}" -> op{i};' for a in eq.args if isinstance(a, Variable)]
        lines += [f'  op{i} -> "{names[v]}";' for v in eq.outs]
    return "\n".join([*lines, "}"])


def draw(graph: Graph, path: Any) -> None:
    """Write a figure; the file's name tells the format."""
    target = Path(path)
    if target.suffix != ".dot":
        raise ValueError(f"draw: cannot write {target.suffix!r} files; name the file *.dot")
    target.write_text(dot(graph), encoding="utf-8")


def svg(graph: Graph) -> str | None:
    """The figure as SVG, where graphviz is there to lay it out."""
    return None
