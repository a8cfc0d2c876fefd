"""Special functions of CuPy's."""

from collections.abc import Callable, Mapping
from typing import Any

from cupyx.scipy import special

NAMES = (
    *("digamma", "erf", "erfc", "erfinv", "expit", "gammaln", "i0", "i1", "log_ndtr", "logit", "ndtr"),
    *("ndtri", "xlog1py", "xlogy"),
)

kernels: Mapping[str, Callable[..., Any]] = {f"special.{name}": getattr(special, name) for name in NAMES}
