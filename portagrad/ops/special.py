"""Special functions that the networks need; the forward is the library's own where it has one."""

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


erf = elementwise(
    "special.erf",
    lambda x, xp: (2 / math.sqrt(math.pi)) * xp.exp(-x * x),
    forward=erf_forward,
    dtypes="floating",
    since="",
    doc="Error function.\n"
    'Cody (1969), "Rational Chebyshev approximations for the error function", where the library has none.',
)
