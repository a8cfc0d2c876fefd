"""NumPy's own functions on tensors, by NumPy's protocols: ``np.sin(t)``, ``np.linalg.norm(t)``."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from portagrad.backend import BY_TYPE
from portagrad.protocols import (  # noqa: F401  each enters its functions in the table
    assignment,
    calculus,
    creation,
    einsum,
    elements,
    pieces,
    products,
    quantiles,
    shapes,
    standard,
    statistics,
)
from portagrad.protocols.counterpart import COUNTERPARTS, refuse
from portagrad.protocols.ufuncs import array_ufunc as array_ufunc
from portagrad.tensor import Tensor

ON_THE_HOST = (
    np.array2string,
    np.array_repr,
    np.array_str,
    np.save,
    np.savetxt,
    np.savez,
    np.savez_compressed,
)
"""Functions that print or write numbers: they get NumPy arrays, which a value being differentiated is not."""


def array_function(
    like: Tensor, func: Any, types: Sequence[type], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """NumPy's protocol for functions of arrays: what `func` gives where an argument is a tensor."""
    if not all(issubclass(t, Tensor | np.ndarray) or BY_TYPE[t] is not None for t in types):
        return NotImplemented
    if func in ON_THE_HOST:
        return func(*map(on_the_host, args), **{name: on_the_host(value) for name, value in kwargs.items()})
    found = COUNTERPARTS.get(func)
    if found is None:
        raise refuse(f"{func.__module__}.{func.__name__}".replace("numpy", "np", 1))
    return found(like, args, kwargs)


@functools.cache
def array_functions() -> dict[str, Any]:
    """NumPy's functions of arrays that work on tensors, by name; not those that make arrays of none."""
    made = creation.__name__
    return {c.name.removeprefix("np."): f for f, c in COUNTERPARTS.items() if c.run.__module__ != made}


def on_the_host(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, Tensor) else value
