"""Runs of elementwise ops and sums as one generated loop each, compiled by numba."""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Iterable
from typing import Any

import numpy

AVAILABLE = importlib.util.find_spec("numba") is not None

# What numba writes for an op, in its arguments' places.
_FLOATS = {
    "reciprocal": "1 / {0}",
    "sqrt": "math.sqrt({0})",
    "floor": "numpy.floor({0})",
    "ceil": "numpy.ceil({0})",
    "divide": "{0} / {1}",
    "isnan": "{0} != {0}",
}
_NUMBERS = {
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "negative": "-{0}",
    "positive": "{0}",
    "square": "{0} * {0}",
    "abs": "abs({0})",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "maximum": "({0} if ({0} > {1} or {0} != {0}) else {1})",
    "minimum": "({0} if ({0} < {1} or {0} != {0}) else {1})",
    "gate": "({0} if {1} > 0 else {0} * 0)",
    "astype": "{0}",
}
_INTEGERS = {
    "bitwise_and": "{0} & {1}",
    "bitwise_or": "{0} | {1}",
    "bitwise_xor": "{0} ^ {1}",
    "bitwise_left_shift": "{0} << {1}",
    "bitwise_right_shift": "{0} >> {1}",
}
_ANY = {
    "where": "({1} if {0} else {2})",
    "logical_and": "bool({0}) and bool({1})",
    "logical_or": "bool({0}) or bool({1})",
    "logical_not": "not {0}",
}
_SLOW = {
    name: f"math.{name}({{0}})"
    for name in ("exp", "expm1", "log", "log1p", "sin", "cos", "tan", "tanh", "sinh", "cosh")
} | {"pow": "{0} ** {1}"}
_REDUCTIONS = {
    "sum": ("0", "{0} + {1}"),
    "mean": ("0", "{0} + {1}"),
    "max": ("-numpy.inf", "({1} if ({1} > {0} or {1} != {1}) else {0})"),
    "min": ("numpy.inf", "({1} if ({1} < {0} or {1} != {1}) else {0})"),
}
SMALL = 512
"""Up to how many elements a transcendental function is worth a place in a loop: numba calls the C library for
each, NumPy computes several at once."""


def takes(eq: Any) -> bool:
    """Whether an equation can be part of a loop."""
    if len(eq.outs) != 1:
        return False
    name, out = eq.op.name, eq.outs[0]
    arrays = [a for a in eq.args if hasattr(a, "dtype")]
    size = math.prod(out.shape)
    if not arrays or not size or any(a is None or isinstance(a, complex) for a in eq.args):
        return False
    kinds = {a.dtype.kind + str(a.dtype.itemsize) for a in (*arrays, out)}
    if not kinds <= {"f4", "f8", "i4", "i8", "b1"}:
        return False
    if name in _REDUCTIONS:
        return _reducible(eq, arrays[0])
    if name == "astype" and out.dtype.kind != "f" and arrays[0].dtype.kind == "f":
        return False  # what is out of range is the processor's affair
    floating = all(a.dtype.kind == "f" for a in arrays)
    if name in _FLOATS:
        return floating
    if name in _NUMBERS:
        return name == "astype" or all(a.dtype.kind != "b" for a in arrays)
    if name in _INTEGERS:
        return all(a.dtype.kind == "i" for a in (*arrays, out))
    if name in _SLOW:
        return floating and size <= SMALL
    return name in _ANY


def _reducible(eq: Any, x: Any) -> bool:
    """Whether the axes are the first or the last ones, and the sum of floating numbers."""
    if x.dtype != eq.outs[0].dtype or x.dtype.kind != "f" or not math.prod(x.shape):
        return False
    axes, rank = reduced(eq), len(x.shape)
    count = len(axes)
    return axes in (frozenset(range(count)), frozenset(range(rank - count, rank)))


def reduced(eq: Any) -> frozenset[int]:
    """The axes that an equation sums over; none if it is elementwise."""
    if eq.op.name not in _REDUCTIONS:
        return frozenset()
    (x,) = (a for a in eq.args if hasattr(a, "dtype"))
    axis, rank = eq.params.get("axis"), len(x.shape)
    axes = range(rank) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return frozenset(a % rank for a in axes)


def space(eq: Any) -> tuple[int, ...]:
    """The shape that a loop for an equation runs over."""
    return tuple(eq.args[0].shape) if eq.op.name in _REDUCTIONS else tuple(eq.outs[0].shape)


