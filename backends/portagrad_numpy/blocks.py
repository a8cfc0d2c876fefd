"""Large elementwise work, block by block: what passes from op to op stays in the processor's cache."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy

from portagrad_numpy import fusion, loops, special, threads
from portagrad_numpy.calls import BLOCKWISE, KEYWORD, call

LARGE = 1 << 16
"""From how many elements on an op runs in blocks: below, what it makes stays in the cache by itself."""
BLOCK = 1 << 16
"""Bytes of an operand in one block; some ten of them fit the second-level cache of a core."""
WORK = 1 << 24
"""How many steps a thread must have to do to be worth waking: it takes some 0.1 milliseconds to come."""
CALL, SPECIAL = 8, 256
"""For how many steps of a generated loop a call of NumPy's counts, and one of SciPy's."""
PIECES = 4
"""How many pieces there are for each thread, so that one that comes late does less."""


def takes(eq: Any) -> bool:
    """Whether an equation can run block by block: it is elementwise, large, and a call into given memory."""
    if len(eq.outs) != 1 or eq.op.name not in BLOCKWISE or math.prod(eq.outs[0].shape) < LARGE:
        return False
    return call(eq) is not None


def work(nest: fusion.Nest) -> int:
    """What a nest has to compute, in steps of a generated loop for one element."""
    steps = [
        SPECIAL if eq.op.name in special.kernels else 1 if loops.AVAILABLE and fusion.takes(eq) else CALL
        for eq in nest.eqs
    ]
    return math.prod(nest.shape) * sum(steps)


class Scratch:
    """A value inside a block that no equation names."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = shape, dtype


class _Instruction:
    """One call in a block: a function of its arguments and then of the memory for its results."""

    def __init__(self, function: Any, args: Any, outs: Any, exact: bool = True) -> None:
        self.function, self.args, self.outs = function, tuple(args), tuple(outs)
        self.exact = exact  # whether a result may be written over an argument

    def reads(self) -> list[Any]:
        return [a for a in self.args if _varies(a)]


def _varies(a: Any) -> bool:
    return hasattr(a, "shape") and not isinstance(a, numpy.ndarray | numpy.generic)


