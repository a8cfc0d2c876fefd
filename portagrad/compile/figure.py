"""What a figure of a graph shows: nodes and edges, whoever lays them out and in whatever language."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from portagrad.transforms.equations import Constant, Equation, Graph, Variable
from portagrad.transforms.text import called, chosen, described, printed

LABEL = 44
"""The characters of a label's longest line."""


@dataclass(frozen=True, slots=True)
class Node:
    """Something to draw.

    Attributes
    ----------
    kind : str
        ``input``, ``constant``, ``op``, ``value``, ``result``, or ``note``: what stands for what is left out.
    lines : tuple of str
        The label.
    beside : str
        What is written beside the node.
    tip : str
        What a reader may ask for: the whole equation and the line of code that made it.
    backward : bool
        Part of a gradient.
    """

    kind: str
    lines: tuple[str, ...]
    beside: str = ""
    tip: str = ""
    backward: bool = False


@dataclass(slots=True)
class Figure:
    """Nodes, and edges between them by number, each from a node to a later one.

    Attributes
    ----------
    upward : bool
        Whether results stand above what they depend on, as in "Deep Learning"; else below.
    """

    title: str
    upward: bool = False
    nodes: list[Node] = field(default_factory=list)
    edges: list[tuple[int, int]] = field(default_factory=list)

    def add(self, node: Node, tails: Iterable[int] = ()) -> int:
        """A node, and edges to it."""
        head = len(self.nodes)
        self.nodes.append(node)
        self.edges += [(tail, head) for tail in tails]
        return head


def figure(
    graph: Graph,
    style: str = "ops",
    names: Mapping[str, str] | None = None,
    limit: int | None = 200,
) -> Figure:
    """The figure of a graph; the arguments are those of `Graph.draw`."""
    if style not in ("ops", "book"):
        raise ValueError(f"draw: there is no style {style!r}; there are 'ops' and 'book'")
    if limit is not None and limit < 1:
        raise ValueError(f"draw: limit is {limit}; give the number of equations to draw, or None for all")
    known = graph.names()
    given = {**(names or {})}
    for name in given:
        if name not in known.values():
            raise ValueError(f"draw: no value is called {name!r}; print(graph) shows the names")
    made = _Figure(graph, {v: given.get(name, name) for v, name in known.items()}, limit)
    if style == "ops":
        made.ops()
    else:
        made.book({v for v, name in known.items() if name in given})
    return made.figure


