"""The generator behind `portagrad.random`: Threefry-2x32 with 20 rounds, as an op.

Keyed and counter-based (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3"). Computed in
signed 32-bit integers that wrap around, the one type whose addition, shifts and xor every array library has:
torch lacks them for uint32, JAX by default has no int64.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from portagrad.op import constant

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


class Words(NamedTuple):
    """What `threefry` returns."""

    y0: Any
    y1: Any


def signed(value: Any, width: int) -> Any:
    """The signed integer of `width` bits that is congruent to `value`; an array has that width already."""
    if not isinstance(value, int):
        return value
    value &= (1 << width) - 1
    return value - (value >> (width - 1) << width)


def rounds(
    high: Any, low: Any, x0: Any, x1: Any, wrap: Callable[[Any], Any] = lambda x: x
) -> tuple[Any, Any]:
    """The block of the counter (x0, x1): int32 arrays, or Python integers with a `wrap` to 32 bits.

    In place where arrays are mutable: most of the cost of a large draw on the host is fresh memory.
    """
    k = (high, low, high ^ low ^ _PARITY)
    x0, x1 = x0 + signed(k[0], 32), x1 + signed(k[1], 32)
    for group in range(5):
        for r in _ROTATIONS[group % 2]:
            x0 += x1
            x1 = wrap(x1)
            end = x1 >> (32 - r)
            end &= (1 << r) - 1  # the shift copied the sign
            x1 <<= r
            x1 |= end
            x1 ^= x0
        x0 += signed(k[(group + 1) % 3], 32)
        x1 += signed(k[(group + 2) % 3] + group + 1, 32)
    return wrap(x0), wrap(x1)


threefry = constant(
    "threefry",
    "(high, low, x0, x1, /)",
    arrays=4,
    outputs=Words._fields,
    result=Words,
    forward=lambda high, low, x0, x1, *, xp: Words(*rounds(high, low, x0, x1)),
    dtypes="integer",
    since="",
    batch="pointwise",
    doc="Random words: a function of a key and of a counter alone, all of them int32.\n"
    "high: array or int; first word of the key\n"
    "low: array or int; second word of the key\n"
    "x0: array or int; first word of the counter\n"
    "x1: array or int; second word of the counter",
)
