"""Where the values of a graph lie: in memory of their own, or as views of another's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from portagrad.backend import basic_index


def _open(key: Any) -> Any:
    """A basic index that gives an array in any case: without ``...`` NumPy makes a number of one element."""
    parts = key if isinstance(key, tuple) else (key,)
    return parts if any(part is ... for part in parts) else (*parts, ...)


VIEWS: dict[str, Callable[..., Any]] = {
    "broadcast_to": lambda x, shape: numpy.broadcast_to(x, shape),
    "expand_dims": lambda x, axis=0: numpy.expand_dims(x, axis),
    "flip": lambda x, axis=None: numpy.flip(x, axis),
    "getitem": lambda x, key: x[_open(key)],
    "matrix_transpose": lambda x: x.mT,
    "moveaxis": lambda x, source, destination: numpy.moveaxis(x, source, destination),
    "permute_dims": lambda x, axes: x.transpose(axes),
    "reshape": lambda x, shape, copy=None: x.reshape(shape, copy=False),
    "squeeze": lambda x, axis: numpy.squeeze(x, axis),
}
"""Ops whose result is the same memory seen otherwise; a ValueError where it cannot be."""


class Layouts:
    """For each variable its root, the variable whose memory it lies in, and offset and strides there.

    Roots are in C order; offsets and strides count elements.
    """

    def __init__(self, graph: Any) -> None:
        self.root: dict[Any, Any] = {}
        self.seen: dict[Any, Any] = {}
        self.is_view: set[Any] = set()
        for v in (*graph.inputs, *graph.constants()):
            self._own(v)
        for eq in graph.equations:
            if not self._view(eq):
                for out in eq.outs:
                    self._own(out)

    def _own(self, v: Any) -> None:
        self.root[v], self.seen[v] = v, _dummy(v.shape, v.dtype)

    def _view(self, eq: Any) -> bool:
        make = VIEWS.get(eq.op.name)
        if make is None or (eq.op.name == "getitem" and not basic_index(eq.params["key"])):
            return False
        (x,), (out,) = eq.args, eq.outs
        try:
            seen = make(self.seen[x], **eq.params)
        except ValueError:
            return False
        if seen.shape != out.shape or seen.dtype != out.dtype:
            return False
        self.root[out], self.seen[out] = self.root[x], seen
        self.is_view.add(out)
        return True

    def steps(self, v: Any) -> tuple[int, tuple[int, ...]]:
        """Offset and strides of a variable in its root's memory, in elements."""
        seen, own = self.seen[v], self.seen[self.root[v]]
        size = v.dtype.itemsize
        offset = seen.__array_interface__["data"][0] - own.__array_interface__["data"][0]
        return offset // size, tuple([s // size for s in seen.strides])

    def over(self, v: Any, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """Offset and strides of a variable that is broadcast to `shape`."""
        offset, strides = self.steps(v)
        ahead = len(shape) - len(v.shape)
        return offset, (0,) * ahead + tuple(
            [0 if n == 1 else s for n, s in zip(v.shape, strides, strict=True)]
        )

    def walks(self, v: Any, shape: tuple[int, ...], outer: tuple[int, ...]) -> bool:
        """Whether a variable, broadcast to `shape`, has the root's elements in order over the axes `outer`,
        which are the first ones, and stands still over the others."""
        offset, strides = self.over(v, shape)
        expected, wanted = 1, [0] * (len(shape) - len(outer))
        for n in reversed(outer):
            wanted.insert(0, expected)
            expected *= n
        return not offset and all(s == w for n, s, w in zip(shape, strides, wanted, strict=True) if n != 1)

    def view(self, array: Any, v: Any, strided: Callable[..., Any]) -> Any:
        """A variable as an array of the library's, from its root's; ``strided`` is its `as_strided`."""
        if v not in self.is_view:
            return array
        offset, strides = self.steps(v)
        size = v.dtype.itemsize
        return strided(array.reshape(-1)[offset:], v.shape, tuple([s * size for s in strides]))


def _dummy(shape: tuple[int, ...], dtype: Any) -> Any:
    """An array in C order of which only shape and strides are ever looked at: one element of memory."""
    strides = [dtype.itemsize] * len(shape)
    for a in reversed(range(len(shape) - 1)):
        strides[a] = strides[a + 1] * max(1, shape[a + 1])
    return numpy.lib.stride_tricks.as_strided(numpy.empty(1, dtype), shape, strides)
