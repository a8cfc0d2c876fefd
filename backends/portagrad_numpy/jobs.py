"""What of a plan runs in machine code: loops and MKL's products, one call for all that follow each other."""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any

import numpy

from portagrad_numpy import blocks, fusion, loops, mkl, threads
from portagrad_numpy.placement import Placement

WORTH = 5_000
"""For how many nanoseconds of work another thread is to have of its own: what it writes lies in its cache."""
ASIDE = 500_000
"""The same where OpenBLAS multiplies, whose threads look for work for a tenth of a second."""
WAKING = 200_000
"""For how many nanoseconds of work it pays to wake a thread, which may take a quarter of that."""
PIECES = 4
"""How many pieces of a long loop there are for each thread, so that one that comes late does less."""
LOOP, MULTIPLY = 32, 64
"""Steps of a loop, and multiplications of a product, that a thread does in a nanosecond."""
LONGEST = 200_000_000
"""After how many nanoseconds of work Python sees to signals."""


class Job:
    """A function, its arguments, and the pieces it is cut into."""

    def __init__(self, function: int, args: Any, pieces: int, cost: float, kept: Any) -> None:
        self.function, self.args, self.pieces, self.cost = function, args, pieces, cost
        self.kept = kept  # what the machine code lies in


class Run:
    """Jobs that follow each other, and what performs them."""

    def __init__(self, jobs: list[Job]) -> None:
        from portagrad_numpy import native

        self.jobs = jobs
        self.rows = numpy.asarray([(j.function, j.args.ctypes.data, j.pieces) for j in jobs], numpy.int64)
        shared = sum(j.cost for j in jobs if j.pieces > 1)
        self.wake = shared >= WAKING
        self.work = native.perform
        self.call: Any = (
            self.share if shared else functools.partial(self.work, threads.NOBODY, True, self.rows)
        )

    def share(self) -> None:
        threads.team().perform(self.work, self.rows, wake=self.wake)


