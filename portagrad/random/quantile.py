"""The normal distribution by exact and correctly rounded operations only, so that all libraries agree."""

from __future__ import annotations

import functools
from collections.abc import Callable
from decimal import Context, Decimal, localcontext
from operator import mul
from typing import Any

import numpy as np

# Lower tail probabilities are cut into pairs of octaves, p = m / 4**group with 1/8 <= m < 1/2, and each pair
# into 192 segments of equal length: the first eight bits of m are a number from 64 to 255.
_BITS, _FIRST, _SEGMENTS = 8, 64, 192
_DEGREE = {32: 2, 64: 6}  # of a segment's polynomial: its error is below an ulp
_DTYPE = {32: np.float32, 64: np.float64}
_HALF_OCTAVES = np.asarray([80.0, 112.0, 160.0, 224.0])  # their centres, in segments

_PRECISION = 30
_TERMS = 64  # the longest step reaches 3/7 of the way to the singularity at p = 0: (3/7)**64 < 1e-23
_TERMS_WITHIN = 32  # and a segment's centre 1/5 of the way
_TWO_PI = "6.28318530717958647692528676655900577"
# The quantile of 1.25 * 2**-33 and of 1.25 * 2**-65, from mpmath.
_TAIL = {32: "-6.30347865734827274245264988277613375", 64: "-9.13117048499838670369856530201527938"}


def quantile(
    xp: Any, point: Any, width: int, dtype: Any, from_numpy: Callable[[np.ndarray[Any, Any]], Any]
) -> Any:
    """The standard normal quantiles of equally likely points.

    Parameters
    ----------
    xp : namespace
    point : array
        Signed integers of `width` bits, one-dimensional; read as unsigned and divided by ``2**width`` they
        are the probabilities, once the lowest bit of the distance from 0 or 1 is set.
    width : {32, 64}
    dtype : dtype
        Float32 or float64, as goes with `width`.
    from_numpy : callable
        Puts the table of coefficients on the device of `point`.

    Returns
    -------
    array
        Of `dtype`; antisymmetric about probability 1/2, and within an ulp or two of the true quantile.
    """
    m = (point ^ (point >> (width - 1))) | 1  # the distance from 0 or 1
    octaves = xp.zeros_like(m)
    shift = width // 2
    while shift >= 2:
        step = xp.astype(m < 1 << (width - 1 - shift), m.dtype)
        step *= shift
        m <<= step
        octaves += step
        shift //= 2
    rest = width - 1 - _BITS
    index = octaves * (_SEGMENTS // 2) + ((m >> rest) - _FIRST)
    m &= (1 << rest) - 1
    t = xp.astype(m - (1 << (rest - 1)), dtype)
    *lower, z = [xp.take(from_numpy(c), index, axis=0) for c in _table(width)]
    for c in reversed(lower):
        z *= t
        z += c
    return xp.where(point < 0, -z, z)


@functools.lru_cache(maxsize=64)
def cumulative(x: float, width: int) -> int:
    """How many of the first multiples of ``2**-width`` lie below the probability of a normal number < `x`.

    ``floor(Phi(x) * 2**width)`` by ``Phi(x) = 1/2 + phi(x) (x + x**3/3 + x**5/(3*5) + ...)`` in decimals
    (Abramowitz & Stegun, 26.2.11).
    """
    if abs(x) > 15:  # beyond 2**-167
        return 0 if x < 0 else 1 << width
    with localcontext(Context(prec=80)):
        d = Decimal(x)
        total = term = d
        k = 1
        while term and abs(term) > Decimal("1e-75"):
            k += 2
            term = term * d * d / k
            total += term
        phi = (-d * d / 2).exp() / Decimal(_TWO_PI).sqrt()
        return int((Decimal("0.5") + phi * total) * 2**width)  # downwards, as it is positive


@functools.cache
def _table(width: int) -> list[np.ndarray[Any, Any]]:
    """The coefficients of the segments' polynomials about their centres, by power; a row per pair of octaves.

    Made of the series about the half octaves' centres, shifted. NumPy's sums and products of float64 are
    correctly rounded, so the table is the same on every machine.
    """
    series = np.asarray(_half_octaves(width)).reshape(width // 2, 4, _TERMS)[::-1, :, :_TERMS_WITHIN]
    j = np.arange(_FIRST, _FIRST + _SEGMENTS)
    panel = (j >= 96).astype(int) + (j >= 128) + (j >= 192)
    centre = _HALF_OCTAVES[panel]
    c = [series[:, panel, k] for k in range(_TERMS_WITHIN)]
    x = (j + 0.5 - centre) / centre
    table, scale = [], np.ones(_SEGMENTS)
    for k in range(_DEGREE[width] + 1):
        for i in reversed(range(k, _TERMS_WITHIN - 1)):
            c[i] = c[i] + x * c[i + 1]
        table.append((c[k] * scale).astype(_DTYPE[width]).reshape(-1))
        scale = scale * (2.0 ** (_BITS + 1 - width) / centre)
    return table


def _half_octaves(width: int) -> list[list[float]]:
    """The quantile z(p) as a series in (p - c) / c, for half octaves from 2**-(width + 1) up to 1/2.

    The quantile satisfies z' = y / p and (y / p)' = z (y / p)**2 with y = p sqrt(2 pi) exp(z**2 / 2)
    (Steinbrecher and Shaw, 2008, "Quantile mechanics"), which gives its series about any point. From the tail
    inwards, each centre starts from the series about the one before; errors shrink on the way.
    """
    found = []
    with localcontext(Context(prec=_PRECISION)):
        z = Decimal(_TAIL[width])
        y = Decimal("1.25") / 2 ** (width + 1) * Decimal(_TWO_PI).sqrt() * (z * z / 2).exp()
        for octave in range(2 * width):
            zs, ys = _series(z, y)
            found.append([float(a) for a in zs])
            step = Decimal(3) / 7 if octave % 2 else Decimal(2) / 5  # 1.75 to 2.5, and 1.25 to 1.75
            z, y = _evaluate(zs, step), _evaluate(ys, step) * (1 + step)
    return found


def _series(z: Decimal, y: Decimal) -> tuple[list[Decimal], list[Decimal]]:
    """Coefficients of z and y for z' = y and y' = z y**2."""
    zs, ys, squares = [z], [y], []
    for n in range(1, _TERMS):
        squares.append(sum(map(mul, ys, reversed(ys))))
        ys.append(sum(map(mul, zs, reversed(squares))) / n)
        zs.append(ys[n - 1] / n)
    return zs, ys


def _evaluate(series: list[Decimal], x: Decimal) -> Decimal:
    total = Decimal(0)
    for a in reversed(series):
        total = total * x + a
    return total
