"""The text of one kernel: its blocks are shared out among the groups that run in it."""

from __future__ import annotations

from typing import NamedTuple


class Part(NamedTuple):
    """One group's call: its function, the arguments in memory, what it counts to, its blocks, what it is."""

    function: str
    arguments: list[str]
    rows: int
    blocks: int
    told: str


class Kernel:
    """Collects the parts of a kernel and the memories that they touch."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.slots: dict[int, str] = {}  # with the type of what lies there
        self.written: set[int] = set()
        self.parts: dict[str, list[Part]] = {}  # by function, and its parameters
        self.parameters: dict[str, list[str]] = {}

    def argument(self, slot: int, ctype: str) -> str:
        self.slots.setdefault(slot, ctype)
        return f"a{list(self.slots).index(slot)}"

    def add(self, part: Part, parameters: list[str]) -> None:
        self.parts.setdefault(part.function, []).append(part)
        self.parameters[part.function] = parameters

    @property
    def blocks(self) -> int:
        return sum(part.blocks for parts in self.parts.values() for part in parts)

    def text(self) -> str:
        """Groups of one function, such as an optimizer's leaves, choose their arguments and call it once."""
        given = ", ".join(
            f"{'' if slot in self.written else 'const '}{ctype}* __restrict__ a{i}"
            for i, (slot, ctype) in enumerate(self.slots.items())
        )
        lines = [f'extern "C" __global__ void __launch_bounds__(PG_THREADS) {self.name}({given}) {{']
        begin = 0
        for function, parts in self.parts.items():
            names = [p.rpartition(" ")[2] for p in self.parameters[function]]
            end = begin + sum(part.blocks for part in parts)
            declared = [p.replace("__restrict__ ", "") for p in self.parameters[function]]
            lines += [f"  if (blockIdx.x < {end}u) {{", *(f"    {p};" for p in declared)]
            for i, part in enumerate(parts):
                until = begin + part.blocks
                where = f"if (blockIdx.x < {until}u) " if i < len(parts) - 1 else ""
                values = [*part.arguments, str(part.rows), f"blockIdx.x - {begin}u", f"{part.blocks}u"]
                chosen = " ".join(f"{n} = {v};" for n, v in zip(names, values, strict=True))
                lines += [f"    // {part.told}", f"    {'else ' if i else ''}{where}{{ {chosen} }}"]
                begin = until
            lines += [f"    return {function}({', '.join(names)});", "  }"]
        return "\n".join([*lines, "}"])
