"""The gamma function's logarithm and its derivatives, the polygamma and zeta functions."""

import math
from operator import index
from typing import Any

from portagrad.op import case, elementwise
from portagrad.ops.error_functions import horner
from portagrad.ops.special import arrays

# Bernoulli numbers B_2, B_4 and so on.
BERNOULLI = (
    *(1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6),
    *(-3617 / 510, 43867 / 798, -174611 / 330, 854513 / 138, -236364091 / 2730),
)
# B_2k / (2k (2k - 1)) and B_2k / 2k, the highest first: of the asymptotic series of log gamma and
# digamma, whose first eight terms give double precision from 8 on. Abramowitz & Stegun, 6.1.40 and 6.3.18.
LOG_GAMMA = tuple(b / ((2 * k + 2) * (2 * k + 1)) for k, b in enumerate(BERNOULLI[:8]))[::-1]
DIGAMMA = tuple(b / (2 * k + 2) for k, b in enumerate(BERNOULLI[:8]))[::-1]
LARGE = 8.0
SHIFTS = 10  # what the Euler-Maclaurin sum is begun at, so that 12 of its terms give double precision
EULER = 0.57721566490153286061


def zeta_sum(s: int, x: Any) -> Any:
    """The sum of ``(x + k)**-s`` by Euler and Maclaurin's formula, of positive numbers or arrays."""
    total = x**-s
    for k in range(1, SHIFTS):
        total = total + (x + k) ** -s
    w = x + SHIFTS
    rising, tail = s, []
    for k, b in enumerate(BERNOULLI):  # B_2j / (2j)! s (s + 1) ... (s + 2j - 2)
        tail.append(b / math.factorial(2 * k + 2) * rising)
        rising *= (s + 2 * k + 1) * (s + 2 * k + 2)
    corrected = 0.5 + horner(tuple(tail[::-1]), 1 / (w * w)) / w
    return total + w ** (1 - s) / (s - 1) + w**-s * corrected


# (-1)**k (zeta(k) - 1) / k, the highest first, down to 1 - Euler's constant: log gamma(2 + z) over z.
# Abramowitz & Stegun, 6.1.33.
NEAR_TWO = (*((-1) ** k * zeta_sum(k, 2.0) / k for k in range(26, 1, -1)), 1 - EULER)


def correction(x: Any) -> Any:
    """What Stirling's formula for log gamma lacks at large x."""
    return horner(LOG_GAMMA, 1 / (x * x)) / x


def turned(x: Any, xp: Any) -> Any:
    """A number of the same sine of pi x, up to the sign, within half of 0: no digits are lost."""
    return math.pi * (x - xp.round(x))


def gammaln_forward(x: Any, *, xp: Any) -> Any:
    """By its series about 2 and the recurrence up to 8, Stirling's formula beyond, reflection below 0."""
    negative = x < 0
    size = xp.where(negative, 1 - x, xp.abs(x))
    y, product = xp.minimum(size, LARGE), 1.0
    for _ in range(6):
        above = y >= 2.5
        y = xp.where(above, y - 1, y)
        product = xp.where(above, product * y, product)
    # log gamma(y) is that of y + 1 or y + 2 less the logarithm of y or y (y + 1).
    low, middle = y < 0.5, y < 1.5
    z = xp.where(low, y, xp.where(middle, y - 1, y - 2))
    product = product / xp.where(low, y * (y + 1), xp.where(middle, y, 1.0))
    small = z * horner(NEAR_TWO, z) + xp.log(product)
    large = xp.maximum(size, LARGE)
    far = (large - 0.5) * (xp.log(large) - 1) + (0.5 * math.log(2 * math.pi) - 0.5) + correction(large)
    value = xp.where(size <= LARGE, small, far)
    sine = xp.abs(xp.sin(turned(xp.where(negative, x, 0.5), xp)))
    return xp.where(negative, math.log(math.pi) - xp.log(sine) - value, value)


def digamma_forward(x: Any, *, xp: Any) -> Any:
    """By the recurrence up to 8, its asymptotic series from there, reflection below 0."""
    negative = x < 0
    y, steps = xp.where(negative, 1 - x, x), 0.0
    for _ in range(int(LARGE)):
        small = y < LARGE
        steps = steps + xp.where(small, 1 / y, 0.0)
        y = xp.where(small, y + 1, y)
    r = 1 / y
    value = xp.log(y) - 0.5 * r - r * r * horner(DIGAMMA, r * r) - steps
    angle = turned(xp.where(negative, x, 0.25), xp)
    return xp.where(negative, value - xp.where(angle == 0, math.nan, math.pi / xp.tan(angle)), value)


