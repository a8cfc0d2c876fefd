"""Norms of vectors and matrices."""

import math
from typing import Any

from portagrad.backend import KIND
from portagrad.op import case, composite, primitive
from portagrad.ops.elementwise import ratio
from portagrad.ops.statistical import extremal, keep

NORMS = (
    case((2, 3)),
    case((2, 3), axis=1, ord=1),
    case((2, 3, 2), axis=(0, -1), keepdims=True),
    case((2, 3), axis=0, ord=3.5, keepdims=True),
    case((4,), ord=math.inf),
    case((2, 3), axis=-1, ord=-math.inf),
    case((2, 3), axis=-1, ord=-2),
    case((3,), ord=0),
)
MATRIX_NORMS = (
    case((2, 3)),
    case((2, 2, 3), keepdims=True),
    *(case((3, 2), ord=o) for o in ("nuc", 2, -2, 1, -1, math.inf, -math.inf)),
    case((2, 3, 3), ord=2, keepdims=True),
)


def real(x: Any, xp: Any) -> Any:
    """The real part; of a real array, itself."""
    return xp.real(x) if KIND[x.dtype] > 1 else x


def slope(x: Any, y: Any, axis: Any, keepdims: bool, ord: float, xp: Any) -> Any:
    """The gradient of a norm: sign(x) (|x|/y)^(p-1), the subgradient 0 where that is undefined."""
    if ord == 0:
        return xp.zeros_like(x)
    if math.isinf(ord):
        return xp.sign(x) * extremal(xp.abs(x), y, axis, keepdims, xp)
    if ord == 1:
        return xp.sign(x)
    y = keep(y, x, axis, keepdims, xp)
    if ord == 2:
        return ratio(x, y, xp)
    part = ratio(xp.abs(x), y, xp)
    return xp.sign(x) * xp.where(part == 0, 0.0, xp.where(part == 0, 1.0, part) ** (ord - 1))


def vector_norm_vjp(g: Any, x: Any, y: Any, axis: Any, keepdims: bool, ord: float, xp: Any) -> Any:
    return keep(g, x, axis, keepdims, xp) * slope(x, y, axis, keepdims, ord, xp)


def vector_norm_jvp(t: Any, x: Any, y: Any, axis: Any, keepdims: bool, ord: float, xp: Any) -> Any:
    along = real(xp.conj(slope(x, y, axis, keepdims, ord, xp)) * t, xp)
    return xp.sum(along, axis=axis, keepdims=keepdims)


def matrix_norm_forward(x: Any, *, keepdims: bool, ord: Any, xp: Any) -> Any:
    """By the norm of the singular values, or of the sums along rows or columns."""
    if ord == "fro" or ord is None:
        return xp.linalg.vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord in ("nuc", 2, -2):
        values = xp.linalg.svdvals(x)
        values = xp.expand_dims(values, axis=-1) if keepdims else values
        axis = -2 if keepdims else -1
        if ord == "nuc":
            return xp.sum(values, axis=axis, keepdims=keepdims)
        return (xp.max if ord > 0 else xp.min)(values, axis=axis, keepdims=keepdims)
    if ord not in (1, -1, math.inf, -math.inf):
        raise ValueError(
            f"linalg.matrix_norm: ord is {ord!r}; it must be 'fro', 'nuc', 1, 2, inf, -1, -2 or -inf"
        )
    summed, other = (-2, -1) if abs(ord) == 1 else (-1, -2)
    sums = xp.sum(xp.abs(x), axis=summed, keepdims=True)
    y = (xp.max if ord > 0 else xp.min)(sums, axis=other, keepdims=True)
    return y if keepdims else xp.squeeze(y, axis=(-2, -1))


vector_norm = primitive(
    "linalg.vector_norm",
    "(x, /, *, axis=None, keepdims=False, ord=2)",
    (vector_norm_vjp,),
    (vector_norm_jvp,),
    cases=NORMS,
    batch="reduction",
    doc="Norms of vectors along axes.\n"
    "ord: float; the exponent p of the norm: infinite for the extremes, 0 for the number of nonzeros\n"
    "At 0 the derivative is taken as 0; ties of extremes share it evenly.",
)
matrix_norm = composite(
    "linalg.matrix_norm",
    "(x, /, *, keepdims=False, ord='fro')",
    matrix_norm_forward,
    cases=MATRIX_NORMS,
    doc="Norms of matrices.\n"
    "x: array; of shape (..., n, m)\n"
    "ord: str or number; ``'fro'``, the root of the sum of squares; ``'nuc'``, the sum of singular values; "
    "2 or -2, the greatest or least of them; 1 or -1, of the columns' sums of moduli; "
    "infinite, of the rows'\n"
    "returns: array; of shape (...)\n"
    "At 0 the Frobenius norm's derivative is taken as 0.",
)
