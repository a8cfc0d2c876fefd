"""Special functions of statistics and networks, by array-API code that runs on every backend."""

import math
from typing import Any

from portagrad.op import elementwise

# W. J. Cody (1969), "Rational Chebyshev approximations for the error function", as in SPECFUN's CALERF:
# relative error below 1.2e-16 in double precision.
SMALL = (
    (
        1.85777706184603153e-1,
        3.16112374387056560e00,
        1.13864154151050156e02,
        3.77485237685302021e02,
        3.20937758913846947e03,
    ),
    (1.0, 2.36012909523441209e01, 2.44024637934444173e02, 1.28261652607737228e03, 2.84423683343917062e03),
)
MIDDLE = (
    (
        2.15311535474403846e-8,
        5.64188496988670089e-1,
        8.88314979438837594e00,
        6.61191906371416295e01,
        2.98635138197400131e02,
        8.81952221241769090e02,
        1.71204761263407058e03,
        2.05107837782607147e03,
        1.23033935479799725e03,
    ),
    (
        1.0,
        1.57449261107098347e01,
        1.17693950891312499e02,
        5.37181101862009858e02,
        1.62138957456669019e03,
        3.29079923573345963e03,
        4.36261909014324716e03,
        3.43936767414372164e03,
        1.23033935480374942e03,
    ),
)
LARGE = (
    (
        1.63153871373020978e-2,
        3.05326634961232344e-1,
        3.60344899949804439e-1,
        1.25781726111229246e-1,
        1.60837851487422766e-2,
        6.58749161529837803e-4,
    ),
    (
        1.0,
        2.56852019228982242e00,
        1.87295284992346725e00,
        5.27905102951428412e-1,
        6.05183413124413191e-2,
        2.33520497626869185e-3,
    ),
)


def horner(coefficients: tuple[float, ...], x: Any) -> Any:
    """A polynomial, the highest power first."""
    out = coefficients[0] * x + coefficients[1]
    for c in coefficients[2:]:
        out = out * x + c
    return out


def erf_forward(x: Any, *, xp: Any) -> Any:
    """The error function from two rational approximations; beyond 6 it is 1 to the last bit."""
    size = xp.minimum(xp.abs(x), 6.0)
    small = xp.minimum(size, 0.5)
    near = small * horner(SMALL[0], small * small) / horner(SMALL[1], small * small)
    large = xp.maximum(size, 0.46875)
    far = 1 - xp.exp(-large * large) * horner(MIDDLE[0], large) / horner(MIDDLE[1], large)
    value = xp.where(size <= 0.46875, near, far)
    return xp.where(x < 0, -value, xp.where(xp.isnan(x), x, value))


def scaled(x: Any, xp: Any) -> Any:
    """``exp(x * x) * erfc(x)`` for `x` from 0.46875 on."""
    middle = xp.minimum(x, 4.0)
    r = 1 / xp.maximum(x, 4.0)
    far = (1 / math.sqrt(math.pi) - r * r * horner(LARGE[0], r * r) / horner(LARGE[1], r * r)) * r
    return xp.where(x <= 4.0, horner(MIDDLE[0], middle) / horner(MIDDLE[1], middle), far)


def gaussian(x: Any, xp: Any) -> Any:
    """``exp(-x * x)`` for positive `x`: the square is taken in two parts, for its error would be blown up."""
    x = xp.minimum(x, 1e4)
    coarse = xp.floor(x * 16) / 16
    return xp.exp(-coarse * coarse) * xp.exp(-(x - coarse) * (x + coarse))


def erfc_forward(x: Any, *, xp: Any) -> Any:
    """Keeps its digits where it is small."""
    large = xp.maximum(xp.abs(x), 0.46875)
    tail = gaussian(large, xp) * scaled(large, xp)
    value = xp.where(x < 0, 2 - tail, tail)
    return xp.where(xp.abs(x) <= 0.46875, 1 - erf_forward(x, xp=xp), xp.where(xp.isnan(x), x, value))


def ndtr_forward(x: Any, *, xp: Any) -> Any:
    return 0.5 * erfc_forward(-x / math.sqrt(2), xp=xp)


def log_ndtr_forward(x: Any, *, xp: Any) -> Any:
    """From the scaled function where the probability is small, from the other tail where it is near 1."""
    low = xp.maximum(-x / math.sqrt(2), 0.46875)
    tail = xp.log(0.5 * scaled(low, xp)) - low * low
    high = xp.log1p(-ndtr_forward(-xp.maximum(x, -1.0), xp=xp))
    return xp.where(x < -1.0, tail, high)


def expit_forward(x: Any, *, xp: Any) -> Any:
    """By an exponential that does not overflow, and with all digits where the value is small."""
    e = xp.exp(-xp.abs(x))
    return xp.where(x < 0, e, 1.0) / (1 + e)


def logit_forward(x: Any, *, xp: Any) -> Any:
    return xp.log(x) - xp.log1p(-x)


erf = elementwise(
    "special.erf",
    lambda x, xp: (2 / math.sqrt(math.pi)) * xp.exp(-x * x),
    forward=erf_forward,
    dtypes="floating",
    since="",
    doc="Error function.\n"
    'Cody (1969), "Rational Chebyshev approximations for the error function", where the library has none.',
)
erfc = elementwise(
    "special.erfc",
    lambda x, xp: (-2 / math.sqrt(math.pi)) * xp.exp(-x * x),
    forward=erfc_forward,
    domain=(-3.0, 6.0),
    dtypes="floating",
    since="",
    doc="Complementary error function, ``1 - erf(x)`` without the loss of digits where that is small.\n"
    'Cody (1969), "Rational Chebyshev approximations for the error function".',
)
expit = elementwise(
    "special.expit",
    lambda y: y * (1 - y),
    forward=expit_forward,
    domain=(-6.0, 6.0),
    dtypes="floating",
    since="",
    doc="Logistic function, ``1 / (1 + exp(-x))``.",
)
log_ndtr = elementwise(
    "special.log_ndtr",
    lambda x, y, xp: xp.exp(-x * x / 2 - y) / math.sqrt(2 * math.pi),
    forward=log_ndtr_forward,
    domain=(-8.0, 3.0),
    dtypes="floating",
    since="",
    doc="Logarithm of `ndtr`, also where that is too small for a number.",
)
logit = elementwise(
    "special.logit",
    lambda x: 1 / (x * (1 - x)),
    forward=logit_forward,
    domain=(0.05, 0.95),
    dtypes="floating",
    since="",
    doc="Logarithm of the odds, ``log(x / (1 - x))``: the inverse of `expit`.",
)
ndtr = elementwise(
    "special.ndtr",
    lambda x, xp: xp.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    forward=ndtr_forward,
    domain=(-6.0, 3.0),
    dtypes="floating",
    since="",
    doc="Distribution function of the standard normal distribution.",
)
