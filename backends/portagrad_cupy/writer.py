"""The CUDA C++ of a launch: a device function for each group, and one kernel that shares its blocks out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from portagrad.compile.grouping import Group
from portagrad.compile.views import Layouts
from portagrad_cupy.accesses import Accesses
from portagrad_cupy.expressions import JOINS, cast, ctype, expression, literal, reduction
from portagrad_cupy.indices import Operand, power_of_two, terms

THREADS = 256
"""In a block."""
BLOCKS = 2048
"""For one group at most: its threads step on from there."""
PREAMBLE = Path(__file__).with_name("device.cuh").read_text(encoding="utf-8")
POINTERS = 480
"""How many arguments a launch may have: CUDA takes 4096 bytes of them."""


class Scratch(NamedTuple):
    """Memory that a group needs besides: of a dtype and so many elements; counters begin at 0."""

    dtype: str
    size: int

    @property
    def ctype(self) -> str:
        return "unsigned int" if self.dtype == "counter" else ctype(numpy.dtype(self.dtype))


class GroupWriter(Accesses):
    """Writes a group's function; `slot` and `kept` as for `Accesses`."""

    def __init__(self, group: Group, layouts: Layouts, slot: Any, kept: set[Any]) -> None:
        super().__init__(group, layouts, slot, kept)
        self.scratch: list[Scratch] = []
        self.names: dict[Any, str] = {}
        self.lines: list[str] = []
        self.index = "int" if self.reach < 2**31 - 2 * BLOCKS * THREADS else "long long"
        self.blocks = self.lay_out()
        {"flat": self.flat, "rows": self.by_rows, "columns": self.by_columns}[group.kind]()

    def lay_out(self) -> int:
        """How many blocks the group takes; and how threads share a row or a column."""
        kind, n, length = self.group.kind, self.rows, self.length
        if kind == "flat":
            return min(BLOCKS, -(-n // THREADS))
        if kind == "rows":
            self.lanes = THREADS if length > 1024 else min(32, power_of_two(length))
            return min(BLOCKS, -(-n // (THREADS // self.lanes)))
        self.lanes = min(32, power_of_two(length))
        tiles, high = -(-length // self.lanes), THREADS // self.lanes
        self.splits = max(1, min(-(-n // (16 * high)), 512 // tiles))
        return tiles * self.splits

    def line(self, depth: int, text: str) -> None:
        self.lines.append("  " * (depth + 1) + text)

    def element(self, o: Operand) -> str:
        """An operand's element at row ``r`` and place ``j``."""
        parts = [*terms(self.outer[0], o.outer, "r"), *terms(self.inner[0], o.inner, "j")]
        return f"{o.memory}[{' + '.join([*([str(o.offset)] if o.offset or not parts else []), *parts])}]"

    def name(self, key: Any) -> str:
        return self.names.setdefault(key, f"t{len(self.names)}")

    def load(self, depth: int, key: Any) -> None:
        v, _ = key
        self.line(depth, f"const {ctype(v.dtype)} {self.name(key)} = {self.element(self.loads[key])};")

    def arguments(self, eq: Any, dtypes: Any) -> list[str]:
        over = tuple(eq.outs[0].shape) if self.by_row(eq) else self.group.shape
        if eq.op.name in JOINS:
            return [
                cast(self.element(self.loads[eq, i]), a.dtype, eq.outs[0].dtype)
                for i, a in enumerate(eq.args)
            ]
        found = []
        for a, dtype in zip(eq.args, dtypes, strict=False):
            if hasattr(a, "dtype"):
                root = self.layouts.root[a]
                found.append(cast(self.name(root if root in self.made else (a, over)), a.dtype, dtype))
            else:
                found.append("" if a is None else literal(a, dtype))
        return found

    def along(self, eq: Any) -> str:
        """A thread's place along the axis that pieces are joined on."""
        shape, axis = self.group.shape, eq.params["axis"] % len(eq.outs[0].shape)
        cut = self.group.split if self.group.kind == "columns" else len(shape) - self.group.split
        its, variable = (shape[:cut], "r") if axis < cut else (shape[cut:], "j")
        at = axis if axis < cut else axis - cut
        unit = [int(a == at) for a in range(len(its))]
        return "(" + (" + ".join(terms(list(its), unit, variable)) or "0") + ")"

    def compute(self, depth: int, eq: Any) -> None:
        written = expression(eq)
        assert written is not None
        args = self.arguments(eq, written.dtypes)
        its = written.dtypes[0]
        words = {"axis": self.along(eq)} if eq.op.name in JOINS else {}
        words |= {"T": ctype(its), "U": "unsigned long long" if its.itemsize == 8 else "unsigned int"}
        for out, text in zip(eq.outs, written.texts, strict=True):
            value = text.format(*args, **words)
            if eq.op.name == "astype":
                value = cast(value, its, out.dtype)
            elif out.dtype.kind != "c":
                value = f"({ctype(out.dtype)})({value})"
            self.line(depth, f"const {ctype(out.dtype)} {self.name(out)} = {value};")

    def pass_over(self, depth: int, wanted: list[Any], totals: list[Any], stored: list[Any]) -> None:
        """Compute the values that are wanted at this element, add them to the totals, store what is kept."""

        def here(v: Any) -> list[Any]:
            maker = self.made.get(self.layouts.root[v])
            return [maker] if maker and reduction(maker) is None and not self.by_row(maker) else []

        needed = {eq for v in wanted for eq in here(v)}
        for eq in reversed(self.group.eqs):
            if eq in needed:
                needed.update(maker for a in eq.variables() for maker in here(a))
        eqs = [eq for eq in self.group.eqs if eq in needed]
        reads = [
            (a, self.group.shape) for eq in [*eqs, *totals] if eq.op.name not in JOINS for a in eq.variables()
        ]
        for key in dict.fromkeys(reads):
            if self.layouts.root[key[0]] not in self.made:
                self.load(depth, key)
        for eq in eqs:
            self.compute(depth, eq)
        for eq in totals:
            found = reduction(eq)
            assert found is not None
            (value,) = self.arguments(eq, (found.dtype,))
            total = f"total_{self.name(eq.outs[0])}"
            self.line(depth, f"{total} = {found.functor}()({total}, {value});")
        for v in stored:
            self.line(depth, f"{self.element(self.stores[v])} = {self.name(v)};")

    def start(self, depth: int, eq: Any) -> None:
        found = reduction(eq)
        assert found is not None
        self.line(depth, f"{ctype(found.dtype)} total_{self.name(eq.outs[0])} = {found.start};")

    def finish(self, depth: int, eq: Any, value: str) -> None:
        """The result of a reduction, from the total."""
        out = eq.outs[0]
        if eq.op.name == "mean":
            count = math.prod(eq.args[0].shape) // max(1, math.prod(out.shape))
            value = f"{value} / {literal(count, out.dtype)}"
        self.line(depth, f"const {ctype(out.dtype)} {self.name(out)} = {value};")

    def flat(self) -> None:
        index = self.index
        self.line(0, f"for ({index} r = ({index})block * PG_THREADS + threadIdx.x; r < n; ")
        self.lines[-1] += f"r += ({index})blocks * PG_THREADS) {{"
        self.pass_over(1, list(self.made), [], list(self.stores))
        self.line(0, "}")

    def by_rows(self) -> None:
        """One reduction after the other, each with what it needs computed anew from what is in memory."""
        index, lanes, length = self.index, self.lanes, self.length
        high, last = THREADS // lanes, max(self.phase.values())
        row_eqs = [eq for eq in self.group.eqs if self.by_row(eq)]
        full = [out for out, eq in self.made.items() if reduction(eq) is None and not self.by_row(eq)]
        unstored = [v for v in full if v in self.stores]
        self.line(0, f"const int lane = threadIdx.x % {lanes};")
        self.line(0, f"for ({index} r0 = ({index})block * {high}; r0 < n; r0 += ({index})blocks * {high}) {{")
        self.line(1, f"{index} r = r0 + threadIdx.x / {lanes};")
        self.line(1, "const bool live = r < n;")
        self.line(1, "if (!live) r = n - 1;  // the others in the block still need this thread")
        for key in self.loads:
            if isinstance(key[1], tuple) and key[1] != self.group.shape:
                self.load(1, key)
        for phase in range(last + 1):
            for eq in row_eqs:
                if self.phase[eq.outs[0]] == phase:
                    self.compute(1, eq)
            totals = [
                eq
                for eq in self.group.eqs
                if reduction(eq) is not None and self.phase[eq.outs[0]] == phase + 1
            ]
            here = [v for v in unstored if self.phase[v] == phase]
            wanted = here + [
                root for eq in totals for a in eq.variables() if (root := self.layouts.root[a]) in self.made
            ]
            for eq in totals:
                self.start(1, eq)
            if wanted or totals:
                self.line(1, f"for ({index} j = lane; live && j < {length}; j += {lanes}) {{")
                self.pass_over(2, wanted, totals, here)
                self.line(1, "}")
            for eq in totals:
                found = reduction(eq)
                assert found is not None
                total = f"total_{self.name(eq.outs[0])}"
                self.finish(1, eq, f"pg_reduced<{lanes}>({total}, {found.functor}())")
        self.line(1, "if (live && lane == 0) {")
        for v, o in self.stores.items():
            if v not in full:
                self.line(2, f"{self.element(o)} = {self.name(v)};")
        self.line(1, "}")
        self.line(0, "}")

    def by_columns(self) -> None:
        index, lanes, high = self.index, self.lanes, THREADS // self.lanes
        tiles, length = -(-self.length // lanes), self.length
        totals = [eq for eq in self.group.eqs if reduction(eq) is not None]
        values = [out for out, eq in self.made.items() if reduction(eq) is None]
        wanted = [v for v in values if v in self.stores] + [
            root for eq in totals for a in eq.variables() if (root := self.layouts.root[a]) in self.made
        ]
        split, splits = f"(int)block / {tiles}", self.splits
        self.line(0, f"const int x = (int)block % {tiles} * {lanes} + threadIdx.x % {lanes};")
        self.line(0, f"const int y = threadIdx.x / {lanes}, split = {split};")
        self.line(0, f"const bool inside = x < {length};")
        self.line(0, f"const {index} j = inside ? x : {length - 1};")
        for eq in totals:
            self.start(0, eq)
        self.line(0, f"for ({index} r = split * {high} + y; inside && r < n; r += {splits * high}) {{")
        self.pass_over(1, wanted, totals, [v for v in values if v in self.stores])
        self.line(0, "}")
        names = {eq: f"total_{self.name(eq.outs[0])}" for eq in totals}
        self.stack(totals, names)
        if splits > 1:
            for eq in totals:
                self.scratch.append(Scratch(reduction(eq).dtype.str, splits * length))  # type: ignore[union-attr]
                part = f"s{len(self.scratch) - 1}"
                self.line(0, f"if (inside && y == 0) {part}[split * {length} + j] = {names[eq]};")
            self.scratch.append(Scratch("counter", tiles))
            counter = f"s{len(self.scratch) - 1}"
            self.line(0, f"if (!pg_last({counter} + block % {tiles}, {splits})) return;")
            for k, eq in enumerate(totals):
                found = reduction(eq)
                assert found is not None
                self.line(0, f"{names[eq]} = {found.start};")
                self.line(0, f"for (int i = y; i < {splits}; i += {high})")
                fresh = f"pg_fresh(s{k} + i * {length} + j)"
                self.line(1, f"{names[eq]} = {found.functor}()({names[eq]}, {fresh});")
            self.stack(totals, names)
        self.line(0, "if (inside && y == 0) {")
        self.line(1, "const int r = 0;")
        for eq in totals:
            out = eq.outs[0]
            self.finish(1, eq, names[eq])
            if out in self.stores:
                self.line(1, f"{self.element(self.stores[out])} = {self.name(out)};")
        self.line(0, "}")

    def stack(self, totals: list[Any], names: dict[Any, str]) -> None:
        for eq in totals:
            found = reduction(eq)
            assert found is not None
            self.line(0, f"{names[eq]} = pg_stacked<{self.lanes}>({names[eq]}, {found.functor}());")

    def parameters(self) -> list[str]:
        """Of the device function: memories, scratch, and which part of the whole a block does."""
        given = [
            f"{'' if m in self.stored else 'const '}{t}* __restrict__ {m}"
            for m, t in zip(self.slots.values(), self.types, strict=True)
        ]
        given += [f"{s.ctype}* s{i}" for i, s in enumerate(self.scratch)]
        return [*given, f"{self.index} n", "unsigned int block", "unsigned int blocks"]

    def function(self, name: str) -> str:
        """The device function."""
        head = f"__device__ __forceinline__ void {name}({', '.join(self.parameters())}) {{"
        return "\n".join([head, *self.lines, "}"])
