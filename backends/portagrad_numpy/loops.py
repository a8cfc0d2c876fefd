"""Runs of elementwise ops and sums as one generated loop each, which can be cut, compiled by numba."""

from __future__ import annotations

import functools
import importlib.util
import math
from typing import Any

import numpy

from portagrad.compile.grouping import reduced
from portagrad.compile.views import collapsed
from portagrad_numpy.fusion import EXPRESSIONS, REDUCTIONS, Nest
from portagrad_numpy.kept import compiled
from portagrad_numpy.threads import COUNT, PLACES, STEP

AVAILABLE = importlib.util.find_spec("numba") is not None


class Operand:
    """An array in a loop: its memory, where it starts there, and a stride for each axis of the loop."""

    def __init__(self, memory: str, offset: int, strides: tuple[int, ...]) -> None:
        self.memory, self.offset, self.strides = memory, offset, strides


class Writer:
    """Writes the source of a loop over flat memory.

    ``memory(v)`` is the name of the flat array in which a variable lies, its offset there and its strides, in
    elements; ``kept(v, nest)`` tells whether a variable is needed outside the nest that makes it.
    """

    def __init__(self, memory: Any, kept: Any) -> None:
        self.memory = memory
        self.kept = kept
        self.count = 1  # how many rows, columns or elements there are to be cut in pieces
        self.lines: list[str] = []
        self.env: dict[str, Any] = {"math": math, "numpy": numpy}
        self.constants: dict[Any, str] = {}
        self.associative = False

    def constant(self, value: Any, dtype: Any) -> str:
        """A number of the program, in the dtype of the computation."""
        typed = numpy.dtype(dtype).type(value)
        key = (typed.dtype, typed.tobytes())
        if key not in self.constants:
            name = self.constants[key] = f"c{len(self.constants)}"
            self.env[name] = typed
        return self.constants[key]

    def operand(self, v: Any, shape: tuple[int, ...], axes: frozenset[int] = frozenset()) -> Operand:
        """A variable as the loop over `shape` meets it; summed over `axes`."""
        memory, offset, strides = self.memory(v)
        full = [0] * len(shape)
        if axes:
            rest = [a for a in range(len(shape)) if a not in axes]
            if len(v.shape) == len(shape):
                strides = tuple(strides[a] for a in rest)
            for a, s in zip(rest, strides, strict=True):
                full[a] = s
        else:
            ahead = len(shape) - len(v.shape)
            for a, (n, s) in enumerate(zip(v.shape, strides, strict=True)):
                full[ahead + a] = 0 if n == 1 else s
        return Operand(memory, offset, tuple(full))

    def nest(self, nest: Nest) -> None:
        """The loops of one nest."""
        loads: dict[Any, Operand] = {}
        stores: dict[Any, Operand] = {}
        for eq in nest.eqs:
            for a in eq.args:
                if hasattr(a, "shape") and a not in nest.made and not hasattr(a, "number"):
                    loads.setdefault(a, self.operand(a, nest.shape))
            (out,) = eq.outs
            if out in nest.sums:
                stores[out] = self.operand(out, nest.shape, reduced(eq) or frozenset(range(len(nest.shape))))
            elif self.kept(out, nest):
                stores[out] = self.operand(out, nest.shape)
        every = [*loads.values(), *stores.values()]
        dims, strides = collapsed(nest.shape, [o.strides for o in every])
        for o, its in zip(every, strides, strict=True):
            o.strides = tuple(its or [0])
        dims = dims or [1]
        written = _NestWriter(self, nest, loads, stores, dims)
        if written.cut is not None:
            self.count = dims[written.cut]
        written.write()


