"""Linear algebra: products, diagonals, solutions and determinants."""

from typing import Any, NamedTuple

from portagrad.backend import KIND
from portagrad.op import bilinear, case, composite, linear, primitive
from portagrad.ops import linear_algebra


class SlogdetResult(NamedTuple):
    """Sign and logarithm of the absolute value of a determinant."""

    sign: Any
    logabsdet: Any


SQUARE = (case((3, 3)), case((2, 2, 2)))


def adjoint(x: Any, xp: Any) -> Any:
    """The conjugate transpose."""
    return xp.conj(xp.matrix_transpose(x))


def identity(x: Any, xp: Any) -> Any:
    """The identity matrix, of the length of the last axis of x."""
    return xp.eye(x.shape[-1], dtype=x.dtype, device=xp.device_of(x))


def regular(x: Any, xp: Any) -> Any:
    """A matrix whose diagonal is large: invertible, and far from singular."""
    return x + 2 * x.shape[-1] * identity(x, xp)


def diagonal_transpose(g: Any, x_like: Any, offset: int, xp: Any) -> Any:
    """g along the diagonal of zeros."""
    rows, columns = x_like.shape[-2:]
    above = xp.zeros_like(xp.broadcast_to(g[..., :1], (*g.shape[:-1], max(-offset, 0))))
    below = rows - max(-offset, 0) - g.shape[-1]
    under = xp.zeros_like(xp.broadcast_to(g[..., :1], (*g.shape[:-1], below)))
    column = xp.expand_dims(xp.concat([above, g, under], axis=-1), axis=-1)
    eye = xp.eye(rows, columns, k=offset, dtype=g.dtype, device=xp.device_of(g))
    return xp.where(eye == 1, column, 0.0)


def matrix_power_forward(x: Any, *, n: int, xp: Any) -> Any:
    """By repeated squaring."""
    if len(x.shape) < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"linalg.matrix_power: matrices of shape {tuple(x.shape)} are not square")
    if n == 0:
        return identity(x, xp) + xp.zeros_like(x)
    square, n, out = (xp.linalg.inv(x), -n, None) if n < 0 else (x, n, None)
    while n:
        if n & 1:
            out = square if out is None else xp.matmul(out, square)
        n >>= 1
        square = xp.matmul(square, square) if n else square
    return out


def columns(x2: Any, x: Any, xp: Any) -> Any:
    """A right-hand side or a solution as a matrix: one vector is a column."""
    return xp.expand_dims(x, axis=-1) if len(x2.shape) == 1 else x


def solve_x2(g: Any, x1: Any, x2_like: Any, xp: Any) -> Any:
    """A^-H g."""
    found = xp.linalg.solve(adjoint(x1, xp), columns(x2_like, g, xp))
    return found[..., 0] if len(x2_like.shape) == 1 else found


def solve_x1(g: Any, x1: Any, x2_like: Any, y: Any, xp: Any) -> Any:
    """-A^-H g y^H.

    Giles (2008), "Collected matrix derivative results for forward and reverse mode algorithmic
    differentiation".
    """
    back = xp.linalg.solve(adjoint(x1, xp), columns(x2_like, g, xp))
    return -xp.matmul(back, adjoint(columns(x2_like, y, xp), xp))


def solve_x1_jvp(t: Any, x1: Any, x2_like: Any, y: Any, xp: Any) -> Any:
    """-A^-1 dA y."""
    moved = xp.linalg.solve(x1, xp.matmul(t, columns(x2_like, y, xp)))
    return -moved[..., 0] if len(x2_like.shape) == 1 else -moved


def solve_x2_jvp(t: Any, x1: Any, x2_like: Any, xp: Any) -> Any:
    return xp.linalg.solve(x1, t)


def whole(x: Any, xp: Any) -> Any:
    """One number per matrix, as a matrix of one element."""
    return xp.expand_dims(xp.expand_dims(x, axis=-1), axis=-1)


