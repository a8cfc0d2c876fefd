"""Random words for compiled functions, in memory that is allocated once."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy

from portagrad_numpy.kept import compiled

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


class Threefry:
    """Called with a key, the counters and the memory of the two results."""

    def __init__(self, eq: Any, compiled: bool) -> None:
        self.loop = _loop() if compiled else None
        self.end = numpy.empty(eq.outs[0].shape, numpy.int32)

    @staticmethod
    def takes(eq: Any) -> bool:
        """Whether the key is one key, and the counters are arrays of the result's shape."""
        high, low, *counters = eq.args
        return (
            all(not getattr(word, "shape", ()) for word in (high, low))
            and all(getattr(x, "shape", None) == eq.outs[0].shape for x in counters)
            and all(getattr(a, "dtype", numpy.dtype("int32")) == numpy.int32 for a in eq.args)
            and math.prod(eq.outs[0].shape) > 0
        )

    def __call__(self, high: Any, low: Any, x0: Any, x1: Any, y0: Any, y1: Any) -> None:
        words = int(high), int(low)
        if self.loop is not None:
            flat = [x.reshape(-1) for x in (x0, x1, y0, y1)]
            self.loop(*[numpy.uint32(w & 0xFFFFFFFF) for w in words], *flat)
            return
        rounds(*words, x0, x1, y0, y1, self.end)


def rounds(high: int, low: int, x0: Any, x1: Any, y0: Any, y1: Any, end: Any) -> None:
    """All rounds, each for all words, into the memory of `y0` and `y1`."""
    k = (high, low, high ^ low ^ _PARITY)
    numpy.add(x0, _signed(k[0]), y0)
    numpy.add(x1, _signed(k[1]), y1)
    for group in range(5):
        for r in _ROTATIONS[group % 2]:
            numpy.add(y0, y1, y0)
            numpy.right_shift(y1, 32 - r, end)
            numpy.bitwise_and(end, (1 << r) - 1, end)
            numpy.left_shift(y1, r, y1)
            numpy.bitwise_or(y1, end, y1)
            numpy.bitwise_xor(y1, y0, y1)
        numpy.add(y0, _signed(k[(group + 1) % 3]), y0)
        numpy.add(y1, _signed(k[(group + 2) % 3] + group + 1), y1)


def threefry(high: Any, low: Any, x0: Any, x1: Any) -> tuple[Any, Any]:
    """The kernel for eager mode; of one word as of many, where NumPy's scalars would warn that they wrap."""
    shape = numpy.broadcast_shapes(*map(numpy.shape, (x0, x1)))
    y0, y1, end = (numpy.empty(shape, numpy.int32) for _ in range(3))
    rounds(int(high), int(low), x0, x1, y0, y1, end)
    return y0, y1


def _signed(word: int) -> Any:
    word &= 0xFFFFFFFF
    return numpy.int32(word - (word >> 31 << 32))


@functools.cache
def _loop() -> Any:
    """All rounds of a word at once."""
    import numba

    u32 = numba.uint32
    steps = []
    for group in range(5):
        for r in _ROTATIONS[group % 2]:
            steps += ["a = u32(a + b)", f"b = u32(u32(u32(b << u32({r})) | u32(b >> u32({32 - r}))) ^ a)"]
        first, second = f"k{(group + 1) % 3}", f"k{(group + 2) % 3}"
        steps += [f"a = u32(a + {first})", f"b = u32(b + {second} + u32({group + 1}))"]
    lines = ["a = u32(u32(x0[i]) + k0)", "b = u32(u32(x1[i]) + k1)", *steps, "y0[i] = a", "y1[i] = b"]
    source = "\n".join(
        [
            "def words(k0, k1, x0, x1, y0, y1):",
            f"    k2 = u32(k0 ^ k1 ^ u32({_PARITY}))",
            "    for i in range(x0.size):",
            *["        " + line for line in lines],
        ]
    )
    array = numba.int32[::1]
    given = numba.void(u32, u32, array, array, array, array)
    return compiled(source, "words", {}, {"u32": u32}, given, nogil=True)