class _NestWriter:
    """One nest as nested ``for`` statements, the innermost over slices that LLVM turns into vectors.

    Of the axis `cut` it computes what lies from `lo` to `hi`. No sum is over that axis: the pieces have
    nothing to do with each other, and each sum has the same bits however it is cut.
    """

    def __init__(self, writer: Writer, nest: Nest, loads: Any, stores: Any, dims: list[int]) -> None:
        self.w, self.nest, self.loads, self.stores, self.dims = writer, nest, loads, stores, dims
        self.names: dict[Any, str] = {}
        self.inner = len(dims) - 1
        self.cut = self.axis()

    def axis(self) -> int | None:
        """The axis along which it can be cut: the first, or the last if that is longer; None without one."""
        sums = [self.stores[v].strides for v in self.nest.sums]
        fitting = []
        if all(s[0] for s in sums):
            fitting.append(0)
        if self.inner and all(s[-1] == 1 and not any(s[:-1]) for s in sums):
            fitting.append(self.inner)
        return max(fitting, key=lambda a: min(self.dims[a], _ENOUGH), default=None)

    def write(self) -> None:
        for k, v in enumerate((*self.loads, *self.nest.made)):
            self.names[v] = f"t{k}"
        sums = [
            (eq, eq.outs[0], self.stores[eq.outs[0]]) for eq in self.nest.eqs if eq.outs[0] in self.nest.sums
        ]
        depths = {out: self.depth(o) for _, out, o in sums}
        for eq, out, o in sums:
            if depths[out] is None:  # over the first axes: the whole result is added to again and again
                lo, hi = self.whole(out, o)
                self.line(0, f"{o.memory}[{lo}:{hi}] = {self.start(eq)}")
        for depth in range(self.inner + 1):
            self.begin_sums(depth, sums, depths)
            if depth < self.inner:
                extent = "lo, hi" if depth == self.cut else self.dims[depth]
                self.line(depth, f"for i{depth} in range({extent}):")
        self.inner_loop(sums, depths)
        for depth in reversed(range(self.inner + 1)):
            self.end_sums(depth, sums, depths)

    def depth(self, o: Operand) -> int | None:
        """At which loop an operand's sum begins; None if it is over the first axes."""
        n = 0
        while n < len(self.dims) and o.strides[n] != 0:
            n += 1
        return n if not any(o.strides[n:]) else None

    def start(self, eq: Any) -> str:
        return self.w.constant(eval(REDUCTIONS[eq.op.name][0]), eq.outs[0].dtype)

    def zero(self, eq: Any) -> str:
        """What an accumulator starts with; those of sums are wide."""
        wide = "numpy.float64" if eq.op.name in ("sum", "mean") else ""
        return f"{wide}({self.start(eq)})"

    def line(self, depth: int, text: str) -> None:
        self.w.lines.append("    " * (depth + 1) + text)

    def base(self, o: Operand, depth: int) -> str:
        """Where an operand starts in the loops above `depth`."""
        terms = [f"i{d} * {s}" for d, s in enumerate(o.strides[:depth]) if s]
        if depth == self.inner == self.cut and o.strides[depth]:
            terms.append(f"lo * {o.strides[depth]}")
        return " + ".join([*([str(o.offset)] if o.offset or not terms else []), *terms])

    def whole(self, out: Any, o: Operand) -> tuple[str, str]:
        """Where a sum over the first axes begins and ends."""
        if self.cut is None or self.cut < self.inner:
            return str(o.offset), str(o.offset + math.prod(out.shape))
        return f"{o.offset} + lo", f"{o.offset} + hi"

    def begin_sums(self, depth: int, sums: Any, depths: Any) -> None:
        for eq, out, _ in sums:
            if depths[out] == depth:
                self.w.associative = True
                self.line(depth, f"acc_{self.names[out]} = {self.zero(eq)}")

    def end_sums(self, depth: int, sums: Any, depths: Any) -> None:
        for eq, out, o in sums:
            count = math.prod(self.nest.shape[a] for a in reduced(eq)) if eq.op.name == "mean" else 1
            over = f" / {self.w.constant(count, out.dtype)}" if count != 1 else ""
            target = f"{o.memory}[{self.base(o, depth)}]"
            if depths[out] == depth:
                self.line(depth, f"{target} = acc_{self.names[out]}{over}")
            elif depths[out] is None and depth == 0 and over:
                lo, hi = self.whole(out, o)
                self.line(0, f"for i in range({lo}, {hi}): {o.memory}[i] = {o.memory}[i]{over}")

    def inner_loop(self, sums: Any, depths: Any) -> None:
        d, n = self.inner, self.dims[self.inner]
        length = "n" if d == self.cut else n
        body: list[str] = []
        access: dict[tuple[str, str, int], str] = {}

        def element(v: Any, o: Operand) -> str:
            """The expression for an operand's element; its slice is taken before the loop."""
            s, base = o.strides[d], self.base(o, d)
            if s == 0 or (n == 1 and d != self.cut):
                return f"{o.memory}[{base}]"
            if s < 0:
                return f"{o.memory}[{base} + j * {s}]"
            key = (o.memory, base, s)
            if key not in access:
                name = access[key] = f"s{len(access)}_{len(self.w.lines)}"
                if base == "0" and d == 0 and d != self.cut:
                    self.line(d, f"{name} = {o.memory}")
                else:
                    end = length if s == 1 else f"({length} - 1) * {s} + 1"
                    self.line(d, f"{name} = {o.memory}[{base}:{base} + {end}]")
            return f"{access[key]}[j]" if s == 1 else f"{access[key]}[j * {s}]"

        for v, o in self.loads.items():
            text = f"{self.names[v]} = {element(v, o)}"
            if o.strides[d] == 0:
                self.line(d, text)
            else:
                body.append(text)
        ends: list[str] = []
        for eq in self.nest.eqs:
            (out,) = eq.outs
            right = value(eq, self.names, self.w)
            if out in self.nest.sums:
                update = REDUCTIONS[eq.op.name][1]
                acc = f"acc_{self.names[out]}" if depths[out] is not None else element(out, self.stores[out])
                if depths[out] == len(self.dims):  # over axes of length 1: a sum for each element
                    body.append(f"{acc} = {self.zero(eq)}")
                    ends.append(f"{element(out, self.stores[out])} = {acc}")
                body.append(f"{acc} = {update.format(acc, right)}")
                continue
            body.append(f"{self.names[out]} = {right}")
            if out in self.stores:
                ends.append(f"{element(out, self.stores[out])} = {self.names[out]}")
        self.line(d, f"for j in range({length}):")
        for text in (*body, *ends):
            self.line(d + 1, text)


