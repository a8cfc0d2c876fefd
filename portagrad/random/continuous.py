"""Draws of real numbers: uniform, normal, truncated normal."""

from __future__ import annotations

import math
from typing import Any

from portagrad.ops.random import signed
from portagrad.random.draw import Draw, Shape
from portagrad.random.quantile import cumulative, quantile
from portagrad.random.threefry import Key, multiply_high


def uniform(
    key: Key,
    shape: Shape = (),
    *,
    dtype: Any = None,
    minval: float = 0.0,
    maxval: float = 1.0,
    device: Any = None,
) -> Any:
    """Numbers uniform between `minval` and `maxval`.

    Parameters
    ----------
    key : Key
    shape : int or sequence of int
    dtype : dtype or str, optional
        float32, the default on every backend, or float64. These are two streams: a float32 is a multiple of
        2**-24 made of one word, a float64 a multiple of 2**-53 made of two.
    minval, maxval : float
        The upper bound is excluded, but for the rounding of ``minval + (maxval - minval) * u``.
    device : Device or str, optional
        Where to draw; the device in force by default.

    Raises
    ------
    TypeError
        If `dtype` is neither float32 nor float64, or the device does not have it.
    ValueError
        If the bounds are not finite, or not in order.

    Examples
    --------
    >>> uniform(Key(0, 0), 3)
    array([0.4184571 , 0.60049903, 0.3146817 ], dtype=float32)
    """
    draw = Draw("uniform", key, shape, device)
    dtype = draw.floating(dtype)
    if not (math.isfinite(minval) and math.isfinite(maxval) and minval <= maxval):
        raise ValueError(f"uniform: needs finite bounds in order, not minval={minval}, maxval={maxval}")
    with draw.guard:
        point, digits = draw.integers(), 24 if draw.width == 32 else 53
        point >>= draw.width - digits
        point &= (1 << digits) - 1
        u = draw.xp.astype(point, dtype)
        u *= 2.0**-digits
        return draw.done(_affine(u, draw.round(maxval - minval), draw.round(minval)))


def normal(
    key: Key,
    shape: Shape = (),
    *,
    dtype: Any = None,
    mean: float = 0.0,
    std: float = 1.0,
    device: Any = None,
) -> Any:
    """Normally distributed numbers.

    The normal quantiles of what `uniform` draws, by a piecewise polynomial: integer operations, three table
    look-ups (seven for float64), and as many multiplications and additions, each exact or correctly rounded
    on every device. Logarithms and square roots, whose last bits differ between libraries, are not used. A
    compiler that fuses a multiplication and an addition into one rounding, as XLA may under ``jax.jit``, can
    change last bits. It costs three to five times `uniform`; the first draw also makes the table, in some
    0.1 s.

    Parameters
    ----------
    key : Key
    shape : int or sequence of int
    dtype : dtype or str, optional
        float32, the default on every backend, or float64; two streams. Numbers lie within 6.3 standard
        deviations, or 9.2.
    mean, std : float
    device : Device or str, optional
        Where to draw; the device in force by default.

    Raises
    ------
    TypeError
        If `dtype` is neither float32 nor float64, or the device does not have it.
    ValueError
        If `mean` is not finite, or `std` negative or not finite.

    Examples
    --------
    >>> normal(Key(0, 0), 3)
    array([-0.20584214,  0.25463915, -0.482623  ], dtype=float32)
    """
    draw = Draw("normal", key, shape, device)
    dtype = draw.floating(dtype)
    if not (math.isfinite(mean) and 0 <= std < math.inf):
        raise ValueError(f"normal: needs a finite mean and a std >= 0, not mean={mean}, std={std}")
    with draw.guard:
        z = quantile(draw.xp, draw.integers(), draw.width, dtype, draw.from_numpy)
        return draw.done(_affine(z, draw.round(std), draw.round(mean)))


def truncated_normal(
    key: Key,
    shape: Shape = (),
    *,
    lower: float = -2.0,
    upper: float = 2.0,
    dtype: Any = None,
    device: Any = None,
) -> Any:
    """Standard normal numbers conditioned to lie between `lower` and `upper`, by inversion.

    Parameters
    ----------
    key : Key
    shape : int or sequence of int
    lower, upper : float
        May be infinite.
    dtype : dtype or str, optional
        float32, the default on every backend, or float64; two streams. Probabilities have a resolution of
        2**-32, or 2**-64, which limits how far out in a tail an interval can lie.
    device : Device or str, optional
        Where to draw; the device in force by default.

    Raises
    ------
    TypeError
        If `dtype` is neither float32 nor float64, or the device does not have it.
    ValueError
        If the bounds are not in order, or hold too little probability to be drawn from.

    Examples
    --------
    >>> z = truncated_normal(Key(0, 0), 1000)
    >>> bool(-2 <= z.min() < -1.9 and 1.9 < z.max() <= 2)
    True
    """
    draw = Draw("truncated_normal", key, shape, device)
    dtype = draw.floating(dtype)
    if not lower < upper:
        raise ValueError(f"truncated_normal: needs lower < upper, not lower={lower}, upper={upper}")
    start = cumulative(lower, draw.width)
    span = cumulative(upper, draw.width) - start
    if span < 1 << 16:
        raise ValueError(
            f"truncated_normal: the interval from {lower} to {upper} holds only {span} of the "
            f'2**{draw.width} equally likely points; take a wider one, or dtype="float64"'
        )
    with draw.guard:
        point = multiply_high(draw.integers(), span, draw.width) + signed(start, draw.width)
        z = quantile(draw.xp, point, draw.width, dtype, draw.from_numpy)
        low, high = (draw.round(bound) if math.isfinite(bound) else None for bound in (lower, upper))
        return draw.done(draw.xp.clip(z, low, high))


def _affine(x: Any, scale: float, shift: float) -> Any:
    if scale != 1.0:
        x *= scale
    if shift != 0.0:
        x += shift
    return x
