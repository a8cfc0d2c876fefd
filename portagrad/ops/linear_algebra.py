"""Matrix products of the main namespace."""

from typing import Any

from portagrad.op import bilinear, case, composite, linear


def matmul_x1(g: Any, x1_like: Any, x2: Any, xp: Any) -> Any:
    """g x2^T, a vector standing for a matrix of one row or column."""
    rows, columns = len(x1_like.shape), len(x2.shape)
    g = xp.expand_dims(g, axis=-1) if columns == 1 else g
    x2 = xp.expand_dims(x2, axis=-1) if columns == 1 else x2
    if rows > 1:
        return xp.matmul(g, xp.matrix_transpose(x2))
    return xp.squeeze(xp.matmul(xp.expand_dims(g, axis=-2), xp.matrix_transpose(x2)), axis=-2)


def matmul_x2(g: Any, x1: Any, x2_like: Any, xp: Any) -> Any:
    """x1^T g, a vector standing for a matrix of one row or column."""
    rows, columns = len(x1.shape), len(x2_like.shape)
    g = xp.expand_dims(g, axis=-2) if rows == 1 and columns > 1 else g
    x1 = xp.expand_dims(x1, axis=-2) if rows == 1 else x1
    if columns > 1:
        return xp.matmul(xp.matrix_transpose(x1), g)
    g = xp.expand_dims(g, axis=-1)
    g = xp.expand_dims(g, axis=-1) if rows == 1 else g
    return xp.squeeze(xp.matmul(xp.matrix_transpose(x1), g), axis=-1)


def contracted(axes: Any, ndim1: int, ndim2: int) -> tuple[list[int], list[int]]:
    """The axes that ``tensordot`` sums over, of each argument, none negative."""
    if isinstance(axes, int):
        return list(range(ndim1 - axes, ndim1)), list(range(axes))
    return [a % ndim1 for a in axes[0]], [a % ndim2 for a in axes[1]]


def tensordot_x1(g: Any, x1_like: Any, x2: Any, axes: Any, xp: Any) -> Any:
    """g contracted with x2 over x2's free axes, its axes then put where they were in x1."""
    ndim = len(x1_like.shape)
    inner1, inner2 = contracted(axes, ndim, len(x2.shape))
    free1 = [a for a in range(ndim) if a not in inner1]
    free2 = [a for a in range(len(x2.shape)) if a not in inner2]
    out = xp.tensordot(g, x2, axes=(list(range(len(free1), len(g.shape))), free2))
    order = free1 + [inner1[inner2.index(a)] for a in sorted(inner2)]
    return xp.permute_dims(out, tuple(order.index(a) for a in range(ndim)))


def tensordot_x2(g: Any, x1: Any, x2_like: Any, axes: Any, xp: Any) -> Any:
    """x1 contracted with g over x1's free axes, its axes then put where they were in x2."""
    ndim = len(x2_like.shape)
    inner1, inner2 = contracted(axes, len(x1.shape), ndim)
    free1 = [a for a in range(len(x1.shape)) if a not in inner1]
    free2 = [a for a in range(ndim) if a not in inner2]
    out = xp.tensordot(x1, g, axes=(free1, list(range(len(free1)))))
    order = [inner2[inner1.index(a)] for a in sorted(inner1)] + free2
    return xp.permute_dims(out, tuple(order.index(a) for a in range(ndim)))


def vecdot_forward(x1: Any, x2: Any, *, axis: int, xp: Any) -> Any:
    """Sum of conj(x1) x2 along the axis, counted in the broadcast shape's last dimensions."""
    lengths = [x.shape[axis] if -len(x.shape) <= axis < len(x.shape) else None for x in (x1, x2)]
    if lengths[0] != lengths[1] or None in lengths:
        raise ValueError(
            f"vecdot: shapes {tuple(x1.shape)} and {tuple(x2.shape)} have axes {axis} of different lengths; "
            f"the axis must be there in both, as long"
        )
    product = xp.conj(x1) * x2
    return xp.sum(product, axis=axis, dtype=product.dtype)  # else small integers would become large ones


matmul = bilinear(
    "matmul",
    "(x1, x2, /)",
    matmul_x1,
    matmul_x2,
    cases=(
        case((2, 3), (3, 4)),
        case((3,), (3,)),
        case((3,), (3, 2)),
        case((2, 3), (3,)),
        case((2, 1, 2, 3), (4, 3, 2)),
        case((3,), (2, 3, 4)),
        case((2, 4, 3), (3,)),
        case((0, 3), (3, 2)),
    ),
    batch="product",
    doc="Matrix product; axes before the last two broadcast, and one axis alone is a vector.\n"
    "x1: array; of shape (..., n, k) or (k,)\n"
    "x2: array; of shape (..., k, m) or (k,)",
)
matrix_transpose = linear(
    "matrix_transpose",
    "(x, /)",
    lambda g, xp: xp.matrix_transpose(g),
    cases=(case((2, 3)), case((2, 3, 4))),
    batch="trailing",
    doc="The last two axes exchanged.\nx: array; of shape (..., n, m)\nreturns: array; of shape (..., m, n)",
)
tensordot = bilinear(
    "tensordot",
    "(x1, x2, /, *, axes=2)",
    tensordot_x1,
    tensordot_x2,
    cases=(
        case((2, 3, 4), (3, 4, 2)),
        case((2, 3), (3, 4), axes=1),
        case((2,), (3,), axes=0),
        case((2, 3, 4), (4, 5, 2), axes=((2, 0), (0, 2))),
        case((2, 3, 4), (4, 5, 2), axes=((-3, -1), (-1, 0))),
    ),
    batch="contraction",
    doc="Sum of products over several axes of two arrays.\n"
    "x1: array\n"
    "x2: array\n"
    "axes: int or pair of sequences of int; the axes of each array to sum over, or for how many "
    "the last of `x1` go with the first of `x2`",
)
vecdot = composite(
    "vecdot",
    "(x1, x2, /, *, axis=-1)",
    vecdot_forward,
    arrays=2,
    cases=(case((2, 3), (2, 3)), case((3, 2, 4), (2, 4)), case((2, 3), (2, 3), axis=-2)),
    doc="Inner product along an axis, the first argument conjugated.\n"
    "x1: array\n"
    "x2: array; broadcast with `x1`\n"
    "axis: int; the axis, counted from the end",
)
