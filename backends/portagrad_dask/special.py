"""Special functions by SciPy, block by block, where it is installed; else the plain forwards serve."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import dask.array.core

elemwise: Any = dask.array.core.elemwise

NAMES = (
    *("digamma", "erf", "erfc", "erfinv", "expit", "gammaln", "i0", "i1", "log_ndtr", "logit", "ndtr"),
    "ndtri",
)


def _kernel(name: str) -> Callable[..., Any]:
    def kernel(*args: Any) -> Any:
        from scipy import special  # a tenth of a second, the first time

        return elemwise(getattr(special, name), *args)

    return kernel


kernels: Mapping[str, Callable[..., Any]] = {
    f"special.{name}": _kernel(name) for name in NAMES if find_spec("scipy")
}