def order(name: str, n: Any) -> int:
    """The order of a function, which is a number and no array."""
    try:
        return index(n)
    except TypeError as error:
        raise TypeError(f"special.{name}: the order n must be one integer, not {n!r}") from error


def polygamma_forward(x: Any, *, n: int, xp: Any) -> Any:
    """``(-1)**(n + 1) n! zeta(n + 1, x)``, and reflection below 0. Abramowitz & Stegun, 6.4.10 and 6.4.7.

    The n-th derivative of cot(pi x) is a polynomial in the cotangent: each derivative is that of the
    polynomial, times -pi (1 + cot**2).
    """
    n = order("polygamma", n)
    if n < 0:
        raise ValueError(f"special.polygamma: the order n must be 0 or more, not {n}")
    if n == 0:
        return xp.special.digamma(x)
    negative = x < 0
    value = (-1.0) ** (n + 1) * math.factorial(n) * zeta_sum(n + 1, xp.where(negative, 1 - x, x))
    polynomial = [0.0, 1.0]  # by rising powers
    for _ in range(n):
        slope = [k * c for k, c in enumerate(polynomial)][1:]
        polynomial = [-(a + b) for a, b in zip([*slope, 0.0, 0.0], [0.0, 0.0, *slope], strict=True)]
    cotangent = 1 / xp.tan(turned(xp.where(negative, x, 0.25), xp))
    reflected = math.pi ** (n + 1) * horner(tuple(polynomial[::-1]), cotangent)
    return xp.where(negative, (-1.0) ** n * value - reflected, value)


def betaln_forward(x1: Any, x2: Any, *, xp: Any) -> Any:
    """Where an argument is large, its two large terms cancel: their difference by Stirling's formula."""
    x1, x2 = arrays(x1, x2, xp)
    a, b = xp.minimum(x1, x2), xp.maximum(x1, x2)
    plain = xp.special.gammaln(a) + xp.special.gammaln(b) - xp.special.gammaln(a + b)
    stirling = (a > 0) & (b > LARGE)
    a, b = xp.where(stirling, a, 1.0), xp.where(stirling, b, LARGE)
    rest = a * (1 - xp.log(b)) - (a + b - 0.5) * xp.log1p(a / b) + (correction(b) - correction(a + b))
    return xp.where(stirling, xp.special.gammaln(a) + rest, plain)


betaln = elementwise(
    "special.betaln",
    lambda x1, x2, xp: xp.special.digamma(x1) - xp.special.digamma(x1 + x2),
    lambda x1, x2, xp: xp.special.digamma(x2) - xp.special.digamma(x1 + x2),
    forward=betaln_forward,
    domain=(0.3, 4.0),
    dtypes="floating",
    since="",
    doc="Logarithm of the absolute value of the beta function, ``gamma(x1) gamma(x2) / gamma(x1 + x2)``.",
)
digamma = elementwise(
    "special.digamma",
    lambda x, xp: xp.special.polygamma(1, x),
    forward=digamma_forward,
    domain=(0.3, 4.0),
    dtypes="floating",
    since="",
    doc="Derivative of `gammaln`.",
)
gammaln = elementwise(
    "special.gammaln",
    lambda x, xp: xp.special.digamma(x),
    forward=gammaln_forward,
    domain=(0.3, 4.0),
    dtypes="floating",
    since="",
    doc="Logarithm of the absolute value of the gamma function; infinite at 0 and the negative integers.",
)
polygamma = elementwise(
    "special.polygamma",
    lambda x, n, xp: xp.special.polygamma(n + 1, x),
    signature="(n, x, /)",
    arrays=("x",),
    forward=polygamma_forward,
    domain=(0.3, 4.0),
    cases=(case((2, 3), n=1), case((), n=0), case((3,), n=2), case((0,), n=4)),
    dtypes="floating",
    since="",
    doc="The `n`-th derivative of `digamma`.\n"
    "n: int; the order, from 0 on, not an array\n"
    "By one formula on every library: of theirs some have errors of 1e-10 at order 1, others no digit right "
    "below 0.",
)
