"""Elementwise functions: one partial derivative per argument serves both modes."""

import cmath
import math
from typing import Any

from portagrad.backend import KIND
from portagrad.op import case, constant, elementwise, linear, primitive

positive_numbers = (0.3, 3.0)
nonzero = (0.4, 2.5)
unit = (-0.9, 0.9)
above_one = (1.2, 3.0)


def share(x1: Any, x2: Any, g: Any, xp: Any) -> Any:
    """The part of `g` that goes to x1 in ``maximum(x1, x2)``: ties evenly, a NaN to itself."""
    ties = (x1 == x2) | ((x1 != x1) & (x2 != x2))
    wins = (x1 > x2) | (x1 != x1)
    return xp.where(ties, 0.5 * g, xp.where(wins, g, 0.0))


def ratio(x1: Any, x2: Any, xp: Any) -> Any:
    """x1 / x2, and 0 where x2 is 0."""
    none = x2 == 0
    return xp.where(none, 0.0, x1 / xp.where(none, 1.0, x2))


def sign_rule(g: Any, x: Any, y: Any, xp: Any) -> Any:
    """Of y = x/|x|: the component of `g` orthogonal to y, over |x|; zero for real x."""
    if KIND[x.dtype] < 2:
        return g * 0.0
    return ratio(g - y * xp.real(xp.conj(y) * g), xp.abs(x), xp)


def power_base(x1: Any, x2: Any, xp: Any) -> Any:
    """x2 x1^(x2-1), and 0 where x2 is 0, also at x1 = 0."""
    if isinstance(x2, int | float | complex):
        return x2 * x1 ** (x2 - 1) if x2 != 0 else xp.zeros_like(x1)
    none = x2 == 0
    return xp.where(none, 0.0, x2 * x1 ** xp.where(none, 1.0, x2 - 1))


def power_exponent(x1: Any, y: Any, xp: Any) -> Any:
    """x1^x2 log x1, and 0 where x1 is 0."""
    if isinstance(x1, int | float | complex):
        log = cmath.log(x1) if isinstance(x1, complex) else math.log(x1) if x1 > 0 else math.nan
        return y * (log if x1 != 0 else 0.0)
    return y * xp.log(xp.where(x1 == 0, 1.0, x1))


def logaddexp_weight(x1: Any, x2: Any, y: Any, xp: Any) -> Any:
    """exp(x1 - y); where y is infinite, all to the argument that equals it."""
    infinite = xp.isinf(y)
    equal = xp.where(x1 == x2, 0.5, xp.where(x1 == y, 1.0, 0.0 * xp.where(infinite, 0.0, y)))
    return xp.where(infinite, equal, xp.exp(x1 - xp.where(infinite, 0.0, y)))


def clip_x(g: Any, x: Any, min: Any, max: Any, xp: Any) -> Any:
    """Inside the bounds and on them, all of `g`."""
    if min is not None:
        g = xp.where(x >= min, g, 0.0)
    return g if max is None else xp.where(x <= max, g, 0.0)


def clip_min(g: Any, x: Any, min: Any, max: Any, xp: Any) -> Any:
    """Where x lies below the lower bound, and that is the result."""
    below = x < min
    return xp.where(below if max is None else below & (min <= max), g, 0.0)


def clip_max(g: Any, x: Any, min: Any, max: Any, xp: Any) -> Any:
    """Where what is clipped from below lies above the upper bound."""
    above = x > max
    return xp.where(above if min is None else above | (min > max), g, 0.0)


