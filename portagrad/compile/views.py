"""Where the values of a graph lie: in memory of their own, or in another's, which they are views of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from portagrad.backend import basic_index
from portagrad.transforms.equations import Equation, Graph, Variable


def _open(key: Any) -> Any:
    """A basic index that gives an array in any case: without ``...`` NumPy makes a number of one element."""
    parts = key if isinstance(key, tuple) else (key,)
    return parts if any(part is ... for part in parts) else (*parts, ...)


VIEWS: dict[str, Callable[..., Any]] = {
    "broadcast_to": lambda x, shape: np.broadcast_to(x, shape),
    "expand_dims": lambda x, axis=0: np.expand_dims(x, axis),
    "flip": lambda x, axis=None: np.flip(x, axis),
    "getitem": lambda x, key: x[_open(key)],
    "matrix_transpose": lambda x: x.mT,
    "moveaxis": lambda x, source, destination: np.moveaxis(x, source, destination),
    "permute_dims": lambda x, axes: x.transpose(axes),
    "reshape": lambda x, shape, copy=None: x.reshape(shape, copy=False),
    "squeeze": lambda x, axis: np.squeeze(x, axis),
}
"""Ops whose result is the same memory seen otherwise, on NumPy's arrays; a ValueError where it cannot be."""


class Layouts:
    """For each variable its root, the variable whose memory it lies in, and offset and strides there.

    Roots are in C order; offsets and strides count elements, of whatever dtype and library.

    Attributes
    ----------
    root : dict
    views : dict
        For each variable that is a view the equation that makes it.
    """

    def __init__(self, graph: Graph) -> None:
        self.root: dict[Variable, Variable] = {}
        self.views: dict[Variable, Equation] = {}
        self._seen: dict[Variable, Any] = {}
        self._reads: dict[Equation, frozenset[Variable]] = {}
        for v in (*graph.inputs, *graph.constants()):
            self._own(v)
        for eq in graph.equations:
            if not self._view(eq):
                for out in eq.outs:
                    self._own(out)

    def _own(self, v: Variable) -> None:
        self.root[v], self._seen[v] = v, _in_order(v.shape)

    def _view(self, eq: Equation) -> bool:
        """Note an equation that makes nothing but a view; False if it has to copy."""
        make = VIEWS.get(eq.op.name)
        if make is None or (eq.op.name == "getitem" and not basic_index(eq.params["key"])):
            return False
        (x,), (out,) = eq.args, eq.outs
        try:
            seen = make(self._seen[x], **eq.params)
        except ValueError:
            return False
        if seen.shape != out.shape:
            return False
        self.root[out], self._seen[out], self.views[out] = self.root[x], seen, eq
        return True

    def computed(self, graph: Graph) -> list[Equation]:
        """The equations that are no views."""
        return [eq for eq in graph.equations if eq.outs[0] not in self.views]

    def reads(self, eq: Equation) -> frozenset[Variable]:
        """The memories that an equation reads, by their roots."""
        found = self._reads.get(eq)
        if found is None:
            found = self._reads[eq] = frozenset([self.root[a] for a in eq.variables()])
        return found

    def with_views(self, eqs: Iterable[Equation], outputs: Iterable[Any], known: Iterable[Variable]) -> Any:
        """Equations, each with the views before it that it reads, if `known` has them not; at the end those
        among the outputs."""
        found: list[Equation] = []
        seen = set(known)

        def see(v: Variable) -> None:
            chain = []
            while v in self.views and v not in seen:
                seen.add(v)
                chain.append(self.views[v])
                v = chain[-1].args[0]
            found.extend(reversed(chain))

        for eq in eqs:
            for a in eq.variables():
                see(a)
            found.append(eq)
        for y in outputs:
            if isinstance(y, Variable):
                see(y)
        return found

    def steps(self, v: Variable) -> tuple[int, tuple[int, ...]]:
        """Offset and strides of a variable in its root's memory."""
        seen, own = self._seen[v], self._seen[self.root[v]]
        offset = seen.__array_interface__["data"][0] - own.__array_interface__["data"][0]
        return offset, seen.strides

    def in_order(self, v: Variable) -> bool:
        """Whether a variable's elements lie one after the other, in C order."""
        return bool(self._seen[v].flags.c_contiguous)

    def over(self, v: Variable, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """Offset and strides of a variable that is broadcast to `shape`."""
        offset, strides = self.steps(v)
        ahead = len(shape) - len(v.shape)
        return offset, (0,) * ahead + tuple(
            [0 if n == 1 else s for n, s in zip(v.shape, strides, strict=True)]
        )

    def walks(self, v: Variable, shape: tuple[int, ...], outer: tuple[int, ...]) -> bool:
        """Whether a variable, broadcast to `shape`, has the root's elements in order over the axes `outer`,
        which are the first ones, and stands still over the others."""
        offset, strides = self.over(v, shape)
        expected, wanted = 1, [0] * (len(shape) - len(outer))
        for n in reversed(outer):
            wanted.insert(0, expected)
            expected *= n
        return not offset and all(s == w for n, s, w in zip(shape, strides, wanted, strict=True) if n != 1)


def _in_order(shape: tuple[int, ...]) -> Any:
    """An array in C order of which only shape and strides are ever looked at: one byte of memory."""
    strides = [1] * len(shape)
    for a in reversed(range(len(shape) - 1)):
        strides[a] = strides[a + 1] * max(1, shape[a + 1])
    return np.lib.stride_tricks.as_strided(np.empty(1, np.uint8), shape, strides)


def collapsed(shape: tuple[int, ...], columns: Iterable[Iterable[int]]) -> tuple[list[int], list[list[int]]]:
    """Axes with neighbours joined that every operand steps through alike: their lengths, and the strides."""
    lengths = list(shape)
    strides = [list(c) for c in columns]
    for a in reversed(range(len(lengths))):
        if lengths[a] == 1:
            for c in (lengths, *strides):
                del c[a]
    for a in reversed(range(len(lengths) - 1)):
        if all(c[a] == c[a + 1] * lengths[a + 1] for c in strides):
            lengths[a] *= lengths.pop(a + 1)
            for c in strides:
                c[a] = c.pop(a + 1)
    return lengths, strides