def value(eq: Any, names: Any, writer: Writer) -> str:
    """The right side of an equation."""
    (out,) = eq.outs
    dtypes = [a.dtype for a in eq.args if hasattr(a, "dtype")]
    plain = next((t for t in dtypes if t.kind != "b"), out.dtype)
    args = [
        names[a] if hasattr(a, "shape") else writer.constant(a, numpy.result_type(plain, a)) for a in eq.args
    ]
    if eq.op.name in REDUCTIONS:
        return args[0]
    text = EXPRESSIONS[eq.op.name].format(*args)
    return text if out.dtype.kind == "b" else f"numpy.{out.dtype.name}({text})"


@functools.lru_cache(maxsize=256)
def _compiled(source: str, constants: Any, types: tuple[tuple[str, int], ...], associative: bool) -> Any:
    """The machine code of a step; equal steps share it."""
    import numba

    given = [numba.types.Array(numba.from_dtype(numpy.dtype(t)), ndim, "C") for t, ndim in types]
    flags = {"reassoc"} if associative else False
    options = {"error_model": "numpy", "nogil": True, "fastmath": flags}
    modules = {"math": math, "numpy": numpy}
    return compiled(source, "step", dict(constants), modules, numba.void(*given), **options)


@functools.lru_cache(maxsize=256)
def _job(source: str, constants: Any, associative: bool) -> Any:
    """A loop as a job of the team's; equal loops share it."""
    import numba

    from portagrad_numpy import native

    flags = {"reassoc"} if associative else False
    carray = numba.carray  # type: ignore[attr-defined]
    names = {"math": math, "numpy": numpy, "carray": carray, "pointer": native.pointer, "word": native.word}
    options = {"error_model": "numpy", "fastmath": flags, "make": numba.cfunc}
    return compiled(source, "step", dict(constants), names, native.JOB_TYPE, **options)


def job(writer: Writer, memories: dict[str, Any]) -> Any:
    """A loop as machine code for pieces of it, and its source; of the `memories` the dtypes."""
    head = [
        "def step(args, piece):",
        f"    lo = piece * word(args, {STEP})",
        f"    hi = min(lo + word(args, {STEP}), word(args, {COUNT}))",
        "    n = hi - lo",
    ]
    for k, (name, dtype) in enumerate(memories.items()):
        kind = "bool_" if dtype.kind == "b" else dtype.name
        head.append(f"    {name} = carray(pointer(args, {PLACES + k}), {_MUCH}, numpy.{kind})")
    source = "\n".join([*head, *writer.lines])
    constants = tuple((k, v) for k, v in writer.env.items() if k not in ("math", "numpy"))
    return _job(source, constants, writer.associative), source


_ENOUGH = 128
"""An axis of such length is long enough to be cut."""
_MUCH = 1 << 48
"""The length of memory of which only the beginning is told."""


def function(writer: Writer, memories: dict[str, Any]) -> Any:
    """The compiled step, a function of the memories in their order, and its source."""
    source = "\n".join([f"def step({', '.join(memories)}):", *writer.lines])
    constants = tuple((k, v) for k, v in writer.env.items() if k not in ("math", "numpy"))
    types = tuple((m.dtype.str, m.ndim) for m in memories.values())
    made = _compiled(source, constants, types, writer.associative)
    return made, source
