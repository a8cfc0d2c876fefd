"""Functions of the standard that NumPy has under the same name: the op, by NumPy's names of its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from portagrad.namespace import function
from portagrad.op import TABLE
from portagrad.protocols.counterpart import as_given, as_operand, as_tensor, numpy_function, stand_for
from portagrad.tensor import Tensor, kind
from portagrad.trace import apply

NAMES = (
    *("argmax", "argmin", "astype", "count_nonzero", "cumulative_prod", "cumulative_sum", "expand_dims"),
    *("flip", "isin", "matrix_transpose", "moveaxis", "nonzero", "roll", "searchsorted", "tril", "triu"),
    *("unique_all", "unique_counts", "unique_inverse", "unique_values", "unstack"),
    *(f"linalg.{name}" for name in ("cholesky", "cross", "det", "diagonal", "eigh")),
    *(f"linalg.{name}" for name in ("eigvalsh", "inv", "matmul", "matrix_norm", "matrix_power")),
    *(f"linalg.{name}" for name in ("matrix_transpose", "outer", "slogdet", "solve", "svdvals")),
    *(f"linalg.{name}" for name in ("tensordot", "trace", "vecdot", "vector_norm")),
    *(f"fft.{name}" for name in ("rfft", "rfftn", "ihfft", "fftshift", "ifftshift")),
)
OF_COMPLEX = tuple(f"fft.{name}" for name in ("fft", "ifft", "fftn", "ifftn", "irfft", "irfftn", "hfft"))
"""Functions of complex numbers, for which NumPy takes real ones too."""


def as_complex(value: Any, like: Tensor, what: str) -> Any:
    x = as_tensor(value, like, what)
    xp = like.__array_namespace__()
    return x if kind(x) > 1 else xp.astype(x, xp.result_type(x.dtype, xp.complex64))


def same(name: str, made: Callable[..., Any] = as_operand) -> None:
    """Let an op stand for the NumPy function of its name: its arrays by position, the rest by name."""
    op, numpys = TABLE[name], numpy_function(name)
    if numpys is None:
        return
    arrays = [*inspect.signature(numpys).parameters][: len(op.arrays)]
    own = inspect.signature(function(name)).parameters.values()
    defaults = {p.name: p.default for p in own if p.name in op.params and p.default is not p.empty}

    def run(xp: Any, **given: Any) -> Any:
        return apply(op, tuple([given.pop(name, None) for name in arrays]), {**defaults, **given})

    stand_for(name, run, {**dict.fromkeys(arrays, made), **dict.fromkeys(op.params, as_given)})


for _name in NAMES:
    same(_name)
for _name in OF_COMPLEX:
    same(_name, as_complex)
