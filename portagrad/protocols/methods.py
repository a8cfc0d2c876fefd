"""The methods of NumPy's arrays on tensors, where the arrays underneath have them too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from portagrad.tensor import Tensor, backend_of, raw


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


MEANINGS: dict[str, Callable[..., Any]] = {
    **{f.__name__: f for f in (reshape, transpose, astype, item, tolist)},
    "flatten": np.ravel,
}
"""Those that are not the NumPy function of their name."""


def attribute(x: Tensor, name: str) -> Any:
    """A method or attribute that NumPy's arrays have.

    Only where the arrays underneath have it with NumPy's meaning, so that a function does the same on them
    and on tensors, and whoever asks `hasattr` hears of a tensor what holds for its array.
    """
    value = raw(x)
    backend = backend_of(x)
    if not backend.numpy_methods or not hasattr(value, name):
        raise AttributeError(
            f"'Tensor' object has no attribute {name!r} on {backend.name}; use np.{name}(x)", name=name, obj=x
        )
    if name in ("real", "imag"):
        return getattr(np, name)(x)
    return functools.partial(MEANINGS[name] if name in MEANINGS else getattr(np, name), x)
