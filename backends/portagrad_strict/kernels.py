"""Calls where array-api-strict departs from the standard, and functional assignment through NumPy."""

from collections.abc import Callable, Mapping
from typing import Any

import array_api_strict as xp
import numpy

from portagrad.backend import basic_index

_Array = type(xp.empty(0))


def _plain(value: Any) -> Any:
    """NumPy's view of an array or an index; the public conversions refuse every device but the first."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return value._array if isinstance(value, _Array) else value


def index_add(x: Any, value: Any, *, key: Any) -> Any:
    """`x` with `value` added at `key`; repeated elements accumulate."""
    out = x._array.copy()
    if basic_index(key):
        out[key] += _plain(value)
    else:
        numpy.add.at(out, _plain(key), _plain(value))
    return xp.asarray(out, device=x.device)


def index_put(x: Any, value: Any, *, key: Any) -> Any:
    """`x` with `value` at `key`."""
    out = x._array.copy()
    out[_plain(key)] = _plain(value)
    return xp.asarray(out, device=x.device)


def isin(x1: Any, x2: Any, *, invert: bool = False) -> Any:
    """array-api-strict 2.6 ignores `invert`."""
    found = xp.isin(x1, x2)
    return xp.logical_not(found) if invert else found


def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """The library takes None for its default device, the standard for the array's own."""
    return xp.astype(x, dtype, copy=copy, device=x.device if device is None else device)


kernels: Mapping[str, Callable[..., Any]] = {
    "astype": astype,
    "index_add": index_add,
    "index_put": index_put,
    "isin": isin,
}