class Jobs(Placement):
    """Writes a plan's jobs, and where they find their arrays."""

    def __init__(self, graph: Any, donated: tuple[int, ...]) -> None:
        super().__init__(graph, donated)
        self.table = numpy.zeros(len(self.layouts.root), numpy.int64)
        self.places: dict[str, int] = {}  # the name of an array -> where in the table its address stands
        self.pending: list[Job] = []
        self.ahead = 0.0  # how long these take
        self.runs: list[Run] = []
        self.large = self.divided = 0  # products that MKL takes, and loops that are cut
        self.env["at"], self.env["where"], self.env["runs"] = self.table, _where, self.runs
        self.worth = WORTH if mkl.functions() or not _multiplies(graph) else ASIDE

    def line(self, text: str) -> None:
        self.flush()
        super().line(text)

    def flush(self) -> None:
        """What waits to be run in one go is a line of the plan."""
        if self.pending:
            self.runs.append(Run(self.pending))
            self.pending, self.ahead = [], 0.0
            super().line(f"{self.bound(f'f{len(self.env)}', self.runs[-1].call)}()")

    def add(self, job: Job) -> None:
        if self.ahead > LONGEST:
            self.flush()
        self.pending.append(job)
        self.ahead += job.cost

    def place(self, root: Any) -> int:
        """Where the address of a memory stands; of what changes from call to call it is put there."""
        name = self.expression(root)
        if name not in self.places:
            k = self.places[name] = len(self.places)
            if root in self.static:
                self.table[k] = self.static[root].ctypes.data
            elif name in self.fresh:
                self.fresh[name] += f"; at[{k}] = where({name})"
            elif not name.startswith("a"):  # of an input when the plan begins
                self.line(f"at[{k}] = where({name})")
        return self.places[name]

    def product(self, eq: Any) -> bool:
        """A product of matrices by MKL; False if that cannot be."""
        out = eq.outs[0]
        if (
            eq.op.name != "matmul"
            or any(a not in self.layouts.root or len(a.shape) != 2 for a in eq.args)
            or any(a.dtype != out.dtype for a in eq.args)
            or out.dtype.char not in "fd"
            or not mkl.functions()
        ):
            return False
        a, b = eq.args
        (m, k), n = a.shape, b.shape[1]
        shifts, strides = zip(*map(self.layouts.steps, (a, b)), strict=True)
        if (
            min(m, k, n) < 2
            or max(m, k, n) >= mkl.MOST
            or not all(map(_in_order, strides, (a.shape, b.shape)))
        ):
            return False
        made = mkl.Product(m, k, n, out.dtype, split=int(self.worth * MULTIPLY * 2))
        self.store(out)
        made.orders(*strides, (n, 1))
        places = [self.place(self.layouts.root[v]) for v in (a, b, out)]
        made.lie(self.table, places, [shift * out.dtype.itemsize for shift in shifts])
        self.add(Job(made.function, made.args, made.pieces, m * k * n / MULTIPLY, made))
        self.large += 1
        return True

    def generated(self, nests: list[fusion.Nest], kept: Any) -> None:
        """Loops, each compiled as a job."""
        for nest in [part for whole in nests for part in self.apart(whole, kept)]:
            # Names in the source, by the order of use: equal loops have equal sources.
            places: dict[int, str] = {}
            memories: dict[str, Any] = {}

            def memory(v: Any, places: Any = places, memories: Any = memories) -> Any:
                root = self.layouts.root[v]
                k = self.place(root)
                if k not in places:
                    places[k] = f"m{len(places)}"
                    memories[places[k]] = root.dtype
                return (places[k], *self.layouts.steps(v))

            writer = loops.Writer(memory, lambda v, nest: v in kept)
            writer.nest(nest)
            made, source = loops.job(writer, memories)
            if source not in self.sources:
                self.sources.append(source)
            cost = blocks.work(nest) / LOOP
            count = threads.team().count
            step = writer.count
            pieces = min(count if nest.sums else PIECES * count, int(cost / self.worth))
            if count > 1 and pieces > 1:
                step = -(-writer.count // (pieces * mkl.GRAIN)) * mkl.GRAIN
            self.divided += step < writer.count
            args = numpy.asarray([self.table.ctypes.data, writer.count, step, *places], numpy.int64)
            self.add(Job(made.address, args, -(-writer.count // step), cost, made))

    def apart(self, nest: fusion.Nest, kept: Any) -> list[fusion.Nest]:
        """Parts of a nest that share no memory: each is cut as suits it, and more often like another."""
        parts: list[tuple[set[Any], list[Any]]] = []
        for eq in nest.eqs if math.prod(nest.shape) > 1 else ():
            known = [self.layouts.root[v] for v in (*eq.variables(), *eq.outs)]
            known += [kept[v] for v in eq.outs if v in kept]
            shared, eqs = {v for v in known if math.prod(v.shape) > 1 or v in nest.made}, [eq]
            for part in [part for part in parts if not shared.isdisjoint(part[0])]:
                parts.remove(part)
                shared, eqs = shared | part[0], [*part[1], *eqs]
            parts.append((shared, eqs))
        return [nest.part(eqs) for _, eqs in parts] if len(parts) > 1 else [nest]

    def beginning(self) -> list[str]:
        """The lines that look at what the plan is given, and make what it returns."""
        lines = []
        self.env["ready"], self.env["readable"] = _ready, _readable
        kept = {*self.buffers.target.values()}  # whose memory the caller has as the last result
        for k, v in enumerate(self.graph.inputs):
            name = f"a{k}"
            if k not in self.strict and name not in self.places:
                continue
            ready = f"{name} = {'ready' if k in self.strict else 'readable'}({name})"
            found = f"; at[{self.places[name]}] = where({name})" if name in self.places else ""
            if k in kept:  # if the run fails, the address is that of an array that is not `last`
                lines.append(f"    if {name} is not last[{k}]: {ready}{found}; last[{k}] = None")
            else:
                needed = f"if not {name}.flags.carray: " if v.shape else ""  # a scalar is no array
                lines += [f"    {needed}{ready}", f"    {found[2:] or 'pass'}"]
        return [*lines, *[f"    {text}" for text in self.fresh.values()]]


def _multiplies(graph: Any) -> bool:
    return any(eq.op.name == "matmul" for eq in graph.equations)


def _where(x: Any) -> int:
    """The address of an array's memory, in a quarter of the time that ``x.ctypes.data`` takes."""
    try:
        return _address(_first(x))
    except (TypeError, ValueError):  # read-only, or of no elements
        return x.ctypes.data  # type: ignore[no-any-return]


_first, _address = ctypes.c_char.from_buffer, ctypes.addressof


def _ready(x: Any) -> Any:
    """An input as in-place results need it: in C order, writeable; a copy if it is not."""
    return x if x.flags.carray and isinstance(x, numpy.ndarray) else numpy.array(x, order="C")


def _readable(x: Any) -> Any:
    """An input as jobs need it: in C order; a copy if it is not."""
    plain = x.flags.c_contiguous and x.flags.aligned and isinstance(x, numpy.ndarray)
    return x if plain else numpy.array(x, order="C")


def _in_order(strides: tuple[int, int], shape: tuple[int, int]) -> bool:
    """Whether a matrix lies in rows or in columns one after the other, maybe with gaps."""
    (rows, columns), (m, n) = strides, shape
    return (columns == 1 and n <= rows < mkl.MOST) or (rows == 1 and m <= columns < mkl.MOST)
