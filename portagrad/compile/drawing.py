"""Graphs as figures: DOT and Mermaid, and SVG and PNG by graphviz or by the layout of our own."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from portagrad.compile import render
from portagrad.compile.figure import Figure, Node, figure
from portagrad.compile.layout import ROUND
from portagrad.errors import Error
from portagrad.transforms.equations import Graph

__all__ = ["WRITERS", "dot", "draw", "figure", "mermaid", "svg"]


def draw(graph: Graph, path: Any, graphviz: bool | None = None, **options: Any) -> None:
    """Write a figure; the file's name tells the format, and the arguments are those of `Graph.draw`.

    The file appears as a whole or not at all.
    """
    target = Path(path)
    writer = WRITERS.get(target.suffix.lower())
    if writer is None:
        raise ValueError(
            f"draw: cannot write {target.name!r}: a name that ends in {', '.join(WRITERS)} tells the format"
        )
    content = writer(graph, figure(graph, **options), graphviz)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def svg(graph: Graph, graphviz: bool | None = None, **options: Any) -> str:
    """The figure as SVG."""
    return WRITERS[".svg"](graph, figure(graph, **options), graphviz).decode()


WRITERS: dict[str, Callable[[Graph, Figure, bool | None], bytes]] = {
    ".svg": lambda graph, shown, by: _piped(shown, "svg", by) or render.svg(shown).encode(),
    ".png": lambda graph, shown, by: _piped(shown, "png", by) or render.png(shown),
    ".dot": lambda graph, shown, by: dot(shown).encode(),
    ".mmd": lambda graph, shown, by: mermaid(shown).encode(),
    ".txt": lambda graph, shown, by: f"{graph}\n".encode(),
}
"""By a file's suffix what is written: of a graph, its figure, and whether graphviz is to lay it out."""


def _piped(shown: Figure, kind: str, wanted: bool | None) -> bytes | None:
    """What graphviz makes of a figure; None where it is not to be asked, or is not there and need not be."""
    there = importlib.util.find_spec("graphviz") is not None and shutil.which("dot") is not None
    if wanted and not there:
        raise Error(
            "draw: graphviz=True, but graphviz is not installed: pip install 'portagrad[draw]', and its "
            "program dot (Debian's package graphviz); without it a layout of portagrad's own serves"
        )
    if wanted is False or not there:
        return None
    import graphviz

    made: bytes = graphviz.pipe(
        "dot", kind, dot(shown, dpi=144 if kind == "png" else 96).encode(), quiet=True
    )
    return made


def dot(shown: Figure, dpi: int = 96) -> str:
    """The figure in graphviz's language."""
    direction = "BT" if shown.upward else "TB"
    apart = 0.1 if any(node.beside for node in shown.nodes) else 0.35
    lines = [
        f"digraph {_quoted(shown.title)} {{",
        f"  graph [rankdir={direction}, nodesep={apart}, ranksep=0.4, dpi={dpi}];",
        '  node [fontname="Helvetica", fontsize=12, style=filled, margin="0.1,0.05", width=0.5, height=0.5];',
        f'  edge [color="{render.EDGE}", arrowsize=0.7];',
    ]
    lines += [f"  n{i} [{_attributes(node)}];" for i, node in enumerate(shown.nodes)]
    lines += [_beside(i, node) for i, node in enumerate(shown.nodes) if node.beside]
    lines += [f"  n{tail} -> n{head};" for tail, head in shown.edges]
    return "\n".join([*lines, "}", ""])


def _beside(i: int, node: Node) -> str:
    """What is written beside a node: a node of its own, held at its right by what is not seen."""
    text = f't{i} [label=<<i>{_html(node.beside)}</i>>, shape=plain, style="", width=0, height=0];'
    row = f"{{ rank=same; n{i} -> t{i} [style=invis, weight=1000]; {text} }}"
    return f"  subgraph cluster{i} {{ peripheries=0; margin=0; {row} }}"


def _attributes(node: Node) -> str:
    fill, border = render.colours(node)
    shape = "ellipse" if node.kind in ROUND else "box"
    style = {"note": "filled,dashed", "op": "filled,rounded"}.get(node.kind, "filled")
    told = f"label={_quoted(chr(10).join(node.lines))}, tooltip={_quoted(node.tip or ' ')}"
    return f'{told}, shape={shape}, style="{style}", fillcolor="{fill}", color="{border}"'


def _quoted(text: str) -> str:
    r"""A string of DOT: in labels a backslash and an ampersand begin something else."""
    lines = [
        _printable(line).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
        for line in text.split("\n")
    ]
    return '"' + "\\n".join(lines) + '"'


def _html(text: str) -> str:
    return escape(_printable(text))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in text)


def mermaid(shown: Figure) -> str:
    """The figure in Mermaid's language."""
    lines = [f"flowchart {'BT' if shown.upward else 'TB'}"]
    for i, node in enumerate(shown.nodes):
        label = [*node.lines, *filter(None, [node.beside])]
        before, after = ('(["', '"])') if node.kind in ROUND else ('["', '"]')
        kind = "backward" if node.backward else node.kind
        lines.append(f"  n{i}{before}{'<br/>'.join(map(_entities, label))}{after}:::{kind}")
    lines += [f"  n{tail} --> n{head}" for tail, head in shown.edges]
    used = dict.fromkeys("backward" if node.backward else node.kind for node in shown.nodes)
    for kind in used:
        fill, border = {**render.COLOURS, "backward": render.BACKWARD}[kind]
        lines.append(f"  classDef {kind} fill:{fill},stroke:{border},color:{render.INK}")
    return "\n".join([*lines, ""])


def _entities(text: str) -> str:
    """Text for Mermaid, in which most punctuation may begin something else."""
    return re.sub(r"[^\w\s.,:=()\[\]…·]", lambda found: f"#{ord(found[0])};", _printable(text))
