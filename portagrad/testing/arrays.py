"""Arrays of any library as NumPy sees them, and back; what is close to what."""

from __future__ import annotations

from typing import Any

import numpy as np

from portagrad.backend import BY_TYPE, KIND
from portagrad.device import Device, device_of, transfer
from portagrad.tensor import raw

Host = np.ndarray[Any, Any]


def host(x: Any) -> Host:
    """A copy of an array or tensor in the host's memory."""
    value = raw(x)
    backend = BY_TYPE[type(value)]
    return np.asarray(value) if backend is None else np.asarray(backend.to_numpy(value))


def beside(a: Host, like: Any) -> Any:
    """Numbers of the host as an array of the dtype, library and device of `like`."""
    return transfer(np.asarray(a, dtype=host_dtype(like)), device_of(raw(like)))


def host_dtype(x: Any) -> np.dtype[Any]:
    """NumPy's name for an array's dtype."""
    return np.dtype(dtype_name(x))


def dtype_name(x: Any) -> str:
    """The standard's name of an array's dtype, e.g. ``"float32"``."""
    return str(raw(x).dtype).rpartition(".")[2]


def place(x: Any) -> Device:
    """The device of an array or tensor."""
    return device_of(raw(x))


def precision(x: Any) -> float:
    """The distance from 1 to the next number of an array's dtype."""
    return float(np.finfo(host_dtype(x)).eps)


def random_like(rng: np.random.Generator, x: Any) -> Any:
    """Normal numbers of the shape and dtype of `x`, where `x` is; zeros for integers."""
    shape = tuple(x.shape)
    kind = KIND[x.dtype]
    if not kind:
        return beside(np.zeros(shape), x)
    values = rng.standard_normal(shape)
    return beside(values + 1j * rng.standard_normal(shape) if kind > 1 else values, x)


def inner(a: Host, b: Host) -> tuple[float, float]:
    """Re <a, b>, and the sum of the moduli of its terms: what its rounding errors are measured by."""
    terms = np.conj(a) * b
    return float(np.sum(np.real(terms))), float(np.sum(np.abs(terms)))


def difference(got: Host, expected: Host, rtol: float, atol: float) -> str:
    """What is wrong with `got`; empty where it is close to `expected`.

    The tolerance is ``atol + rtol * max|expected|``: one for the whole array, since rounding errors of its
    large elements are found in its small ones.
    """
    if got.shape != expected.shape:
        return f"  got shape      {got.shape}\n  expected shape {expected.shape}"
    if got.size == 0:
        return ""
    finite = np.abs(expected[np.isfinite(expected)])
    allowed = atol + rtol * float(np.max(finite, initial=0.0))
    with np.errstate(invalid="ignore"):
        off = np.abs(got - expected)
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    off = np.where(same, 0.0, np.where(np.isnan(off), np.inf, off))
    if float(np.max(off)) <= allowed:
        return ""
    worst = tuple(map(int, np.unravel_index(int(np.argmax(off)), off.shape)))
    return (
        f"  got      {_short(got)}\n  expected {_short(expected)}\n"
        f"  largest difference {float(off[worst]):.3g} at index {worst}, tolerance {allowed:.3g}"
    )


def _short(a: Host) -> str:
    return np.array2string(a, precision=8, threshold=12, edgeitems=2).replace("\n", "\n           ")
