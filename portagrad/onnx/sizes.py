"""Sizes that change from run to run, found by recording a function at several sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from portagrad.backend import BY_TYPE
from portagrad.errors import ConcretizationError
from portagrad.transforms.equations import Constant, Equation, Graph, Variable


@dataclass(frozen=True)
class Size:
    """A whole number that depends on the dynamic axes: what it is in each recording.

    The first recording is the base, the next ones change one dynamic axis each, the last all together.
    """

    values: tuple[int, ...]

    def affine(self, symbols: Sequence[Size]) -> tuple[int, tuple[int, ...]] | None:
        """``(b, (a1, ...))`` where the number is ``b + a1 n1 + ...`` of the symbols; None if it is not."""
        base = self.values[0]
        slopes = []
        for i, symbol in enumerate(symbols, 1):
            slope, rest = divmod(self.values[i] - base, symbol.values[i] - symbol.values[0])
            if rest:
                return None
            slopes.append(slope)
        offset = base - sum(a * n.values[0] for a, n in zip(slopes, symbols, strict=True))
        found = offset + sum(a * n.values[-1] for a, n in zip(slopes, symbols, strict=True))
        return (offset, tuple(slopes)) if found == self.values[-1] else None


Dims = tuple[int | Size, ...]


@dataclass(frozen=True, eq=False)
class Filled:
    """An array that holds one number everywhere, of a shape that depends on the dynamic axes."""

    value: np.ndarray[Any, Any]
    dims: Dims


@dataclass(frozen=True, eq=False)
class Step:
    """An equation as all recordings have it: variables are the base's, numbers that differ are sizes."""

    op: Any
    args: tuple[Any, ...]
    params: dict[str, Any]
    recorded: Equation

    @property
    def outs(self) -> tuple[Variable, ...]:
        """The results."""
        return self.recorded.outs

    @property
    def line(self) -> str:
        """Where it was called."""
        return self.recorded.line


class Merged:
    """Several recordings of one function as one.

    Parameters
    ----------
    graphs : sequence of Graph
        In the order that `Size` describes.
    """

    def __init__(self, graphs: Sequence[Graph]) -> None:
        self.base = graphs[0]
        self._dims: dict[Variable, Dims] = {}
        recorded = [[(eq.op, eq.line) for eq in g.equations] for g in graphs]
        for ops in recorded[1:]:
            if [op for op, _ in ops] != [op for op, _ in recorded[0]]:
                raise ConcretizationError(
                    f"onnx.export: {self.base.name} computes by other ops when a dynamic axis has another "
                    "size; Python branches on a shape, or loops over it. Leave that axis out of dynamic"
                )
        for same in zip(*(g.inputs for g in graphs), strict=True):
            self._learn(same)
        self.steps = []
        for eqs in zip(*(g.equations for g in graphs), strict=True):
            first = eqs[0]
            for outs in zip(*(eq.outs for eq in eqs), strict=True):
                self._learn(outs)
            what = f"{first.op.name} ({first.line})"
            args = tuple(self._merge(what, each) for each in zip(*(eq.args for eq in eqs), strict=True))
            params = {name: self._merge(what, [eq.params[name] for eq in eqs]) for name in first.params}
            self.steps.append(Step(first.op, args, params, first))
        self.outputs = tuple(
            self._merge("a result", each) for each in zip(*(g.outputs for g in graphs), strict=True)
        )

    def dims(self, v: Variable) -> Dims:
        """The shape of a value."""
        return self._dims.get(v, v.shape)

    def _learn(self, same: Sequence[Variable]) -> None:
        self._dims[same[0]] = tuple(map(_size, zip(*(v.shape for v in same), strict=True)))

    def _merge(self, what: str, values: Sequence[Any]) -> Any:
        """One value of those that a place has in the recordings."""
        first = values[0]
        if isinstance(first, Constant):
            return self._constant(what, values)
        if isinstance(first, Variable):
            return first
        if isinstance(first, slice):
            ends = [self._merge(what, [getattr(s, end) for s in values]) for end in ("start", "stop", "step")]
            return slice(*ends)
        if isinstance(first, tuple | list):
            return tuple(self._merge(what, each) for each in zip(*values, strict=True))
        if type(first) is int and any(value != first for value in values):
            return Size(tuple(values))
        backend = BY_TYPE[type(first)]
        if backend is not None:
            hosts = [backend.to_numpy(x) for x in values]
            if all(x.shape == hosts[0].shape and (x == hosts[0]).all() for x in hosts):
                return hosts[0]
        elif all(value is first or value == first or value != value for value in values):
            return first
        raise ConcretizationError(
            f"onnx.export: {what}: a number depends on the size of a dynamic axis: {first!r} and "
            f"{values[-1]!r}; it would be part of the model. Compute it in xp, of the array, or leave that "
            "axis out of dynamic"
        )

    def _constant(self, what: str, values: Sequence[Constant]) -> Any:
        hosts = [v.device.backend.to_numpy(v.value) for v in values]
        if all(x.shape == hosts[0].shape for x in hosts):
            if all(x.tobytes() == hosts[0].tobytes() for x in hosts):
                return hosts[0]
        elif all((x == x.flat[0]).all() for x in hosts if x.size):
            number = np.asarray(next(x.flat[0] for x in hosts if x.size), dtype=hosts[0].dtype)
            return Filled(number, tuple(map(_size, zip(*(x.shape for x in hosts), strict=True))))
        raise ConcretizationError(
            f"onnx.export: {what} computes with an array that the function made by the size of a dynamic "
            f"axis, of shape {hosts[0].shape}; make it outside, or leave that axis out of dynamic"
        )


def _size(values: tuple[int, ...]) -> int | Size:
    return values[0] if all(n == values[0] for n in values) else Size(values)


def recordings(
    sizes: Sequence[int], record: Callable[[Sequence[int]], Graph]
) -> tuple[Merged, tuple[Size, ...]]:
    """A function recorded at the sizes that tell its dynamic axes apart.

    Parameters
    ----------
    sizes : sequence of int
        Of the dynamic axes in the example.
    record : callable
        Records the function at such sizes.
    """
    base = [n + 1 for n in sizes]  # not 1, which broadcasts
    runs = [base, *([n + (i == j) for j, n in enumerate(base)] for i in range(len(base)))]
    runs += [[n + 2 for n in base]] if base else []
    symbols = tuple(Size(tuple(run[i] for run in runs)) for i in range(len(base)))
    return Merged([record(run) for run in runs]), symbols
