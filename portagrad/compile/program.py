"""One trace of a compiled function, and the plan that runs it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from portagrad.backend import BY_TYPE, Backend
from portagrad.compile.passes import improved
from portagrad.compile.pullback import closes_over_traced
from portagrad.compile.replay import replay
from portagrad.transforms.equations import Graph, Variable
from portagrad.transforms.gradient import array
from portagrad.transforms.graph import record
from portagrad.transforms.text import described
from portagrad.transforms.tree import is_array, unflatten


class Program:
    """One trace of a compiled function, and the plan that runs it."""

    def __init__(
        self,
        name: str,
        f: Callable[..., Any],
        args: tuple[Any, ...],
        structures: list[Any],
        leaves: list[Any],
        donated: list[bool],
    ) -> None:
        self.lock = threading.Lock()
        backend = backend_among(leaves)
        self.backend = backend
        recorded = record(name, f, args, backend.inlines if backend else ())
        self.before = len(recorded.equations)
        self.closed = closes_over_traced(recorded)
        self.graph = recorded if self.closed else improved(recorded)
        if self.closed:
            return
        self.structures = structures
        self.kinds = [(type(x), getattr(x, "shape", None), getattr(x, "dtype", x)) for x in leaves]
        self.devices = (
            None
            if backend is None or backend.one_device
            else [None if BY_TYPE[type(x)] is None else BY_TYPE[type(x)].device_of(x) for x in leaves]  # type: ignore[union-attr]
        )
        self.places = [i for i, x in enumerate(leaves) if is_array(x)]
        self.donated = tuple([k for k, i in enumerate(self.places) if donated[i]])
        self.all_arrays = len(self.places) == len(leaves)
        run = replay(self.graph)
        self.plan: Callable[..., list[Any]] = (
            backend.plan(self.graph, run, self.donated) if backend is not None and backend.plan else run
        )
        self.results = _Results(self.graph)

    def fits(self, structures: list[Any], leaves: list[Any]) -> bool:
        """Whether it was traced for arguments like these."""
        for mine, its in zip(self.structures, structures, strict=False):
            if mine is not its and mine != its:
                return False
        if len(structures) != len(self.structures) or len(leaves) != len(self.kinds):
            return False
        for x, (kind, shape, dtype) in zip(leaves, self.kinds, strict=True):
            if type(x) is not kind:
                return False
            if shape is None:
                if x != dtype:
                    return False
            elif x.shape != shape or (x.dtype is not dtype and x.dtype != dtype):
                return False
        if self.devices is not None:
            for x, device in zip(leaves, self.devices, strict=True):
                if device is not None and BY_TYPE[type(x)].device_of(x) != device:  # type: ignore[union-attr]
                    return False
        return True

    def __call__(self, leaves: list[Any]) -> Any:
        given = leaves
        if not self.all_arrays:
            given = [leaves[i] for i in self.places]
        if self.donated and len(set(map(id, given))) < len(given):
            self._refuse_twice(given)
        with self.lock:
            try:
                outs = self.plan(*given)
            except BaseException as error:
                self._explain(error)
                raise
        return self.results.tree(outs)

    def _explain(self, error: BaseException) -> None:
        """Say of an error in the middle of a run what has become of the donated arrays."""
        if self.donated:
            intact = getattr(self.plan, "intact", None)
            error.add_note(
                f"{self.graph.name}: the donated arrays are unchanged"
                if intact is not None and intact(error)
                else f"{self.graph.name}: the donated arrays may be overwritten in part: start from a copy "
                f"or a checkpoint"
            )

    def _refuse_twice(self, given: list[Any]) -> None:
        for k in self.donated:
            if sum(x is given[k] for x in given) > 1:
                raise ValueError(
                    f"{self.graph.name}: array {k} is donated and is an argument a second time; "
                    f"its memory cannot be both overwritten and read. Pass a copy"
                )

    def report(self) -> list[str]:
        """What was made of the trace."""
        g = self.graph
        given = ", ".join(map(described, g.inputs))
        lines = [f"  {given}: {self.before} ops, {len(g.equations)} after the passes"]
        told = getattr(self.plan, "report", None) or {"plan": "the library's ops, one after the other"}
        return [*lines, *[f"    {name}: {value}" for name, value in told.items()]]


class _Results:
    """Puts the outputs of a plan together as the function returns them."""

    def __init__(self, graph: Graph) -> None:
        self.structure = graph.results
        kinds = [isinstance(y, Variable) for y in graph.outputs]
        self.scalars = [i for i, y in enumerate(graph.outputs) if isinstance(y, Variable) and y.shape == ()]
        self.parts: list[tuple[Any, int]] | None = None
        if self.structure.type is tuple:  # the usual: each part remembered as a module's leaves are
            self.parts = [(part, part.num_leaves) for part in self.structure.children()]
        self.arrays = all(kinds)

    def tree(self, outs: list[Any]) -> Any:
        for i in self.scalars:
            outs[i] = array(outs[i])
        if self.parts is None:
            return unflatten(self.structure, outs, remember=True)
        made, start = [], 0
        for structure, count in self.parts:
            if count == 1 and structure.is_leaf():
                made.append(outs[start])
            else:
                made.append(unflatten(structure, outs[start : start + count], remember=True))
            start += count
        return tuple(made)


def backend_among(leaves: list[Any]) -> Backend | None:
    """The library of the arguments, if it is one."""
    found = {BY_TYPE[type(x)] for x in leaves} - {None}
    return found.pop() if len(found) == 1 else None
