"""Special functions by SciPy, where it is installed; without it the plain forwards serve."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

# Not betaln, which loses half of its digits where one argument is a million times the other, nor functions
# of two arguments, which make double precision of a number beside an array.
NAMES = (
    *("digamma", "erf", "erfc", "erfinv", "expit", "gammaln", "i0", "i1", "log_ndtr", "logit", "ndtr"),
    "ndtri",
)


def ufunc(name: str) -> Any:
    """SciPy's universal function for an op; where SCIPY_ARRAY_API is set it stands behind a dispatch."""
    from scipy import special  # a tenth of a second, the first time

    found = getattr(special, name.removeprefix("special."))
    return getattr(found, "__wrapped__", found)


def _kernel(name: str) -> Callable[..., Any]:
    return lambda *args: ufunc(name)(*args)


kernels: Mapping[str, Callable[..., Any]] = {
    f"special.{name}": _kernel(name) for name in NAMES if find_spec("scipy")
}