class _Figure:
    """A figure that is being made: the equations that are drawn, and where each value comes from."""

    def __init__(self, graph: Graph, names: dict[Variable, str], limit: int | None) -> None:
        self.graph, self.names, self.limit = graph, names, limit
        self.figure = Figure(graph.name)
        self.drawn = graph.equations[:limit]
        self.rest = graph.equations[limit:] if limit is not None else ()
        self.node: dict[Variable, int] = {}

    def ops(self) -> None:
        """A box for each equation, with the text that it is printed as; results by themselves."""
        self._sources(lambda v: f"{self.names[v]}: {described(v)}")
        for eq in self.drawn:
            outs = [f"{self.names[v]}: {described(v)}" for v in eq.outs[:4]]
            outs += ["…"] * (len(eq.outs) > 4)
            lines = (_short(called(eq.op, eq.args, eq.params, self.names)), *map(_short, outs))
            node = Node("op", lines, tip=self._tip(eq), backward=eq.backward)
            self.node.update(dict.fromkeys(eq.outs, self.figure.add(node, self._tails(eq))))
        self._note()
        later = {v for eq in self.rest for v in eq.outs}
        shown: list[tuple[Any, str]] = []
        left: list[tuple[Any, str]] = []
        for y, path in zip(self.graph.outputs, _paths(self.graph), strict=True):
            full = self.limit is not None and len(shown) >= self.limit
            (left if full or y in later else shown).append((y, path))
        if len(left) == 1:
            shown, left = shown + left, []
        for y, path in shown:
            text = self.names[y] if isinstance(y, Variable) else repr(y)
            tails = [self.node[y]] if isinstance(y, Variable) else []
            self.figure.add(Node("result", (_short(f"return{path}"), _short(text))), tails)
        if left:
            tails = list(dict.fromkeys(self.node[y] for y, _ in left if isinstance(y, Variable)))
            self.figure.add(Node("note", (f"… {len(left)} more results",)), tails)

    def book(self, named: set[Variable]) -> None:
        """A node for each value, and beside it the op that computes it, as in "Deep Learning", figure 6.8.

        Intermediate values are u⁽¹⁾, u⁽²⁾, ..., as there, unless they are `named`.
        """
        self.figure.upward = True
        counter = itertools.count(1)
        for eq in self.drawn:
            for v in eq.outs:
                if v not in named:
                    self.names[v] = f"u{f'({next(counter)})'.translate(_SUPERSCRIPT)}"
        self._sources(lambda v: self.names[v])
        results = {y for y in self.graph.outputs if isinstance(y, Variable)}
        for eq in self.drawn:
            kinds = ["result" if v in results else "value" for v in eq.outs]
            tails = self._tails(eq)
            for kind, v in zip(kinds, eq.outs, strict=True):
                node = Node(kind, (_short(self.names[v]),), _short(symbol(eq)), self._tip(eq), eq.backward)
                self.node[v] = self.figure.add(node, tails)
        self._note()

    def _sources(self, text: Any) -> None:
        """Inputs and constants: those that the drawn equations take, and inputs that nothing takes."""
        taken = {v for eq in self.drawn for v in eq.variables()}
        later = {v for eq in self.rest for v in eq.variables()} - taken
        later -= {y for y in self.graph.outputs if isinstance(y, Variable)}
        every = [*dict.fromkeys(self.graph.inputs), *self.graph.constants()]
        for v in [v for v in every if v not in later][: self.limit]:
            kind = "constant" if isinstance(v, Constant) else "input"
            label = f"{text(v)} = {_value(v)}" if isinstance(v, Constant) and _value(v) else text(v)
            tip = f"{self.names[v]}: {described(v)} on {v.device}"
            self.node[v] = self.figure.add(Node(kind, (_short(label),), tip=tip))
        left = [v for v in every if v not in self.node]
        if left:
            more = self.figure.add(Node("note", (f"… {_count(len(left), 'more source')}",)))
            self.node.update(dict.fromkeys(left, more))

    def _tails(self, eq: Equation) -> list[int]:
        """Where an equation's arguments come from, one by one; but from a note once."""
        tails = [self.node[a] for a in eq.variables()]
        if any(self.figure.nodes[tail].kind == "note" for tail in tails):
            return list(dict.fromkeys(tails))
        return tails

    def _note(self) -> None:
        """One node for all equations that are not drawn."""
        if not self.rest:
            return
        tails = {self.node[a] for eq in self.rest for a in eq.variables() if a in self.node}
        lines = (f"… {_count(len(self.rest), 'more equation')}", f"drawn are the first {self.limit}")
        note = self.figure.add(Node("note", lines), sorted(tails))
        self.node.update({v: note for eq in self.rest for v in eq.outs})

    def _tip(self, eq: Equation) -> str:
        outs = ", ".join(f"{self.names[v]}: {described(v)}" for v in eq.outs)
        line = f"  # {eq.line}" if eq.line else ""
        return f"{outs} = {called(eq.op, eq.args, eq.params, self.names)}{line}"


_SUPERSCRIPT = str.maketrans("()-0123456789", "⁽⁾⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_INFIX = {
    "add": "+",
    "subtract": "−",
    "multiply": "×",
    "divide": "÷",
    "pow": "^",
    "equal": "=",
    "not_equal": "≠",
    "less": "<",
    "less_equal": "≤",
    "greater": ">",
    "greater_equal": "≥",
}
_PREFIX = {"negative": "−", "sigmoid": "σ", "maximum": "max", "minimum": "min"}


def symbol(eq: Equation) -> str:
    """What stands beside a value: the op that computes it, with what is no value, such as ``2 × ·``."""
    name, args = eq.op.name, eq.args
    values = list(eq.variables())
    if name == "matmul":
        return "dot" if all(len(v.shape) == 1 for v in values) else "matmul"
    if name == "pow" and type(args[1]) is int:
        return f"(·){str(args[1]).translate(_SUPERSCRIPT)}"
    marks = ["·" if isinstance(a, Variable) else repr(a) for a in args]
    if name in _INFIX:
        return _INFIX[name] if len(values) == 2 else f" {_INFIX[name]} ".join(marks)
    inside = [*(marks if len(values) < len(args) else []), *_parameters(eq)]
    return _PREFIX.get(name, name) + (f"({', '.join(inside)})" if inside else "")


def _parameters(eq: Equation) -> list[str]:
    return [f"{name}={printed(value)}" for name, value in chosen(eq.op, eq.params).items()]


def _value(v: Constant) -> str:
    text = printed(v.value)
    return "" if text == "..." else text


def _paths(graph: Graph) -> list[str]:
    """Where in the function's result each output stands: ``['loss']``, ``[0]``, or nothing."""
    if graph.results is None or graph.results.num_leaves != len(graph.outputs):
        return [""] * len(graph.outputs)
    return [accessor.codify("") for accessor in graph.results.accessors()]


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _short(text: str) -> str:
    return text if len(text) <= LABEL else f"{text[: LABEL - 1]}…"
