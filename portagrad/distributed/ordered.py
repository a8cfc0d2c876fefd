"""Floating-point numbers as integers of the same order, so that extremes are the same bits on every rank.

MPI leaves open what the maximum of a NaN or of two zeros is, and it depends on the order of the arguments,
which is not the same on every rank. Integers have no such cases.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def to_ordered(flat: Array, op: str) -> Array:
    """The numbers of `flat`, overwritten, as integers of the same order; NaN beyond all others.

    Beyond them at the side that wins under `op`, as the maximum and minimum of the standard propagate NaN.
    """
    if flat.dtype.kind != "f":
        return flat
    flat[np.isnan(flat)] = np.copysign(np.nan, 1 if op == "max" else -1)
    keys = flat.view(f"i{flat.itemsize}")
    return _mirrored(keys)


def from_ordered(flat: Array) -> None:
    """Turn a buffer of what `to_ordered` made back into numbers, in place."""
    if flat.dtype.kind == "f":
        _mirrored(flat.view(f"i{flat.itemsize}"))


def _mirrored(keys: Array) -> Array:
    """Negative numbers, whose magnitudes grow with their bits, turned over; its own inverse."""
    keys ^= (keys >> (8 * keys.itemsize - 1)) & np.iinfo(keys.dtype).max
    return keys
