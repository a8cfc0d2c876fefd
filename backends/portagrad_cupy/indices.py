"""How a thread finds its elements: axes joined, and what is left of them written as divisions."""

from __future__ import annotations

import math

from portagrad.compile.views import collapsed


class Operand:
    """An array in a group: where it starts in its memory, and its stride for each axis of the group."""

    def __init__(self, memory: str, offset: int, strides: tuple[int, ...]) -> None:
        self.memory, self.offset, self.strides = memory, offset, list(strides)
        self.outer: list[int] = []
        self.inner: list[int] = []

    def reach(self, shape: tuple[int, ...]) -> int:
        """Past which place in memory no thread reads or writes."""
        return 1 + self.offset + sum((n - 1) * abs(s) for n, s in zip(shape, self.strides, strict=True))


def power_of_two(n: int) -> int:
    """The least that is not below `n`."""
    return 1 << max(0, n - 1).bit_length()


def terms(lengths: list[int], strides: list[int], variable: str) -> list[str]:
    """What each axis adds to a place in memory; axes that this operand steps through as one are one."""
    lengths, (strides,) = collapsed(tuple(lengths), [strides])
    found = []
    for a, s in enumerate(strides):
        below = math.prod(lengths[a + 1 :])
        where = f"{variable} / {below}" if below > 1 else variable
        where = f"{where} % {lengths[a]}" if a else where
        if s:
            found.append(where if s == 1 else f"{where} * {s}" if where == variable else f"({where}) * {s}")
    return found
