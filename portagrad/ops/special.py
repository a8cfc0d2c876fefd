"""Logistic functions, and products with logarithms."""

import math
from typing import Any

from portagrad.op import elementwise


def expit_forward(x: Any, *, xp: Any) -> Any:
    """By an exponential that does not overflow, and with all digits where the value is small."""
    e = xp.exp(-xp.abs(x))
    return xp.where(x < 0, e, 1.0) / (1 + e)


def logit_forward(x: Any, *, xp: Any) -> Any:
    return xp.log(x) - xp.log1p(-x)


def arrays(x1: Any, x2: Any, xp: Any) -> tuple[Any, Any]:
    """A Python scalar beside an array as an array of that dtype."""
    if isinstance(x1, int | float):
        x1 = xp.full_like(x2, x1)
    return x1, xp.full_like(x1, x2) if isinstance(x2, int | float) else x2


def product_with_log(x1: Any, log: Any, x2: Any, xp: Any) -> Any:
    """``x1 * log(x2)``, and 0 where x1 is 0 and x2 no NaN."""
    x1, x2 = arrays(x1, x2, xp)
    none = (x1 == 0) & (x2 == x2)
    return xp.where(none, 0.0, x1 * log(xp.where(none, 1.0, x2)))


def entr_forward(x: Any, *, xp: Any) -> Any:
    inside = x > 0
    value = -x * xp.log(xp.where(inside, x, 1.0))
    return xp.where(inside, value, xp.where(x < 0, -math.inf, x))  # 0, and NaN of NaN


def xdivy_forward(x1: Any, x2: Any, *, xp: Any) -> Any:
    x1, x2 = arrays(x1, x2, xp)
    none = (x1 == 0) & (x2 == 0)
    return xp.where(none, 0.0, x1 / xp.where(none, 1.0, x2))


entr = elementwise(
    "special.entr",
    lambda x, xp: -1 - xp.log(x),
    forward=entr_forward,
    domain=(0.3, 3.0),
    dtypes="floating",
    since="",
    doc="``-x * log(x)``, the summand of an entropy: 0 at 0, ``-inf`` below.",
)
expit = elementwise(
    "special.expit",
    lambda x, y, xp: y * xp.special.expit(-x),  # 1 - y has no digits where x is large
    forward=expit_forward,
    domain=(-6.0, 6.0),
    dtypes="floating",
    since="",
    doc="Logistic function, ``1 / (1 + exp(-x))``.",
)
logit = elementwise(
    "special.logit",
    lambda x: 1 / x + 1 / (1 - x),  # not 1 / (x (1 - x)), whose derivative at the ends would be NaN
    forward=logit_forward,
    domain=(0.05, 0.95),
    dtypes="floating",
    since="",
    doc="Logarithm of the odds, ``log(x / (1 - x))``: the inverse of `expit`.",
)
xdivy = elementwise(
    "special.xdivy",
    lambda g, x2: g / x2,
    lambda x2, y, xp: -xp.special.xdivy(y, x2),
    forward=xdivy_forward,
    domains={"x2": (0.4, 2.5)},
    dtypes="floating",
    since="",
    doc="``x1 / x2``, and 0 where both are 0: the derivative of `xlogy`.",
)
xlog1py = elementwise(
    "special.xlog1py",
    lambda g, x2, xp: xp.special.xlog1py(g, x2),
    lambda x1, x2, xp: xp.special.xdivy(x1, 1 + x2),
    forward=lambda x1, x2, *, xp: product_with_log(x1, xp.log1p, x2, xp),
    domains={"x2": (-0.6, 2.0)},
    dtypes="floating",
    since="",
    doc="``x1 * log1p(x2)``, and 0 where `x1` is 0, also at ``x2 = -1``.\n"
    "There the derivative with respect to `x2` is 0, and that with respect to `x1` infinite.",
)
xlogy = elementwise(
    "special.xlogy",
    lambda g, x2, xp: xp.special.xlogy(g, x2),
    lambda x1, x2, xp: xp.special.xdivy(x1, x2),
    forward=lambda x1, x2, *, xp: product_with_log(x1, xp.log, x2, xp),
    domains={"x2": (0.3, 3.0)},
    dtypes="floating",
    since="",
    doc="``x1 * log(x2)``, and 0 where `x1` is 0, also at ``x2 = 0``.\n"
    "Where both are 0 the derivative with respect to `x2` is 0, and that with respect to `x1` infinite.",
)
