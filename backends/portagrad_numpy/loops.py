"""Runs of elementwise ops and sums as one generated loop each, compiled by numba."""

from __future__ import annotations

import functools
import importlib.util
import math
import re
from typing import Any

import numpy

from portagrad.compile.grouping import reduced
from portagrad.compile.views import collapsed
from portagrad_numpy.fusion import EXPRESSIONS, REDUCTIONS, Nest
from portagrad_numpy.kept import compiled

AVAILABLE = importlib.util.find_spec("numba") is not None


class Operand:
    """An array in a loop: its memory, where it starts there, and a stride for each axis of the loop."""

    def __init__(self, memory: str, offset: int, strides: tuple[int, ...]) -> None:
        self.memory, self.offset, self.strides = memory, offset, strides


class Writer:
    """Writes the source of one step: the loops of its nests, over flat memory.

    ``memory(v)`` is the name of the flat array in which a variable lies, its offset there and its strides, in
    elements; ``kept(v, nest)`` tells whether a variable is needed outside the nest that makes it.
    """

    def __init__(self, memory: Any, kept: Any) -> None:
        self.memory = memory
        self.kept = kept
        self.lines: list[str] = []
        self.nests: list[list[str]] = []
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
        self.lines = []
        _NestWriter(self, nest, loads, stores, dims).write()
        self.nests.append(self.lines)


class _NestWriter:
    """One nest as nested ``for`` statements, the innermost over slices that LLVM turns into vectors."""

    def __init__(self, writer: Writer, nest: Nest, loads: Any, stores: Any, dims: list[int]) -> None:
        self.w, self.nest, self.loads, self.stores, self.dims = writer, nest, loads, stores, dims
        self.names: dict[Any, str] = {}
        self.inner = len(dims) - 1

    def write(self) -> None:
        for k, v in enumerate((*self.loads, *self.nest.made)):
            self.names[v] = f"t{k}"
        sums = [
            (eq, eq.outs[0], self.stores[eq.outs[0]]) for eq in self.nest.eqs if eq.outs[0] in self.nest.sums
        ]
        depths = {out: self.depth(o) for _, out, o in sums}
        for eq, out, o in sums:
            if depths[out] is None:  # over the first axes: the whole result is added to again and again
                start = self.start(eq)
                self.line(0, f"{o.memory}[{o.offset}:{o.offset + math.prod(out.shape)}] = {start}")
        for depth in range(self.inner + 1):
            self.begin_sums(depth, sums, depths)
            if depth < self.inner:
                self.line(depth, f"for i{depth} in range({self.dims[depth]}):")
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
        return " + ".join([*([str(o.offset)] if o.offset or not terms else []), *terms])

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
                size = math.prod(out.shape)
                self.line(
                    0,
                    f"for i in range({size}): {o.memory}[{o.offset} + i] = {o.memory}[{o.offset} + i]{over}",
                )

    def inner_loop(self, sums: Any, depths: Any) -> None:
        d, n = self.inner, self.dims[self.inner]
        body: list[str] = []
        access: dict[tuple[str, str, int], str] = {}

        def element(v: Any, o: Operand) -> str:
            """The expression for an operand's element; its slice is taken before the loop."""
            s, base = o.strides[d], self.base(o, d)
            if s == 0 or n == 1:
                return f"{o.memory}[{base}]"
            if s < 0:
                return f"{o.memory}[{base} + j * {s}]"
            key = (o.memory, base, s)
            if key not in access:
                name = access[key] = f"s{len(access)}_{len(self.w.lines)}"
                if base == "0" and d == 0:
                    self.line(d, f"{name} = {o.memory}")
                else:
                    self.line(d, f"{name} = {o.memory}[{base}:{base} + {(n - 1) * s + 1}]")
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
        self.line(d, f"for j in range({n}):")
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
    options: dict[str, Any] = {"error_model": "numpy", "nogil": True, "fastmath": flags}
    modules = {"math": math, "numpy": numpy, "inner": numba.njit(**options)}
    return compiled(source, "step", dict(constants), modules, numba.void(*given), **options)


_MEMORY = re.compile(r"\bm\d+\b")


def _divided(nests: list[list[str]]) -> tuple[list[str], list[str]]:
    """Nests that differ in their memories alone, such as an optimizer's leaves, as calls of one function.

    LLVM compiles it once. Returns the lines of these functions, and of the step.
    """
    texts = ["\n".join(nest) for nest in nests]
    names = [dict.fromkeys(_MEMORY.findall(text)) for text in texts]
    alike: dict[str, list[int]] = {}
    for i, text in enumerate(texts):
        place = {m: f"p{k}" for k, m in enumerate(names[i])}
        alike.setdefault(_MEMORY.sub(lambda m, place=place: place[m[0]], text), []).append(i)  # type: ignore[misc]
    functions: list[str] = []
    for k, (text, its) in enumerate(alike.items()):
        if len(its) > 1:
            given = ", ".join(f"p{n}" for n in range(len(names[its[0]])))
            functions += ["@inner", f"def nest{k}({given}):", text]
            for i in its:
                texts[i] = f"    nest{k}({', '.join(names[i])})"
    return functions, texts


def function(writer: Writer, memories: dict[str, Any]) -> Any:
    """The compiled step, a function of the memories in their order, and its source."""
    names = list(memories)
    flat = [f"    {m} = {m}_.reshape({m}_.size)" for m in names if memories[m].ndim != 1]
    given = [m + "_" * (memories[m].ndim != 1) for m in names]
    functions, lines = _divided(writer.nests or [writer.lines])
    source = "\n".join([*functions, f"def step({', '.join(given)}):", *flat, *lines])
    constants = tuple((k, v) for k, v in writer.env.items() if k not in ("math", "numpy"))
    types = tuple((m.dtype.str, m.ndim) for m in memories.values())
    made = _compiled(source, constants, types, writer.associative)
    return made, source
