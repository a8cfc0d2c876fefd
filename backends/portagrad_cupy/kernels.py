"""Calls where CuPy differs from the standard, and functional assignment."""

from collections.abc import Callable, Mapping
from typing import Any

import cupy

from portagrad.backend import basic_index
from portagrad_cupy import special


def repeat(x: Any, repeats: Any, *, axis: int | None = None) -> Any:
    """CuPy takes the repetitions from the host only: the result's length depends on them."""
    return cupy.repeat(x, repeats.tolist() if isinstance(repeats, cupy.ndarray) else repeats, axis=axis)


def index_add(x: Any, value: Any, *, key: Any) -> Any:
    """`x` with `value` added at `key`; repeated elements accumulate."""
    out = x.copy()
    if basic_index(key):
        out[key] += value
        return out
    value = cupy.asarray(value, dtype=x.dtype)
    if x.dtype.kind == "c":  # CUDA adds real numbers atomically
        cupy.add.at(out.real, key, value.real)
        cupy.add.at(out.imag, key, value.imag)
    elif x.dtype == cupy.int64:  # two's complement: unsigned addition gives the same bits
        cupy.add.at(out.view(cupy.uint64), key, value.view(cupy.uint64))
    elif x.dtype.itemsize < 4 and x.dtype.kind in "iu":
        wide = out.astype(cupy.int32)
        cupy.add.at(wide, key, value.astype(cupy.int32))
        out = wide.astype(x.dtype)
    else:
        cupy.add.at(out, key, value)
    return out


def index_put(x: Any, value: Any, *, key: Any) -> Any:
    """`x` with `value` at `key`."""
    out = x.copy()
    out[key] = value
    return out


kernels: Mapping[str, Callable[..., Any]] = {
    **special.kernels,
    "index_add": index_add,
    "index_put": index_put,
    "repeat": repeat,
}