def adjugate_forward(x: Any, *, xp: Any) -> Any:
    """det(x) x^-1, also of singular matrices: det(U) det(V^H) V diag(products of other values) U^H."""
    u, s, vh = xp.linalg.svd(x, full_matrices=False)
    n = s.shape[-1]
    eye = xp.eye(n, dtype=s.dtype, device=xp.device_of(s))
    others = xp.prod(xp.where(eye == 1, 1.0, xp.expand_dims(s, axis=-2)), axis=-1)
    turn = whole(xp.linalg.det(u) * xp.linalg.det(vh), xp)
    scaled = adjoint(vh, xp) * xp.astype(xp.expand_dims(others, axis=-2), x.dtype)
    return turn * xp.matmul(scaled, adjoint(u, xp))


def adjugate_vjp(g: Any, x: Any, y: Any, xp: Any) -> Any:
    """Transpose of dY = tr(X^-1 dX) Y - X^-1 dX Y, the derivative of det(X) X^-1."""
    back = adjoint(xp.linalg.inv(x), xp)
    along = whole(xp.sum(xp.conj(y) * g, axis=(-2, -1)), xp)
    return along * back - xp.matmul(xp.matmul(back, g), adjoint(y, xp))


def adjugate_jvp(t: Any, x: Any, y: Any, xp: Any) -> Any:
    moved = xp.linalg.solve(x, t)
    return whole(xp.linalg.trace(moved), xp) * y - xp.matmul(moved, y)


def slogdet_vjp(g: Any, x: Any, sign: Any, xp: Any) -> Any:
    """With tau = tr(X^-1 dX): d log|det| = Re tau, and d sign = i sign Im tau."""
    turn, growth = g
    weight = growth
    if KIND[x.dtype] > 1:
        weight = growth + 1j * -xp.imag(xp.conj(turn) * sign)
    return whole(weight, xp) * adjoint(xp.linalg.inv(x), xp)


def slogdet_jvp(t: Any, x: Any, sign: Any, xp: Any) -> tuple[Any, Any]:
    tau = xp.linalg.trace(xp.linalg.solve(x, t))
    if KIND[x.dtype] > 1:
        return 1j * xp.imag(tau) * sign, xp.real(tau)
    return xp.zeros_like(sign), tau


