"""Special functions of JAX's."""

from collections.abc import Callable, Mapping
from typing import Any

from jax.scipy import special

# Not betaln, which has eight digits at (8, 8.5), nor erfinv, which has eleven near 1, nor log_ndtr, which has
# one where it is near 0, nor polygamma, which has none below 0.
NAMES = (
    *("digamma", "erf", "erfc", "expit", "gammaln", "i0", "i1", "logit", "ndtr", "ndtri"),
    *("xlog1py", "xlogy"),
)

kernels: Mapping[str, Callable[..., Any]] = {f"special.{name}": getattr(special, name) for name in NAMES}
