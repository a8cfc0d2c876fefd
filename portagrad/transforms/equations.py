"""A computational graph as equations over the op records: readable, runnable, differentiable."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from portagrad.errors import Error
from portagrad.kernel import native
from portagrad.op import Op
from portagrad.tensor import bare, hold
from portagrad.trace import apply
from portagrad.transforms.gradient import array
from portagrad.transforms.text import called, described, letters, placed, printed
from portagrad.transforms.tree import any_traced, flatten, is_array, unflatten

_WIDTH = 88  # of the text before a comment


class Variable:
    """A value of a graph: known by shape, dtype and device; the number is what a run gives it."""

    __slots__ = ("__weakref__", "device", "dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any, device: Any) -> None:
        self.shape = shape
        self.dtype = dtype
        self.device = device

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {described(self)}>"


class Constant(Variable):
    """A value that the trace met as an array: part of the graph."""

    __slots__ = ("value",)

    def __init__(self, value: Any, device: Any) -> None:
        super().__init__(tuple(value.shape), value.dtype, device)
        self.value = value


@dataclass(frozen=True, slots=True, eq=False)
class Equation:
    """One op at work.

    Attributes
    ----------
    op : Op
    args : tuple
        Variables, Python numbers and None.
    params : mapping
    outs : tuple of Variable
        One for each result.
    line : str
        ``file:line`` of the code that called it.
    scope : int
        The call of a function with a rule of its own (`pg.checkpoint`) that the equation belongs to; 0 for
        none.
    backward : bool
        Whether a reverse sweep computed it: part of a gradient.
    """

    op: Op
    args: tuple[Any, ...]
    params: Mapping[str, Any]
    outs: tuple[Variable, ...]
    line: str = ""
    scope: int = 0
    backward: bool = False

    def kernel(self) -> Any:
        """How the library of the first result's device runs the op on raw arrays."""
        return native(self.op, self.outs[0].device.backend)

    def variables(self) -> Iterator[Variable]:
        """The arguments that are computed."""
        return (a for a in self.args if isinstance(a, Variable))