abs = elementwise(
    "abs",
    lambda x, xp: xp.conj(xp.sign(x)) if KIND[x.dtype] > 1 else xp.sign(x),
    doc="Absolute value, or modulus.\nAt 0 the derivative is taken as 0.",
)
acos = elementwise("acos", lambda x, xp: -1 / xp.sqrt(1 - x * x), domain=unit, doc="Inverse cosine.")
acosh = elementwise(
    "acosh",
    lambda x, xp: 1 / (xp.sqrt(x - 1) * xp.sqrt(x + 1)),
    domain=above_one,
    doc="Inverse hyperbolic cosine.",
)
add = elementwise("add", 1, 1, doc="Sum.")
asin = elementwise("asin", lambda x, xp: 1 / xp.sqrt(1 - x * x), domain=unit, doc="Inverse sine.")
asinh = elementwise("asinh", lambda x, xp: 1 / xp.sqrt(1 + x * x), doc="Inverse hyperbolic sine.")
atan = elementwise("atan", lambda x: 1 / (1 + x * x), domain=unit, doc="Inverse tangent.")
atan2 = elementwise(
    "atan2",
    lambda x1, x2: x2 / (x1 * x1 + x2 * x2),
    lambda x1, x2: -x1 / (x1 * x1 + x2 * x2),
    domain=nonzero,
    dtypes="floating",
    doc="Angle of the point with ordinate `x1` and abscissa `x2`, in radians.",
)
atanh = elementwise("atanh", lambda x: 1 / (1 - x * x), domain=unit, doc="Inverse hyperbolic tangent.")
bitwise_and = constant("bitwise_and", "(x1, x2, /)", 2, dtypes="integer", doc="Bits set in both integers.")
bitwise_invert = constant("bitwise_invert", "(x, /)", dtypes="integer", doc="All bits flipped.")
bitwise_left_shift = constant("bitwise_left_shift", "(x1, x2, /)", 2, dtypes="integer", doc="Bits moved up.")
bitwise_or = constant("bitwise_or", "(x1, x2, /)", 2, dtypes="integer", doc="Bits set in either integer.")
bitwise_right_shift = constant(
    "bitwise_right_shift", "(x1, x2, /)", 2, dtypes="integer", doc="Bits moved down."
)
bitwise_xor = constant("bitwise_xor", "(x1, x2, /)", 2, dtypes="integer", doc="Bits set in one integer only.")
ceil = elementwise("ceil", 0, dtypes="floating", doc="Nearest integer above.")
clip = elementwise(
    "clip",
    clip_x,
    clip_min,
    clip_max,
    signature="(x, /, min=None, max=None)",
    domains={"min": (-1.5, -0.5), "max": (0.5, 1.5)},
    cases=(case((4,), None, None), case((4,), (), None), case((4,), None, (4,)), case((2, 3), -0.7, 0.7)),
    dtypes="floating",
    since="2023.12",
    doc="Values limited to the range from `min` to `max`.\n"
    "min: array or Python scalar; the lower bound, none by default\n"
    "max: array or Python scalar; the upper bound, none by default\n"
    "At a bound the derivative with respect to `x` is 1.",
)
conj = linear(
    "conj",
    "(x, /)",
    lambda g, xp: xp.conj(g),
    since="2022.12",
    batch="pointwise",
    doc="Complex conjugate.",
)
copysign = elementwise(
    "copysign",
    lambda g, x1, y, xp: xp.where(xp.signbit(x1) == xp.signbit(y), g, -g),
    0,
    domain=nonzero,
    dtypes="floating",
    since="2023.12",
    doc="Magnitude of `x1` with the sign of `x2`.",
)
cos = elementwise("cos", lambda x, xp: -xp.sin(x), doc="Cosine of an angle in radians.")
cosh = elementwise("cosh", lambda x, xp: xp.sinh(x), doc="Hyperbolic cosine.")
divide = elementwise(
    "divide", lambda g, x2: g / x2, lambda y, x2: -y / x2, domains={"x2": nonzero}, doc="Quotient."
)
equal = constant("equal", "(x1, x2, /)", 2, dtypes="any", doc="Whether elements are equal.")
exp = elementwise("exp", lambda y: y, doc="Exponential function.")
expm1 = elementwise("expm1", lambda y: y + 1, doc="``exp(x) - 1``, accurate near 0.")
floor = elementwise("floor", 0, dtypes="floating", doc="Nearest integer below.")
floor_divide = elementwise(
    "floor_divide", 0, 0, domain=nonzero, dtypes="floating", doc="Quotient, rounded down."
)
greater = constant("greater", "(x1, x2, /)", 2, dtypes="floating", doc="Whether ``x1 > x2``.")
greater_equal = constant("greater_equal", "(x1, x2, /)", 2, dtypes="floating", doc="Whether ``x1 >= x2``.")
hypot = elementwise(
    "hypot",
    lambda x1, y, xp: ratio(x1, y, xp),
    lambda x2, y, xp: ratio(x2, y, xp),
    dtypes="floating",
    since="2023.12",
    doc="Length of the hypotenuse over legs `x1` and `x2`, without overflow.\n"
    "Where both are 0 the derivatives are taken as 0.",
)
imag = elementwise("imag", -1j, dtypes="complex", since="2022.12", doc="Imaginary part.")
isfinite = constant("isfinite", "(x, /)", doc="Whether elements are neither infinite nor NaN.")
isinf = constant("isinf", "(x, /)", doc="Whether elements are infinite.")
isnan = constant("isnan", "(x, /)", doc="Whether elements are NaN.")
less = constant("less", "(x1, x2, /)", 2, dtypes="floating", doc="Whether ``x1 < x2``.")
less_equal = constant("less_equal", "(x1, x2, /)", 2, dtypes="floating", doc="Whether ``x1 <= x2``.")
log = elementwise("log", lambda g, x: g / x, domain=positive_numbers, doc="Natural logarithm.")
log10 = elementwise(
    "log10", lambda x: (1 / math.log(10)) / x, domain=positive_numbers, doc="Logarithm, base 10."
)
log1p = elementwise("log1p", lambda x: 1 / (1 + x), domain=positive_numbers, doc="Logarithm of ``1 + x``.")
log2 = elementwise("log2", lambda x: (1 / math.log(2)) / x, domain=positive_numbers, doc="Logarithm, base 2.")
logaddexp = elementwise(
    "logaddexp",
    lambda x1, x2, y, xp: logaddexp_weight(x1, x2, y, xp),
    lambda x1, x2, y, xp: logaddexp_weight(x2, x1, y, xp),
    dtypes="floating",
    doc="``log(exp(x1) + exp(x2))``, without overflow.",
)
logical_and = constant("logical_and", "(x1, x2, /)", 2, dtypes="boolean", doc="Whether both are true.")
logical_not = constant("logical_not", "(x, /)", dtypes="boolean", doc="Whether elements are false.")
logical_or = constant("logical_or", "(x1, x2, /)", 2, dtypes="boolean", doc="Whether one or both are true.")
logical_xor = constant("logical_xor", "(x1, x2, /)", 2, dtypes="boolean", doc="Whether just one is true.")
maximum = elementwise(
    "maximum",
    lambda g, x1, x2, xp: share(x1, x2, g, xp),
    lambda g, x1, x2, xp: share(x2, x1, g, xp),
    dtypes="floating",
    since="2023.12",
    doc="The greater of two elements.\nTies share the derivative evenly; a NaN takes it.",
)
minimum = elementwise(
    "minimum",
    lambda g, x1, x2, xp: share(-x1, -x2, g, xp),
    lambda g, x1, x2, xp: share(-x2, -x1, g, xp),
    dtypes="floating",
    since="2023.12",
    doc="The lesser of two elements.\nTies share the derivative evenly; a NaN takes it.",
)
multiply = elementwise("multiply", lambda x2: x2, lambda x1: x1, doc="Product.")
negative = elementwise("negative", -1, doc="Elements with their sign changed.")
nextafter = elementwise(
    "nextafter",
    1,
    0,
    dtypes="floating",
    since="2024.12",
    doc="The next number after `x1` that its type can represent, towards `x2`.\n"
    "The derivative is that of `x1`.",
)
not_equal = constant("not_equal", "(x1, x2, /)", 2, dtypes="any", doc="Whether elements differ.")
positive = elementwise("positive", 1, doc="Elements as they are, in a new array.")
pow = elementwise(
    "pow",
    power_base,
    power_exponent,
    domain=positive_numbers,
    doc="`x1` raised to the power `x2`.\nThe derivative of ``x ** 0`` with respect to ``x`` is 0, also at 0.",
)
real = elementwise("real", 1, since="2022.12", doc="Real part.")
reciprocal = elementwise("reciprocal", lambda y: -y * y, domain=nonzero, since="2024.12", doc="``1 / x``.")
remainder = elementwise(
    "remainder",
    1,
    lambda x1, x2, xp: -xp.floor_divide(x1, x2),
    domain=nonzero,
    dtypes="floating",
    doc="What division leaves over, with the sign of `x2`.",
)
round = elementwise("round", 0, dtypes="floating", doc="Nearest integer; halves go to the even one.")
sign = primitive(
    "sign",
    "(x, /)",
    (sign_rule,),
    (sign_rule,),
    domain=nonzero,
    batch="pointwise",
    doc="-1, 0 or 1 by the sign; of complex numbers ``x / abs(x)``.\n"
    "The derivative of real numbers is 0, also at 0.",
)
signbit = constant(
    "signbit", "(x, /)", dtypes="floating", since="2023.12", doc="Whether the sign bit is set."
)
sin = elementwise("sin", lambda x, xp: xp.cos(x), doc="Sine of an angle in radians.")
sinh = elementwise("sinh", lambda x, xp: xp.cosh(x), doc="Hyperbolic sine.")
sqrt = elementwise(
    "sqrt", lambda y: 0.5 / y, domain=positive_numbers, doc="Square root.\nAt 0 the derivative is infinite."
)
square = elementwise("square", lambda x: 2 * x, doc="``x * x``.")
subtract = elementwise("subtract", 1, -1, doc="Difference.")
tan = elementwise("tan", lambda y: 1 + y * y, domain=unit, doc="Tangent of an angle in radians.")
tanh = elementwise("tanh", lambda y: 1 - y * y, doc="Hyperbolic tangent.")
trunc = elementwise("trunc", 0, dtypes="floating", doc="Nearest integer towards 0.")
