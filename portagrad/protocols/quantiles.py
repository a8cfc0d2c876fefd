"""NumPy's quantiles: by linear interpolation between the order statistics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from portagrad.errors import NoCounterpartError
from portagrad.protocols.counterpart import Array, counterpart
from portagrad.protocols.elements import inexact


def interpolated(
    xp: Any, a: Any, q: Any, axis: Any, keepdims: bool, absent: bool, rest: dict[str, Any]
) -> Any:
    """Quantiles over `axis`: a NaN makes NaN, or is passed over where it is `absent`."""
    if rest.pop("method", "linear") != "linear" or rest:
        raise NoCounterpartError("np.quantile: tensors have only method='linear', without weights")
    a, shape = inexact(xp, a), list(a.shape)
    axes = [
        i % a.ndim for i in ([*range(a.ndim)] if axis is None else [axis] if isinstance(axis, int) else axis)
    ]
    others = [i for i in range(a.ndim) if i not in axes]
    rows = xp.permute_dims(a, (*others, *axes))
    rows = xp.reshape(rows, (*[shape[i] for i in others], math.prod(shape[i] for i in axes)))
    missing = xp.isnan(rows)
    rows = xp.sort(xp.where(missing, math.inf, rows), axis=-1)
    present = xp.astype(xp.count_nonzero(~missing, axis=-1, keepdims=True), a.dtype)
    nothing = present == 0 if absent else present < rows.shape[-1]
    last = xp.clip(present - 1, min=0)
    made, places = [], np.asarray(q, dtype=float)
    for each in places.flat:
        place = last * float(each)
        below = xp.floor(place)
        low, high = (
            xp.take_along_axis(rows, xp.astype(i, xp.int64), axis=-1) for i in (below, xp.ceil(place))
        )
        y = xp.where(nothing, math.nan, low + (high - low) * (place - below))
        kept = [1 if i in axes else n for i, n in enumerate(shape)]
        made.append(xp.reshape(y, tuple(kept if keepdims else [shape[i] for i in others])))
    return xp.reshape(xp.stack(made), (*places.shape, *made[0].shape))


@counterpart()
def quantile(xp: Any, a: Array, q: Any, axis: Any = None, keepdims: bool = False, **rest: Any) -> Any:
    return interpolated(xp, a, q, axis, keepdims, False, rest)


@counterpart()
def percentile(xp: Any, a: Array, q: Any, axis: Any = None, keepdims: bool = False, **rest: Any) -> Any:
    return interpolated(xp, a, np.asarray(q) / 100, axis, keepdims, False, rest)


@counterpart()
def median(xp: Any, a: Array, axis: Any = None, keepdims: bool = False) -> Any:
    return interpolated(xp, a, 0.5, axis, keepdims, False, {})


@counterpart()
def nanquantile(xp: Any, a: Array, q: Any, axis: Any = None, keepdims: bool = False, **rest: Any) -> Any:
    return interpolated(xp, a, q, axis, keepdims, True, rest)


@counterpart()
def nanpercentile(xp: Any, a: Array, q: Any, axis: Any = None, keepdims: bool = False, **rest: Any) -> Any:
    return interpolated(xp, a, np.asarray(q) / 100, axis, keepdims, True, rest)


@counterpart()
def nanmedian(xp: Any, a: Array, axis: Any = None, keepdims: bool = False) -> Any:
    return interpolated(xp, a, 0.5, axis, keepdims, True, {})
