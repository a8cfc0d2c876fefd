"""The methods of NumPy's arrays on tensors, where the arrays underneath have them too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from portagrad.backend import BY_TYPE
from portagrad.tensor import Tensor, raw


def reshape(x: Tensor, *shape: Any, order: Any = "C") -> Any:
    return np.reshape(x, shape[0] if len(shape) == 1 else shape, order=order)


def transpose(x: Tensor, *axes: Any) -> Any:
    several = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
    return np.transpose(x, several)


def astype(x: Tensor, dtype: Any, **harmless: Any) -> Any:
    return np.astype(x, dtype, copy=harmless.get("copy", True))  # type: ignore[call-overload]


def item(x: Tensor, *index: Any) -> Any:
    return x.concrete("x.item").item(*index)


def tolist(x: Tensor) -> Any:
    return x.concrete("x.tolist").tolist()


SAME = (
    *("all", "any", "argmax", "argmin", "argpartition", "argsort", "clip", "conj", "conjugate", "copy"),
    *("cumprod", "cumsum", "diagonal", "dot", "max", "mean", "min", "nonzero", "prod", "ravel", "repeat"),
    *("round", "searchsorted", "squeeze", "std", "sum", "swapaxes", "take", "var"),
)
METHODS: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in SAME},
    **{f.__name__: f for f in (reshape, transpose, astype, item, tolist)},
    "flatten": np.ravel,
}
"""By name: a function of the tensor and the method's arguments."""

ATTRIBUTES: dict[str, Callable[..., Any]] = {"real": np.real, "imag": np.imag}


def attribute(x: Tensor, name: str) -> Any:
    """An attribute that the standard does not have: what NumPy code asks of its arrays.

    Only where the arrays underneath have it with NumPy's meaning, so that a function does the same on them
    and on tensors, and whoever asks `hasattr` hears of a tensor what holds for its array.
    """
    known = name in METHODS or name in ATTRIBUTES
    value = raw(x) if known else None
    backend = BY_TYPE[type(value)]
    if backend is None or not backend.numpy_methods or not hasattr(value, name):
        instead = f" on {backend.name}; use np.{name}(x)" if backend else ""
        raise AttributeError(f"'Tensor' object has no attribute {name!r}{instead}", name=name, obj=x)
    return ATTRIBUTES[name](x) if name in ATTRIBUTES else functools.partial(METHODS[name], x)
