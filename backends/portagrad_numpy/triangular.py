"""Triangular systems, a stack of them at once: by substitution in blocks, and products between the blocks."""

from __future__ import annotations

from typing import Any

import numpy

BLOCK = 4
"""Rows that are substituted one by one, of all systems together; beyond these, products are faster."""


def solve_triangular(x1: Any, x2: Any, *, upper: bool = False) -> Any:
    """A^-1 B, reading one triangle of A; NumPy's own `solve` factors first, which costs ten times as much."""
    vector = x2.ndim == 1
    b = x2[:, None] if vector else x2
    n = x1.shape[-1]
    if x1.ndim < 2 or x1.shape[-2] != n or b.shape[-2] != n:
        raise ValueError(
            f"solve_triangular: x1 has shape {x1.shape} and x2 {x2.shape}; "
            f"pass x1 of shape (..., n, n) and x2 of shape (n,) or (..., n, k)"
        )
    stack = numpy.broadcast_shapes(x1.shape[:-2], b.shape[:-2])
    x = numpy.empty((*stack, n, b.shape[-1]), numpy.result_type(x1, x2))
    x[...] = b
    if upper:  # the last unknown comes first
        _substitute(x1[..., ::-1, ::-1], x[..., ::-1, :])
    else:
        _substitute(x1, x)
    return x[..., 0] if vector else x


def _substitute(a: Any, x: Any) -> None:
    """Forward substitution by a lower triangle, in place."""
    n = a.shape[-1]
    if n > BLOCK:
        half = -(-n // (2 * BLOCK)) * BLOCK
        _substitute(a[..., :half, :half], x[..., :half, :])
        x[..., half:, :] -= a[..., half:, :half] @ x[..., :half, :]
        _substitute(a[..., half:, half:], x[..., half:, :])
        return
    for i in range(n):
        row = x[..., i : i + 1, :]
        row /= a[..., i : i + 1, i : i + 1]
        if i + 1 < n:
            x[..., i + 1 :, :] -= a[..., i + 1 :, i : i + 1] * row
