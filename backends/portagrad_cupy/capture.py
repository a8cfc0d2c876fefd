"""CUDA graphs of one plan, each captured for the addresses of the arrays that it reads and writes."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import cupy

GRAPHS = 4
"""How many are kept of a plan; the one that was used longest ago goes first."""


class Captured(NamedTuple):
    """A graph, the values that it computes, and the pool that memory made during its capture belongs to."""

    graph: Any
    values: list[Any]
    pool: Any


class Captures:
    """Decides, call by call, whether to launch a graph, to capture one, or to run step by step.

    A graph is captured when a call has the addresses of the call before it; the first call has compiled the
    kernels and loaded the libraries by then. An input that is not donated and comes at another address than
    before is copied from then on, into memory that stays.

    Parameters
    ----------
    execute : callable
        ``execute(arrays)`` runs all steps on the inputs and returns what they computed.
    donated : collection of int
        Inputs that are written to and therefore never copied.
    begin : callable
        Called before a graph is launched.
    """

    def __init__(
        self,
        execute: Callable[[list[Any]], list[Any]],
        donated: frozenset[int],
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self.execute = execute
        self.begin = begin
        self.donated = donated
        self.graphs: OrderedDict[tuple[int, ...], Captured] = OrderedDict()
        self.copies: dict[int, Any] = {}
        self.last: list[int] | None = None
        self.refused: str | None = None
        if os.environ.get("CUDA_LAUNCH_BLOCKING") == "1":
            self.refused = "CUDA_LAUNCH_BLOCKING is set, so that an error is one of the step that raises it"
        self.captured = self.launched = self.executed = 0

    def run(self, inputs: list[Any]) -> list[Any]:
        """What the steps compute of these inputs, without the inputs."""
        if self.refused is not None:
            return self._step_by_step(inputs)
        addresses = [x.data.ptr for x in inputs]
        last, self.last = self.last, addresses
        if last is None:
            return self._step_by_step(inputs)
        for k, (now, then) in enumerate(zip(addresses, last, strict=True)):
            if now != then and k not in self.donated and k not in self.copies:
                self.copies[k] = cupy.empty_like(inputs[k])
                self._keep(0)  # they read that input where it no longer is
        key = self._key(addresses)
        captured = self.graphs.get(key)
        if captured is None:
            if key != self._key(last):
                return self._step_by_step(inputs)
            try:
                captured = self._capture([self.copies.get(k, x) for k, x in enumerate(inputs)])
            except Exception as error:
                told = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
                self.refused = "; ".join(part.partition("\n")[0] for part in told)
                self._keep(0)
                self.copies.clear()
                return self._step_by_step(inputs)
            self.graphs[key] = captured
            self.captured += 1
            self._keep(GRAPHS)
        self.graphs.move_to_end(key)
        for k, copy in self.copies.items():
            cupy.copyto(copy, inputs[k])
        self.begin()
        captured.graph.launch()
        self.launched += 1
        return captured.values

    def _key(self, addresses: list[int]) -> tuple[int, ...]:
        return tuple([a for k, a in enumerate(addresses) if k not in self.copies])

    def _keep(self, count: int) -> None:
        """So many graphs; the others are dropped once the device has done with them."""
        if len(self.graphs) > count:
            cupy.cuda.get_current_stream().synchronize()
        while len(self.graphs) > count:
            self.graphs.popitem(last=False)

    def _step_by_step(self, inputs: list[Any]) -> list[Any]:
        self.executed += 1
        return self.execute(inputs)[len(inputs) :]

    def _capture(self, inputs: list[Any]) -> Captured:
        """All steps, recorded instead of run.

        What library calls allocate comes from a pool of the graph's own, so that nobody else is given that
        memory as long as the graph may run.
        """
        stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
        with stream, cupy.cuda.using_allocator(pool.malloc):
            stream.begin_capture()
            try:
                values = self.execute(inputs)
            except BaseException:
                with suppress(Exception):  # the capture is invalid, which ending it says again
                    stream.end_capture()
                raise
            graph = stream.end_capture()
        return Captured(graph, values[len(inputs) :], pool)

    def told(self) -> str:
        """For the report: what has been captured, or why nothing was."""
        if self.refused is not None:
            return f"not captured, launched step by step: {self.refused}"
        if self.graphs:
            return (
                f"captured {self.captured} times, launched {self.launched} times; "
                f"{len(self.copies)} inputs copied, as their addresses change"
            )
        if self.executed > 1:
            return "not captured: the addresses of donated arrays are others in each call"
        return "not captured yet: the second call does"
