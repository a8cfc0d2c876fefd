"""Draws of words, booleans and integers, and permutations."""

from __future__ import annotations

from typing import Any

import numpy as np

from portagrad.ops.random import signed
from portagrad.random.draw import Draw, Shape, dtype_name
from portagrad.random.threefry import Key, index, multiply_high

_MASK = 0xFFFFFFFF
_FLIP = -(2**31)  # xor with it turns the order of unsigned words into that of signed ones


def bits(key: Key, shape: Shape = (), *, device: Any = None) -> Any:
    """Random 32-bit words.

    Parameters
    ----------
    key : Key
    shape : int or sequence of int
    device : Device or str, optional
        Where to draw; the device in force by default.

    Returns
    -------
    array
        Of dtype uint32: the first words of the key's stream, so that a shorter draw begins a longer one.

    Examples
    --------
    >>> bits(Key(0, 0), 2)
    array([1797259609, 2579123966], dtype=uint32)
    """
    draw = Draw("bits", key, shape, device)
    with draw.guard:
        return draw.done(draw.xp.astype(draw.words(), draw.xp.uint32))


def bernoulli(key: Key, p: float, shape: Shape = (), *, device: Any = None) -> Any:
    """Booleans that are True with probability `p`, such as a dropout's mask.

    Parameters
    ----------
    key : Key
    p : float
        From 0 to 1; rounded to a multiple of 2**-32.
    shape : int or sequence of int
    device : Device or str, optional
        Where to draw; the device in force by default.

    Raises
    ------
    TypeError, ValueError
        If `p` is no number, or out of range.

    Examples
    --------
    >>> bernoulli(Key(0, 0), 0.5, 4)
    array([ True, False,  True, False])
    """
    draw = Draw("bernoulli", key, shape, device)
    if not isinstance(p, int | float):
        raise TypeError(
            f"bernoulli: p must be a Python number, not {type(p).__name__}; for an array of probabilities "
            "compare: pg.random.uniform(key, p.shape) < p"
        )
    if not 0 <= p <= 1:
        raise ValueError(f"bernoulli: p must lie between 0 and 1, not {p}")
    threshold = round(p * 2**32)
    with draw.guard:
        if threshold in (0, 2**32):
            return draw.xp.full(draw.shape, threshold > 0, dtype=draw.xp.bool, device=draw.device.native)
        return draw.done((draw.words() ^ _FLIP) < threshold + _FLIP)


def randint(
    key: Key,
    shape: Shape = (),
    *,
    minval: int = 0,
    maxval: int,
    dtype: Any = None,
    device: Any = None,
) -> Any:
    """Integers uniform from `minval` to ``maxval - 1``.

    Parameters
    ----------
    key : Key
    shape : int or sequence of int
    minval, maxval : int
        At most 2**32 apart. The probability of a value is off by a factor of at most 1 + 2**-32.
    dtype : dtype or str, optional
        The library's index dtype by default; the values do not depend on it.
    device : Device or str, optional
        Where to draw; the device in force by default.

    Raises
    ------
    TypeError
        If a bound is no integer, or `dtype` no integer dtype that the device has.
    ValueError
        If the range is empty, longer than 2**32, or does not fit into `dtype`.

    Examples
    --------
    >>> randint(Key(0, 0), 3, maxval=10)
    array([4, 3, 3])
    """
    draw = Draw("randint", key, shape, device)
    minval, maxval = index("randint", "minval", minval), index("randint", "maxval", maxval)
    dtype = draw.integral(dtype)
    info = draw.xp.iinfo(dtype)
    span = maxval - minval
    if not 0 < span <= 1 << 32 or minval < info.min or maxval - 1 > info.max:
        raise ValueError(
            f"randint: needs minval < maxval, at most 2**32 apart and within {dtype_name(dtype)}, "
            f"not minval={minval}, maxval={maxval}"
        )
    with draw.guard:
        # The integer part of the span times a 64-bit fraction.
        x0, x1 = draw.blocks(draw.size)
        low = x0 * signed(span, 32)
        total = low + multiply_high(x1, span, 32)
        carry = draw.xp.astype((total ^ _FLIP) < (low ^ _FLIP), draw.xp.int32)
        value = multiply_high(x0, span, 32) + carry
        if info.bits == 64:
            value = (draw.xp.astype(value, draw.xp.int64) & _MASK) + signed(minval, 64)
        else:
            value = value + signed(minval, 32)
        return draw.done(draw.xp.astype(value, dtype))


def permutation(key: Key, n: int, *, device: Any = None) -> Any:
    """The numbers 0 ... n - 1 in random order, as indices.

    Made on the host, as not every library can sort: n keys of 64 bits are sorted, each random but for the
    lowest ``log2(n)`` bits, which hold the index.

    Parameters
    ----------
    key : Key
    n : int
    device : Device or str, optional
        Where to put it; the device in force by default.

    Returns
    -------
    array
        Shape ``(n,)``, of the library's index dtype.

    Examples
    --------
    >>> permutation(Key(0, 0), 5)
    array([1, 2, 0, 4, 3])
    """
    draw = Draw("permutation", key, index("permutation", "n", n), device)
    draw.concrete()
    dtype = dtype_name(draw.integral(None))
    n = draw.size
    place = np.uint64((1 << max(n - 1, 0).bit_length()) - 1)
    words = bits(key, (n, 2), device="cpu").astype(np.uint64)
    order = (words[:, 0] << np.uint64(32) | words[:, 1]) & ~place | np.arange(n, dtype=np.uint64)
    order.sort()
    with draw.guard:
        return draw.from_numpy((order & place).astype(dtype))
