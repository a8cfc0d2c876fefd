"""The error function, the normal distribution, and the inverses of both."""

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


# M. J. Wichura (1988), "Algorithm AS 241: The percentage points of the normal distribution", PPND16: relative
# error about 1e-16. Of q squared in the middle, and of the root of -log(tail) less 1.6 and less 5 beyond.
CENTRE = (
    (
        2.5090809287301226727e3,
        3.3430575583588128105e4,
        6.7265770927008700853e4,
        4.5921953931549871457e4,
        1.3731693765509461125e4,
        1.9715909503065514427e3,
        1.3314166789178437745e2,
        3.3871328727963666080e0,
    ),
    (
        5.2264952788528545610e3,
        2.8729085735721942674e4,
        3.9307895800092710610e4,
        2.1213794301586595867e4,
        5.3941960214247511077e3,
        6.8718700749205790830e2,
        4.2313330701600911252e1,
        1.0,
    ),
)
TAIL = (
    (
        7.74545014278341407640e-4,
        2.27238449892691845833e-2,
        2.41780725177450611770e-1,
        1.27045825245236838258e0,
        3.64784832476320460504e0,
        5.76949722146069140550e0,
        4.63033784615654529590e0,
        1.42343711074968357734e0,
    ),
    (
        1.05075007164441684324e-9,
        5.47593808499534494600e-4,
        1.51986665636164571966e-2,
        1.48103976427480074590e-1,
        6.89767334985100004550e-1,
        1.67638483018380384940e0,
        2.05319162663775882187e0,
        1.0,
    ),
)
FAR_TAIL = (
    (
        2.01033439929228813265e-7,
        2.71155556874348757815e-5,
        1.24266094738807843860e-3,
        2.65321895265761230930e-2,
        2.96560571828504891230e-1,
        1.78482653991729133580e0,
        5.46378491116411436990e0,
        6.65790464350110377720e0,
    ),
    (
        2.04426310338993978564e-15,
        1.42151175831644588870e-7,
        1.84631831751005468180e-5,
        7.86869131145613259100e-4,
        1.48753612908506148525e-2,
        1.36929880922735805310e-1,
        5.99832206555887937690e-1,
        1.0,
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
    return 0.5 * xp.special.erfc(-x / math.sqrt(2))


def log_ndtr_forward(x: Any, *, xp: Any) -> Any:
    """From the scaled function where the probability is small, from the other tail where it is near 1."""
    low = xp.maximum(-x / math.sqrt(2), 0.46875)
    tail = xp.log(0.5 * scaled(low, xp)) - low * low
    high = xp.log1p(-ndtr_forward(-xp.maximum(x, -1.0), xp=xp))
    return xp.where(x < -1.0, tail, high)


def inverse_mills_ratio_forward(x: Any, *, xp: Any) -> Any:
    """From the scaled function in the lower tail: density and probability underflow there."""
    low = math.sqrt(2 / math.pi) / scaled(xp.maximum(-x / math.sqrt(2), 0.46875), xp)
    high = xp.maximum(x, -1.0)
    high = xp.exp(-high * high / 2) / math.sqrt(2 * math.pi) / ndtr_forward(high, xp=xp)
    return xp.where(x < -1.0, low, high)


def quantile(q: Any, tail: Any, xp: Any) -> Any:
    """The normal quantile at probability 1/2 + `q`, of which `tail` is the distance from 0 or 1."""
    middle = xp.clip(q, -0.425, 0.425)
    square = 0.180625 - middle * middle
    r = xp.sqrt(-xp.log(tail))
    near, far = xp.clip(r, 1.0, 5.0) - 1.6, xp.clip(r, 5.0, 30.0) - 5
    outer = xp.where(
        r <= 5,
        horner(TAIL[0], near) / horner(TAIL[1], near),
        horner(FAR_TAIL[0], far) / horner(FAR_TAIL[1], far),
    )
    outer = xp.where(tail == 0, math.inf, outer)
    outer = xp.where(tail < 0, math.nan, xp.where(q < 0, -outer, outer))
    return xp.where(xp.abs(q) <= 0.425, middle * horner(CENTRE[0], square) / horner(CENTRE[1], square), outer)


def ndtri_forward(x: Any, *, xp: Any) -> Any:
    return quantile(x - 0.5, xp.minimum(x, 1 - x), xp)


def erfinv_forward(x: Any, *, xp: Any) -> Any:
    """The quantile of (1 + x) / 2, which keeps the digits of `x` at both ends."""
    return quantile(x / 2, (1 - xp.abs(x)) / 2, xp) / math.sqrt(2)


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
erfinv = elementwise(
    "special.erfinv",
    lambda y, xp: (math.sqrt(math.pi) / 2) * xp.exp(y * y),
    forward=erfinv_forward,
    domain=(-0.9, 0.9),
    dtypes="floating",
    since="",
    doc="Inverse of `erf`: infinite at -1 and 1, and so are its derivatives.\n"
    'Wichura (1988), "Algorithm AS 241: The percentage points of the normal distribution", where the library '
    "has none as exact.",
)
inverse_mills_ratio = elementwise(
    "special.inverse_mills_ratio",
    lambda x, y: -y * (x + y),
    forward=inverse_mills_ratio_forward,
    domain=(-8.0, 3.0),
    dtypes="floating",
    since="",
    doc="Density of the standard normal distribution over `ndtr`: the derivative of `log_ndtr`.",
)
log_ndtr = elementwise(
    "special.log_ndtr",
    lambda x, xp: xp.special.inverse_mills_ratio(x),
    forward=log_ndtr_forward,
    domain=(-8.0, 3.0),
    dtypes="floating",
    since="",
    doc="Logarithm of `ndtr`, also where that is too small for a number.",
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
ndtri = elementwise(
    "special.ndtri",
    lambda y, xp: math.sqrt(2 * math.pi) * xp.exp(y * y / 2),
    forward=ndtri_forward,
    domain=(0.05, 0.95),
    dtypes="floating",
    since="",
    doc="Quantiles of the standard normal distribution: infinite at 0 and 1, and so are the derivatives.\n"
    'Wichura (1988), "Algorithm AS 241: The percentage points of the normal distribution".',
)