@dataclass(frozen=True, eq=False)
class Graph:
    """A function's ops in the order in which they ran, as `pg.graph` records them.

    Calling it runs the recorded ops on other arrays of the same shapes: it takes and returns the pytrees of
    the function, and is differentiable as that is. ``print(graph)`` shows it as text, `draw` as a figure.

    Attributes
    ----------
    name : str
        The function's.
    inputs : tuple of Variable
        One for each array among the arguments.
    equations : tuple of Equation
    outputs : tuple
        Variables, and as they are results that are no arrays.
    arguments, results : structures of pytrees
        Of the function's arguments and of its result.
    statics : tuple
        For each leaf of the arguments None, or in a tuple what it is if it is no array.
    parameters : tuple of str
        The names of the function's arguments, as far as they are known.
    """

    name: str
    inputs: tuple[Variable, ...]
    equations: tuple[Equation, ...]
    outputs: tuple[Any, ...]
    arguments: Any = None
    results: Any = None
    statics: tuple[Any, ...] = ()
    parameters: tuple[str, ...] = ()

    def __call__(self, *args: Any) -> Any:
        leaves, structure = flatten(args)
        statics = tuple([None if is_array(x) else (x,) for x in leaves])
        if structure != self.arguments or statics != self.statics:
            raise TypeError(
                f"graph of {self.name}: was recorded for arguments {self.arguments}, not {structure}; "
                f"what is no array must be what it was then. Record another with pg.graph({self.name}, *args)"
            )
        traced = any_traced(leaves)
        outs = self.run([bare(x) for x in leaves if is_array(x)])
        return unflatten(
            self.results, [(hold(x) if traced else array(x)) if is_array(x) else x for x in map(bare, outs)]
        )

    def run(self, inputs: list[Any]) -> list[Any]:
        """The results, from arrays or tensors in the inputs' order.

        Raises
        ------
        TypeError
            If one is not of the shape and dtype that the graph was recorded for.
        """
        for i, (x, variable) in enumerate(zip(inputs, self.inputs, strict=True)):
            if tuple(x.shape) != variable.shape or x.dtype != variable.dtype:
                raise TypeError(
                    f"graph of {self.name}: array {i} is {x.dtype}{list(x.shape)}, "
                    f"recorded was {described(variable)}"
                )
        values: dict[Any, Any] = dict(zip(self.inputs, inputs, strict=True))
        last = self.last_uses()
        for i, eq in enumerate(self.equations):
            args = tuple([_value(values, a) for a in eq.args])
            y = apply(eq.op, args, eq.params)
            values.update(zip(eq.outs, y if eq.op.several else (y,), strict=True))
            for gone in last[i]:
                values.pop(gone, None)
        return [_value(values, y) for y in self.outputs]

    def last_uses(self) -> list[tuple[Variable, ...]]:
        """For each equation, the values of which nothing after it knows."""
        seen: set[Variable] = {y for y in self.outputs if isinstance(y, Variable)}
        uses: list[tuple[Variable, ...]] = []
        for eq in reversed(self.equations):
            gone = {v for v in (*eq.variables(), *eq.outs) if v not in seen}
            seen |= gone
            uses.append(tuple(gone))
        return uses[::-1]

    def with_equations(self, equations: Any, outputs: Any = None) -> Graph:
        """The same graph by other equations."""
        outs = self.outputs if outputs is None else outputs
        return replace(self, equations=tuple(equations), outputs=tuple(outs))

    def improved(self) -> Graph:
        """The graph after the passes of `pg.compile`: without dead, repeated and needless work.

        Examples
        --------
        >>> g = pg.graph(pg.grad(lambda x: x**2), np.asarray(3.0))
        >>> [eq.op.name for eq in g.equations], [eq.op.name for eq in g.improved().equations]
        (['pow', 'pow', 'multiply', 'multiply'], ['multiply'])
        """
        from portagrad.compile.passes import improved  # passes lie above what they improve

        return improved(self)

    def constants(self) -> list[Constant]:
        """The arrays that the trace met, in the order of their use."""
        found = [v for eq in self.equations for v in eq.variables()]
        found += [y for y in self.outputs if isinstance(y, Variable)]
        return list(dict.fromkeys(v for v in found if isinstance(v, Constant)))

    def names(self) -> dict[Variable, str]:
        """A name for each value: inputs as the function calls them, then a, b, c, ...; constants k1, k2."""
        made: dict[Variable, str] = {}
        for v, name in zip(self.inputs, self._called(), strict=True):
            made.setdefault(v, name)
        taken = {*made.values()}
        taken |= {f"k{i}" for i in range(1, len(self.constants()) + 1)}
        unused = (name for i in itertools.count() if (name := letters(i)) not in taken)
        for v in (*self.inputs, *(out for eq in self.equations for out in eq.outs)):
            if v not in made or not made[v]:
                made[v] = next(unused)
        for i, constant in enumerate(self.constants(), 1):
            made[constant] = f"k{i}"
        return made

    def _called(self) -> list[str]:
        """What the function calls its inputs, ``x`` or ``params['w'][0]``; empty where that is not known."""
        if self.arguments is None or len(self.statics) != self.arguments.num_leaves:
            return [""] * len(self.inputs)
        names = []
        for accessor, static in zip(self.arguments.accessors(), self.statics, strict=True):
            if static is None:
                i = accessor[0].entry
                parameter = self.parameters[i] if i < len(self.parameters) else ""
                names.append(accessor[1:].codify(parameter) if parameter else "")
        return names

    def __str__(self) -> str:
        names = self.names()
        known = [*self.inputs, *self.constants(), *(out for eq in self.equations for out in eq.outs)]
        devices = list(dict.fromkeys(v.device for v in known))
        told = placed if len(devices) > 1 else described
        given = [f"{names[v]}: {told(v)}" for v in self.inputs]
        head = f"{self.name}({', '.join(given)}):"
        if len(head) > _WIDTH:
            head = "\n".join([f"{self.name}(", *(f"    {each}," for each in given), "):"])
        head += f"  # on {devices[0]}" if len(devices) == 1 else ""
        rows = [(f"{names[c]}: {told(c)} = {printed(c.value)}", "") for c in self.constants()]
        for eq in self.equations:
            outs = ", ".join(f"{names[v]}: {told(v)}" for v in eq.outs)
            origin = ", ".join(filter(None, (eq.line, "backward" * eq.backward)))
            rows.append((f"{outs} = {called(eq.op, eq.args, eq.params, names)}", origin))
        width = min(_WIDTH, max((len(text) for text, _ in rows), default=0))
        body = [f"    {text:<{width}}  # {origin}" if origin else f"    {text}" for text, origin in rows]
        outs = ", ".join(names[y] if isinstance(y, Variable) else repr(y) for y in self.outputs)
        return "\n".join([head, *body, f"    return {outs}".rstrip()])

    def __repr__(self) -> str:
        count = len(self.equations)
        return f"<Graph of {self.name}: {len(self.inputs)} inputs, {count} equations>"

    def _repr_svg_(self) -> str:
        from portagrad.compile.drawing import svg  # drawings lie above what they show

        return svg(self)

    def dot(self, **options: Any) -> str:
        """The figure in graphviz's language; the options are those of `draw`."""
        from portagrad.compile.drawing import dot, figure

        return dot(figure(self, **options))

    def mermaid(self, **options: Any) -> str:
        """The figure in Mermaid's language, which GitHub and GitLab draw in Markdown; options as for `draw`.

        Examples
        --------
        >>> g = pg.graph(lambda x, y: x * y, np.asarray(2.0), np.asarray(3.0))
        >>> print(g.mermaid())
        flowchart TB
          n0(["x: float64[]"]):::input
          n1(["y: float64[]"]):::input
          n2["multiply(x, y)<br/>a: float64[]"]:::op
          n3(["return<br/>a"]):::result
          n0 --> n2
        ...
        """
        from portagrad.compile.drawing import figure, mermaid

        return mermaid(figure(self, **options))

    def draw(
        self,
        path: Any,
        *,
        style: str = "ops",
        names: Mapping[str, str] | None = None,
        limit: int | None = 200,
        graphviz: bool | None = None,
    ) -> None:
        """Write a figure of the graph: SVG, PNG, DOT, Mermaid or text, by the file's name.

        Parameters
        ----------
        path : str or Path
            Ends in ``.svg``, ``.png``, ``.dot``, ``.mmd`` or ``.txt``.
        style : str
            ``"ops"``, a box for each equation; or ``"book"``, a node for each value and beside it the op that
            computes it, as Goodfellow, Bengio and Courville (2016), "Deep Learning", figure 6.8, has it.
        names : mapping, optional
            Other names for values, by those that ``print(graph)`` shows: ``{"c": "loss"}``.
        limit : int or None
            How many equations are drawn; a note stands for the rest. None draws all.
        graphviz : bool, optional
            Whether graphviz lays SVG and PNG out; by default where it is installed (the extra ``draw`` and
            graphviz's own program ``dot``). Without it a layout of portagrad's own serves.

        Raises
        ------
        ValueError
            If the file's name says nothing that can be written, or `style` or a name is not known.
        Error
            If graphviz is asked for and not installed, or Matplotlib is missing where it writes the PNG.
        """
        from portagrad.compile.drawing import draw

        draw(self, path, style=style, names=names, limit=limit, graphviz=graphviz)


def _value(values: dict[Any, Any], a: Any) -> Any:
    if isinstance(a, Constant):
        return a.value
    if isinstance(a, Variable):
        try:
            return values[a]
        except KeyError:
            raise Error("graph: a value is used before it is computed; a pass has broken the order") from None
    return a
