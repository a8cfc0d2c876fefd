"""Modified Bessel functions of the first kind."""

import functools
import math
from typing import Any

from portagrad.op import case, elementwise
from portagrad.ops.error_functions import horner
from portagrad.ops.gamma import order

ASYMPTOTIC_TERMS = 30


@functools.cache
def expansions(n: int) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    """Where the power series of order n ends and the asymptotic one begins, and the coefficients of both.

    Of (x/bound)**2, and of bound/x; the highest first. Abramowitz & Stegun, 9.6.10 and 9.7.1. From 20 on the
    asymptotic terms fall below double precision before they rise.
    """
    bound = min(max(20, n * n), 700)
    series = [
        bound ** (2 * k) / (4**k * math.factorial(k) * math.factorial(k + n)) for k in range(bound + 16)
    ]
    asymptotic = [1.0]
    for k in range(1, ASYMPTOTIC_TERMS):
        asymptotic.append(asymptotic[-1] * ((2 * k - 1) ** 2 - 4 * n * n) / (8 * k * bound))
    return bound, tuple(series[::-1]), tuple(asymptotic[::-1])


def iv_forward(x: Any, *, n: int, xp: Any) -> Any:
    """By the power series, all of whose terms are positive, and the asymptotic series beyond."""
    n = abs(order("iv", n))
    bound, series, asymptotic = expansions(n)
    size = xp.abs(x)
    near = xp.minimum(size, bound)
    small = (near / 2) ** n * horner(series, (near / bound) ** 2)
    large = xp.clip(size, bound, 1000)  # whose exponential is infinite
    far = xp.exp(large) / xp.sqrt(2 * math.pi * large) * horner(asymptotic, bound / large)
    value = xp.where(size <= bound, small, far)
    return xp.where(x < 0, -value, value) if n % 2 else value


i0 = elementwise(
    "special.i0",
    lambda x, xp: xp.special.i1(x),
    forward=lambda x, *, xp: iv_forward(x, n=0, xp=xp),
    dtypes="floating",
    since="",
    doc="Modified Bessel function of the first kind, of order 0.",
)
i1 = elementwise(
    "special.i1",
    lambda x, xp: (xp.special.i0(x) + xp.special.iv(2, x)) / 2,
    forward=lambda x, *, xp: iv_forward(x, n=1, xp=xp),
    dtypes="floating",
    since="",
    doc="Modified Bessel function of the first kind, of order 1.",
)
iv = elementwise(
    "special.iv",
    lambda x, n, xp: (xp.special.iv(n - 1, x) + xp.special.iv(n + 1, x)) / 2,
    signature="(n, x, /)",
    arrays=("x",),
    forward=iv_forward,
    cases=(case((2, 3), n=2), case((), n=0), case((3,), n=-1), case((0,), n=5)),
    dtypes="floating",
    since="",
    doc="Modified Bessel function of the first kind, of integer order.\nn: int; the order, not an array",
)