class Nest:
    """Equations that run in one loop, element by element."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.eqs: list[Any] = []
        self.made: dict[Any, None] = {}  # in order, so that equal loops are written alike
        self.sums: dict[Any, None] = {}

    def add(self, eq: Any) -> None:
        self.eqs.append(eq)
        self.made.update(dict.fromkeys(eq.outs))
        if reduced(eq) or eq.op.name in _REDUCTIONS:
            self.sums.update(dict.fromkeys(eq.outs))


def nests(eqs: Iterable[Any], root: Any) -> list[Nest]:
    """The equations of a step, in loops: each in the last loop of its shape, if what it needs is there."""
    made: dict[Any, int] = {}
    found: list[Nest] = []
    for eq in eqs:
        shape = space(eq)
        needs = [(made[root(a)], a) for a in eq.variables() if root(a) in made]
        first = max((i for i, _ in needs), default=0)
        place = None
        for i in reversed(range(first, len(found))):
            blocked = any(
                n == i and (a in found[i].sums or root(a) is not a or root(a) in found[i].sums)
                for n, a in needs
            )
            if found[i].shape == shape and not blocked:
                place = i
                break
        if place is None:
            place = len(found)
            found.append(Nest(shape))
        found[place].add(eq)
        made.update(dict.fromkeys(eq.outs, place))
    return found


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
        dims = _collapsed(nest.shape, [*loads.values(), *stores.values()])
        _NestWriter(self, nest, loads, stores, dims).write()


def _collapsed(shape: tuple[int, ...], operands: list[Operand]) -> list[int]:
    """The axes that have to be loops of their own: neighbours that every operand steps through alike are one.

    Returns the lengths; the operands' strides are brought to these axes.
    """
    lengths = list(shape)
    strides = [list(o.strides) for o in operands]
    for a in reversed(range(len(lengths))):
        if lengths[a] == 1 and len(lengths) > 1:
            del lengths[a]
            for s in strides:
                del s[a]
    a = len(lengths) - 2
    while a >= 0:
        if all(s[a] == s[a + 1] * lengths[a + 1] for s in strides):
            lengths[a] *= lengths[a + 1]
            del lengths[a + 1]
            for s in strides:
                s[a] = s.pop(a + 1)
        a -= 1
    if not lengths:
        lengths, strides = [1], [[0] for _ in strides]
    for o, s in zip(operands, strides, strict=True):
        o.strides = tuple(s)
    return lengths


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
        return self.w.constant(eval(_REDUCTIONS[eq.op.name][0]), eq.outs[0].dtype)

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
                wide = "numpy.float64" if eq.op.name in ("sum", "mean") else ""
                self.line(depth, f"acc_{self.names[out]} = {wide}({self.start(eq)})")

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
            value = self.value(eq)
            if out in self.nest.sums:
                update = _REDUCTIONS[eq.op.name][1]
                acc = f"acc_{self.names[out]}" if depths[out] is not None else element(out, self.stores[out])
                body.append(f"{acc} = {update.format(acc, value)}")
                continue
            body.append(f"{self.names[out]} = {value}")
            if out in self.stores:
                ends.append(f"{element(out, self.stores[out])} = {self.names[out]}")
        self.line(d, f"for j in range({n}):")
        for text in (*body, *ends):
            self.line(d + 1, text)

    def value(self, eq: Any) -> str:
        """The right side of an equation."""
        (out,) = eq.outs
        dtypes = [a.dtype for a in eq.args if hasattr(a, "dtype")]
        plain = next((t for t in dtypes if t.kind != "b"), out.dtype)
        args = [
            self.names[a] if hasattr(a, "shape") else self.w.constant(a, numpy.result_type(plain, a))
            for a in eq.args
        ]
        if eq.op.name in _REDUCTIONS:
            return args[0]
        text = _EXPRESSIONS[eq.op.name].format(*args)
        return text if out.dtype.kind == "b" else f"numpy.{out.dtype.name}({text})"


_EXPRESSIONS = {**_FLOATS, **_NUMBERS, **_INTEGERS, **_ANY, **_SLOW}


@functools.lru_cache(maxsize=256)
def _compiled(source: str, constants: Any, types: tuple[tuple[str, int], ...], associative: bool) -> Any:
    """The machine code of a step; equal steps share it."""
    import numba

    scope: dict[str, Any] = {"math": math, "numpy": numpy, **dict(constants)}
    exec(source, scope)
    given = [numba.types.Array(numba.from_dtype(numpy.dtype(t)), ndim, "C") for t, ndim in types]
    flags = {"reassoc"} if associative else False
    return numba.njit(numba.void(*given), error_model="numpy", nogil=True, fastmath=flags)(scope["step"])


def function(writer: Writer, memories: dict[str, Any]) -> Any:
    """The compiled step, a function of the memories in their order, and its source."""
    names = list(memories)
    flat = [f"    {m} = {m}_.reshape({m}_.size)" for m in names if memories[m].ndim != 1]
    given = [m + "_" * (memories[m].ndim != 1) for m in names]
    source = "\n".join([f"def step({', '.join(given)}):", *flat, *writer.lines])
    constants = tuple((k, v) for k, v in writer.env.items() if k not in ("math", "numpy"))
    types = tuple((m.dtype.str, m.ndim) for m in memories.values())
    made = _compiled(source, constants, types, writer.associative)
    return made, source