matmul = composite(
    "linalg.matmul",
    linear_algebra.matmul.signature,
    lambda x1, x2, *, xp: xp.matmul(x1, x2),
    arrays=2,
    cases=(case((2, 3), (3, 4)), case((3,), (2, 3, 4))),
    doc=linear_algebra.matmul.doc,
)
matrix_transpose = composite(
    "linalg.matrix_transpose",
    linear_algebra.matrix_transpose.signature,
    lambda x, *, xp: xp.matrix_transpose(x),
    cases=linear_algebra.matrix_transpose.cases,
    doc=linear_algebra.matrix_transpose.doc,
)
tensordot = composite(
    "linalg.tensordot",
    linear_algebra.tensordot.signature,
    lambda x1, x2, *, axes, xp: xp.tensordot(x1, x2, axes=axes),
    arrays=2,
    cases=linear_algebra.tensordot.cases[:2],
    doc=linear_algebra.tensordot.doc,
)
vecdot = composite(
    "linalg.vecdot",
    linear_algebra.vecdot.signature,
    lambda x1, x2, *, axis, xp: xp.vecdot(x1, x2, axis=axis),
    arrays=2,
    cases=(case((2, 3), (2, 3)), case((2, 3), (2, 3), axis=-2)),
    doc=linear_algebra.vecdot.doc,
)
outer = composite(
    "linalg.outer",
    "(x1, x2, /)",
    lambda x1, x2, *, xp: xp.expand_dims(x1, axis=1) * xp.expand_dims(x2, axis=0),
    arrays=2,
    cases=(case((2,), (3,)),),
    doc="All products of an element of one vector with one of another.\n"
    "x1: array; of shape (n,)\n"
    "x2: array; of shape (m,)\n"
    "returns: array; of shape (n, m)",
)
cross = bilinear(
    "linalg.cross",
    "(x1, x2, /, *, axis=-1)",
    lambda g, x2, axis, xp: xp.linalg.cross(x2, g, axis=axis),
    lambda g, x1, axis, xp: xp.linalg.cross(g, x1, axis=axis),
    cases=(case((3,), (3,)), case((2, 3), (2, 3)), case((3, 2), (3, 2), axis=-2)),
    batch="crossed",
    doc="Vector product of vectors in space.\n"
    "axis: int; the axis of the vectors, of length 3, counted from the end",
)
diagonal = linear(
    "linalg.diagonal",
    "(x, /, *, offset=0)",
    diagonal_transpose,
    cases=(case((3, 3)), case((2, 2, 3), offset=1), case((3, 2), offset=-1), case((3, 2), offset=-2)),
    batch="trailing",
    doc="The diagonals of matrices.\n"
    "x: array; of shape (..., n, m)\n"
    "offset: int; how far above the main diagonal, negative below\n"
    "returns: array; of shape (..., k)",
)
trace = composite(
    "linalg.trace",
    "(x, /, *, offset=0, dtype=None)",
    lambda x, *, offset, dtype, xp: xp.sum(xp.linalg.diagonal(x, offset=offset), axis=-1, dtype=dtype),
    cases=(case((3, 3)), case((2, 2, 3), offset=1)),
    doc="The sums of the diagonals of matrices.\n"
    "x: array; of shape (..., n, m)\n"
    "offset: int; how far above the main diagonal, negative below\n"
    "returns: array; of shape (...)",
)
inv = primitive(
    "linalg.inv",
    "(x, /)",
    (lambda g, y, xp: -xp.matmul(xp.matmul(adjoint(y, xp), g), adjoint(y, xp)),),
    (lambda t, y, xp: -xp.matmul(xp.matmul(y, t), y),),
    prepare={"x": regular},
    cases=SQUARE,
    batch="trailing",
    doc="Inverses of matrices.\nx: array; of shape (..., n, n)",
)
solve = primitive(
    "linalg.solve",
    "(x1, x2, /)",
    (solve_x1, solve_x2),
    (solve_x1_jvp, solve_x2_jvp),
    prepare={"x1": regular},
    cases=(
        case((3, 3), (3,)),
        case((2, 2), (2, 3)),
        case((2, 3, 3), (3,)),
        case((2, 2, 2), (2, 1)),
        case((2, 2), (3, 2, 1)),
    ),
    batch="solution",
    doc="Solutions of systems of linear equations.\n"
    "x1: array; the matrices, of shape (..., n, n)\n"
    "x2: array; the right-hand sides, a vector of shape (n,) or matrices of shape (..., n, k)\n"
    "returns: array; of shape (..., n) or (..., n, k)",
)
adjugate = primitive(
    "linalg.adjugate",
    "(x, /)",
    (adjugate_vjp,),
    (adjugate_jvp,),
    forward=adjugate_forward,
    prepare={"x": regular},
    cases=(case((3, 3)), case((2, 3, 3))),
    batch="trailing",
    since="",
    doc="Determinants times inverses, of singular matrices too: the derivative of the determinant.\n"
    "x: array; of shape (..., n, n)",
)
det = primitive(
    "linalg.det",
    "(x, /)",
    (lambda g, x, xp: whole(g, xp) * adjoint(xp.linalg.adjugate(x), xp),),
    (lambda t, x, xp: xp.linalg.trace(xp.matmul(xp.linalg.adjugate(x), t)),),
    prepare={"x": regular},
    cases=SQUARE,
    batch="trailing",
    doc="Determinants of matrices.\n"
    "x: array; of shape (..., n, n)\n"
    "returns: array; of shape (...)\n"
    "The first derivative exists for singular matrices too; higher ones are taken of invertible matrices.",
)
slogdet = primitive(
    "linalg.slogdet",
    "(x, /)",
    (slogdet_vjp,),
    (slogdet_jvp,),
    outputs=("sign", "logabsdet"),
    result=SlogdetResult,
    prepare={"x": regular},
    cases=SQUARE,
    batch="trailing",
    doc="Signs of determinants, and the logarithms of their absolute values.\n"
    "x: array; of shape (..., n, n), invertible\n"
    "returns: SlogdetResult; of `sign` and `logabsdet`, each of shape (...)",
)
matrix_power = composite(
    "linalg.matrix_power",
    "(x, n, /)",
    matrix_power_forward,
    prepare={"x": regular},
    cases=(case((3, 3), n=3), case((2, 2, 2), n=-2), case((2, 2), n=1), case((2, 2), n=0)),
    doc="Integer powers of matrices.\n"
    "x: array; of shape (..., n, n)\n"
    "n: int; the exponent, negative for the inverse's powers",
)
