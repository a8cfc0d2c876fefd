"""Special functions of torch's."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

# Not ndtr, which is 0 below -9, nor polygamma, whose order 1 has nine digits.
NAMES = (
    *("digamma", "erf", "erfc", "erfinv", "expit", "gammaln", "i0", "i1", "log_ndtr", "logit"),
    *("ndtri", "xlog1py", "xlogy"),
)

kernels: Mapping[str, Callable[..., Any]] = {
    f"special.{name}": getattr(torch.special, name) for name in NAMES
}