class Blocks:
    """The equations of a nest, run on blocks of their operands, on as many threads as it pays.

    ``kept`` maps what is needed outside the nest to the variable whose memory it lies in: itself, or an input
    that it replaces. Called with the arrays of `operands`: what the nest reads, then what is kept of what it
    makes.
    """

    def __init__(self, nest: fusion.Nest, kept: Any, layouts: Any) -> None:
        loads = [a for eq in nest.eqs for a in eq.args if _varies(a) and a not in nest.made]
        self.loads = list(dict.fromkeys(loads))
        self.kept = [v for v in nest.made if v in kept]
        self.operands = [*self.loads, *self.kept]
        self.shape = nest.shape
        self.flat = all(
            math.prod(v.shape) == 1 or (tuple(v.shape) == nest.shape and layouts.in_order(v))
            for v in self.operands
        )
        self.compiled = loops.AVAILABLE and self.flat
        self.late = [v for v in self.kept if kept[v] in self.loads]  # written when all is read
        self.instructions = self._instructions(nest)
        self.rows = math.prod(self.shape) if self.flat else self.shape[0]
        count = max(1, min(threads.count(), self.rows, work(nest) // WORK))
        self.step, self.pieces = self._cut(max(v.dtype.itemsize for v in nest.made), count)
        self.part, slots = self._part()
        self.scratch = [self._memory(slots) for _ in range(count)]

    def _cut(self, itemsize: int, count: int) -> tuple[int, list[tuple[int, int]]]:
        """How many rows a block has, and the pieces for `count` threads, each some blocks."""
        width = 1 if self.flat else math.prod(self.shape[1:])
        piece = -(-self.rows // (count * PIECES if count > 1 else 1))
        whole = len(self.instructions) == 1 and not self.late  # nothing passes from call to call
        step = piece if whole else max(1, min(piece, BLOCK // (itemsize * width)))
        piece = -(-piece // step) * step
        return step, [(lo, min(lo + piece, self.rows)) for lo in range(0, self.rows, piece)]

    def __call__(self, *arrays: Any) -> None:
        if self.flat:
            arrays = tuple([a.reshape(-1) for a in arrays])
        if len(self.scratch) == 1:
            self.part(self.scratch[0], arrays, 0, self.rows)
        else:
            threads.each([functools.partial(self.part, own, arrays) for own in self.scratch], self.pieces)

    def _memory(self, slots: list[Any]) -> tuple[Any, ...]:
        shape = (self.step,) if self.flat else (self.step, *self.shape[1:])
        return tuple([numpy.empty(shape, dtype) for dtype in slots])

    @property
    def nbytes(self) -> int:
        """The scratch memory of all threads."""
        return sum(x.nbytes for own in self.scratch for x in own)

    def _instructions(self, nest: fusion.Nest) -> list[_Instruction]:
        if not self.compiled:
            return [one for eq in nest.eqs for one in _calls(eq)]
        found: list[_Instruction] = []
        for run, alone in _phases(nest.eqs):
            if run:
                found.append(self._loop(run, nest))
            for eq in alone:
                found += _calls(eq)
        return found

    def _loop(self, run: list[Any], nest: fusion.Nest) -> _Instruction:
        """Equations as one generated loop over a block."""
        made = {eq.outs[0]: None for eq in run}
        inside = {id(eq) for eq in run}
        reads = list(dict.fromkeys(a for eq in run for a in eq.args if _varies(a) and a not in made))
        outside = {a for eq in nest.eqs if id(eq) not in inside for a in eq.args if _varies(a)}
        writes = [v for v in made if v in outside or v in self.kept]
        writer = loops.Writer(None, None)
        names = {v: f"t{k}" for k, v in enumerate((*reads, *made))}
        arrays = [*reads, *writes]
        place = {v: f"m{k}" for k, v in enumerate(arrays)}
        memories = {place[v]: numpy.empty(1, v.dtype) for v in arrays}
        before: list[str] = []
        body: list[str] = []
        for v in reads:
            single = math.prod(v.shape) == 1
            (before if single else body).append(f"{names[v]} = {place[v]}[{'0' if single else 'j'}]")
        body += [f"{names[eq.outs[0]]} = {loops.value(eq, names, writer)}" for eq in run]
        body += [f"{place[v]}[j] = {names[v]}" for v in writes]
        for text in before:
            writer.lines.append("    " + text)
        writer.lines.append(f"    for j in range({place[writes[0]]}.size):")
        writer.lines += ["        " + text for text in body]
        function, _ = loops.function(writer, memories)
        return _Instruction(function, reads, arrays[len(reads) :], exact=False)

    def _part(self) -> tuple[Callable[..., None], list[Any]]:
        """The code that runs some of the rows, and the dtypes of the memory it needs between its calls."""
        env: dict[str, Any] = {"copyto": numpy.copyto}
        names: dict[Any, str] = {}
        slots: list[Any] = []
        free: list[int] = []
        home: dict[Any, int] = {}
        head, body = [], []
        for k, v in enumerate(self.operands):
            names[v] = f"m{k}"
            if math.prod(v.shape) > 1 and (
                self.flat or (len(v.shape) == len(self.shape) and v.shape[0] == self.shape[0])
            ):
                head.append(f"x{k} = m{k}[lo:hi]")
                names[v] = f"x{k}"
        last = {a: i for i, one in enumerate(self.instructions) for a in (*one.outs, *one.reads())}

        def slot(v: Any) -> str:
            fitting = [s for s in free if slots[s] == v.dtype]
            if fitting:
                free.remove(fitting[0])
            else:
                slots.append(v.dtype)
            home[v] = fitting[0] if fitting else len(slots) - 1
            return f"s{home[v]}"

        inner = {v: names[v] for v in self.operands if v not in self.late}
        for i, one in enumerate(self.instructions):
            given = []
            for k, a in enumerate(one.args):
                if _varies(a):
                    given.append(inner[a])
                else:
                    env[f"c{i}_{k}"] = a
                    given.append(f"c{i}_{k}")
            dying = [v for v in home if last[v] == i and v not in self.late]
            if one.exact:
                free += [home.pop(v) for v in dying if v in one.reads()]
            for out in one.outs:
                if out not in inner:
                    inner[out] = slot(out)
            free += [home.pop(v) for v in dying if v in home]
            free += [home.pop(v) for v in one.outs if v in home and last[v] == i and v not in self.late]
            env[f"f{i}"] = one.function
            outs = ", ".join(inner[v] for v in one.outs)
            keyword = "out=" if one.function in KEYWORD else ""
            body.append(f"f{i}({', '.join(given)}, {keyword}{outs})")
        body += [f"copyto({names[v]}, {inner[v]})" for v in self.late]
        cut = [f"s{s} = s{s}[:hi - lo]" for s in range(len(slots))]
        lines = [
            "def part(scratch, arrays, start, stop):",
            f"    ({''.join(f'm{k}, ' for k in range(len(self.operands)))}) = arrays",
            f"    ({''.join(f's{s}, ' for s in range(len(slots)))}) = scratch" if slots else "    pass",
            f"    for lo in range(start, stop, {self.step}):",
            f"        hi = min(lo + {self.step}, stop)",
            *(["        if hi - lo < " + f"{self.step}: " + "; ".join(cut)] if cut else []),
            *["        " + text for text in (*head, *body)],
        ]
        exec(compile("\n".join(lines), "<blocks>", "exec"), env)
        self.source = "\n".join(lines)
        return env["part"], slots


def _calls(eq: Any) -> list[_Instruction]:
    """An equation as calls of NumPy."""
    (out,) = eq.outs
    if eq.op.name == "gate":  # the call for a whole array has memory of its own
        x, on = eq.args
        mask = Scratch(tuple(out.shape), numpy.dtype(bool))
        zero = numpy.zeros((), on.dtype)
        return [
            _Instruction(numpy.greater, (on, zero), (mask,)),
            _Instruction(numpy.multiply, (x, mask), (out,)),
        ]
    made = call(eq)
    assert made is not None
    function, args = made
    return [_Instruction(function, args, (out,), exact=isinstance(function, numpy.ufunc))]


def _phases(eqs: list[Any]) -> list[tuple[list[Any], list[Any]]]:
    """The equations in turns of a loop and the calls that wait for it: as few turns as there can be.

    A call runs as soon as it can, what a loop can do as late as it may.
    """
    makers = {eq.outs[0]: eq for eq in eqs}
    ready: dict[Any, int] = {}  # the first turn in which a value can be read by a loop
    for eq in eqs:
        turn = max((ready[a] for a in eq.args if _varies(a) and a in makers), default=0)
        ready[eq.outs[0]] = turn if fusion.takes(eq) else turn + 1
    end = max(ready.values())
    turns: list[tuple[list[Any], list[Any]]] = [([], []) for _ in range(end + 1)]
    due = dict.fromkeys(makers, end)
    for eq in reversed(eqs):
        (out,) = eq.outs
        looped = fusion.takes(eq)
        turn = due[out] if looped else ready[out] - 1
        turns[turn][0 if looped else 1].insert(0, eq)
        for a in eq.args:
            if _varies(a) and a in makers:
                due[a] = min(due[a], turn)
    return turns
