"""Where the values of a plan lie: in memory of the plan's own, in a donated input, or in a new array."""

from __future__ import annotations

import math
from typing import Any

import numpy

from portagrad.compile.buffers import Storage, allocated
from portagrad.compile.grouping import group_of, grouped, inside
from portagrad.compile.ordering import launches, ordered
from portagrad.compile.views import VIEWS, Layouts
from portagrad_numpy import fusion, loops
from portagrad_numpy.calls import UFUNCS, call
from portagrad_numpy.grouping import RULES
from portagrad_numpy.softmax import CrossEntropy
from portagrad_numpy.words import Threefry

_ALIGNMENT = 64
_WHOLE: dict[str, Any] = {"cross_entropy_and_slope": CrossEntropy, "threefry": Threefry}
"""Ops of several results that a plan computes as a whole."""


class Placement:
    """Decides where each value of a graph lies, and how the plan's source names it."""

    def __init__(self, graph: Any, donated: tuple[int, ...]) -> None:
        self.layouts = Layouts(graph)
        self.graph = graph = ordered(grouped(graph, self.layouts, RULES), self.layouts, at_once=True)
        self.steps = launches(graph, self.layouts, apart=False)
        eqs = [eq for step in self.steps for eq in step]
        self.calls = {eq: _called(eq) for eq in eqs}
        storage = Storage(
            writes=lambda eq: group_of(eq) is not None or self.calls[eq] is not None,
            over=self.over,
            fresh_results=True,
            alignment=_ALIGNMENT,
        )
        self.buffers = allocated(graph, self.layouts, [[eq] for eq in eqs], donated, storage)
        raw = numpy.empty(self.buffers.size + _ALIGNMENT, numpy.uint8)
        self.arena = raw[-raw.ctypes.data % _ALIGNMENT :][: self.buffers.size]
        self.env: dict[str, Any] = {"empty": numpy.empty, "copyto": numpy.copyto}
        self.names: dict[Any, str] = {}  # root -> the expression of its array
        self.static: dict[Any, Any] = {}  # root -> its array, where it is always the same
        self.lines: list[str] = []
        self.fresh: dict[str, str] = {}  # results that are new in each call, and what makes them
        self.sources: list[str] = []
        self.blocked: list[Any] = []
        self.written_from: int | None = None
        self.strict: set[int] = set()  # inputs that must be in C order and writeable
        for k, v in enumerate(graph.inputs):
            self.names[v] = f"a{k}"
        for k, constant in enumerate(graph.constants()):
            self.names[constant] = self.bound(f"k{k}", numpy.array(constant.value, order="C"))
            self.static[constant] = self.env[f"k{k}"]

    def bound(self, name: str, value: Any) -> str:
        self.env[name] = value
        return name

    def over(self, eq: Any, out: Any) -> bool:
        """Whether a result may be written over an argument that is read element by element."""
        if group_of(eq) is None:
            return eq.op.name in UFUNCS and self.calls[eq] is not None
        return not any(fusion.is_sum(each) for each in inside(eq) if out in each.outs)

    def array(self, v: Any) -> Any:
        """The array of a variable that is always the same memory; None for others."""
        root = self.layouts.root[v]
        if root not in self.static:
            return None
        if v is root:
            return self.static[root]
        eq = self.layouts.views[v]
        inner = self.array(eq.args[0])
        return VIEWS[eq.op.name](inner, **eq.params)

    def expression(self, v: Any) -> str:
        """How the code names a variable; a view of what changes from call to call is taken where needed."""
        if v in self.names:
            return self.names[v]
        static = self.array(v)
        if static is not None:
            name = self.bound(f"w{len(self.env)}", static)
        else:
            eq = self.layouts.views[v]
            name = f"w{len(self.env)}"
            self.env[name] = None
            self.line(f"{name}_ = {self.seen(eq, name)}")
            name += "_"
        self.names[v] = name
        return name

    def argument(self, a: Any) -> str:
        """How the code names an argument: a variable, or a number."""
        known = a in self.layouts.root if not isinstance(a, numpy.ndarray) else False
        return self.expression(a) if known else self.bound(f"c{len(self.env)}", a)

    def seen(self, eq: Any, name: str) -> str:
        inner = self.expression(eq.args[0])
        root = self.layouts.root[eq.args[0]]
        if eq.op.name == "reshape" and root in self.graph.inputs:
            self.strict.add(self.graph.inputs.index(root))  # else it could not be a view
        if eq.op.name == "matrix_transpose" and len(eq.outs[0].shape) == 2:
            return f"{inner}.T"
        params = eq.params
        view = VIEWS[eq.op.name]
        self.bound(f"{name}_view", lambda x: view(x, **params))
        return f"{name}_view({inner})"

    def line(self, text: str) -> None:
        self.lines.append("    " + text)

    def store(self, out: Any) -> str:
        """Where a result is to be written."""
        if out in self.names:
            return self.names[out]
        over, place = self.buffers.over.get(out), self.buffers.places.get(out)
        if over is not None:
            self.names[out] = self.names[over]
            if over in self.static:
                self.static[out] = self.static[over]
            else:
                self.strict.add(self.graph.inputs.index(over))
                if self.written_from is None:
                    self.written_from = len(self.lines)
        elif place is not None:
            size = math.prod(out.shape) * out.dtype.itemsize
            array = self.arena[place[0] : place[0] + size].view(out.dtype).reshape(out.shape)
            self.static[out] = array
            self.names[out] = self.bound(f"b{len(self.env)}", array)
        else:  # a result of the plan's: new in each call
            name = f"y{len(self.fresh)}"
            self.bound(f"{name}_shape", tuple(out.shape))
            self.bound(f"{name}_dtype", out.dtype)
            self.fresh[name] = f"{name} = empty({name}_shape, {name}_dtype)"
            self.names[out] = name
        return self.names[out]


def _called(eq: Any) -> Any:
    """How a call is made into given memory: a function and its arguments; None where it is the library's."""
    if group_of(eq) is not None:
        return None
    whole = _WHOLE.get(eq.op.name)
    if whole is not None and whole.takes(eq):
        return whole(eq, loops.AVAILABLE), eq.args
    return call(eq) if len(eq.outs) == 1 else None
