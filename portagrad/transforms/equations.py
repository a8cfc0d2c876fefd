"""A computational graph as equations over the op records: readable, runnable, differentiable."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from portagrad.errors import Error
from portagrad.kernel import native
from portagrad.op import Op
from portagrad.tensor import bare, hold
from portagrad.trace import apply
from portagrad.transforms.gradient import array
from portagrad.transforms.tree import any_traced, flatten, is_array, unflatten


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
    """

    op: Op
    args: tuple[Any, ...]
    params: Mapping[str, Any]
    outs: tuple[Variable, ...]
    line: str = ""
    scope: int = 0

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
    """

    name: str
    inputs: tuple[Variable, ...]
    equations: tuple[Equation, ...]
    outputs: tuple[Any, ...]
    arguments: Any = None
    results: Any = None
    statics: tuple[Any, ...] = ()

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

    def constants(self) -> list[Constant]:
        """The arrays that the trace met, in the order of their use."""
        found = [v for eq in self.equations for v in eq.variables()]
        found += [y for y in self.outputs if isinstance(y, Variable)]
        return list(dict.fromkeys(v for v in found if isinstance(v, Constant)))

    def names(self) -> dict[Variable, str]:
        """A short name for each value: a, b, c, ...; constants k1, k2, ..."""
        made: dict[Variable, str] = {}
        for v in (*self.inputs, *(out for eq in self.equations for out in eq.outs)):
            made.setdefault(v, _letters(len(made)))
        for i, constant in enumerate(self.constants(), 1):
            made[constant] = f"k{i}"
        return made

    def __str__(self) -> str:
        names = self.names()
        given = ", ".join(f"{names[v]}: {described(v)}" for v in self.inputs)
        rows = [f"{names[c]} = {_shown(c.value)}" for c in self.constants()]
        rows += [shown(eq, names) for eq in self.equations]
        width = min(72, max(map(len, rows), default=0))
        origins = [""] * (len(rows) - len(self.equations)) + [eq.line for eq in self.equations]
        body = [
            f"    {row:<{width}}  # {line}".rstrip() if line else f"    {row}"
            for row, line in zip(rows, origins, strict=True)
        ]
        outs = ", ".join(names[y] if isinstance(y, Variable) else repr(y) for y in self.outputs)
        return "\n".join([f"{self.name}({given}):", *body, f"    return {outs}"])

    def __repr__(self) -> str:
        count = len(self.equations)
        return f"<Graph of {self.name}: {len(self.inputs)} inputs, {count} equations>"

    def _repr_svg_(self) -> str | None:
        from portagrad.compile.drawing import svg  # drawings lie above what they show

        return svg(self)

    def draw(self, path: Any, **options: Any) -> None:
        """Write a figure of the graph: SVG, PNG, DOT or Mermaid, by the file's name.

        Parameters
        ----------
        path : str or Path
            Ends in ``.svg``, ``.png``, ``.dot``, ``.mmd`` or ``.txt``.
        **options
            As `portagrad.compile.drawing.draw` takes them.
        """
        from portagrad.compile.drawing import draw

        draw(self, path, **options)


def _value(values: dict[Any, Any], a: Any) -> Any:
    if isinstance(a, Constant):
        return a.value
    if isinstance(a, Variable):
        try:
            return values[a]
        except KeyError:
            raise Error("graph: a value is used before it is computed; a pass has broken the order") from None
    return a


def described(v: Any) -> str:
    """Dtype and shape in one word: ``float32[3,4]``."""
    return f"{str(v.dtype).rpartition('.')[2]}[{','.join(map(str, v.shape))}]"


def shown(eq: Equation, names: Mapping[Variable, str]) -> str:
    """An equation as text."""
    outs = ", ".join(f"{names[v]}: {described(v)}" for v in eq.outs)
    args = [names[a] if isinstance(a, Variable) else repr(a) for a in eq.args]
    args += [f"{name}={_shown(value)}" for name, value in eq.params.items()]
    return f"{outs} = {eq.op.name}({', '.join(args)})"


def _shown(value: Any) -> str:
    if is_array(value):
        return f"{value.item()!r}: {described(value)}" if value.shape == () else f"array: {described(value)}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))}{',' * (len(value) == 1)})"
    return str(value) if isinstance(value, str) or value is None else repr(value)


def _letters(i: int) -> str:
    """a ... z, aa, ab, ..."""
    text = ""
    i += 1
    while i:
        i, rest = divmod(i - 1, 26)
        text = string.ascii_lowercase[rest] + text
    return text
