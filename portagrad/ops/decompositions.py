"""Triangular and orthonormal factors of matrices, and pseudo-inverses."""

from typing import Any, NamedTuple

from portagrad.op import case, constant, primitive
from portagrad.ops.linalg import adjoint, identity


class QRResult(NamedTuple):
    """Orthonormal and triangular factor."""

    Q: Any
    R: Any


def ramp(x: Any, xp: Any) -> Any:
    """A matrix with 3, 6, 9 and so on added along the diagonal: its values stay apart."""
    rows, columns = x.shape[-2:]
    eye = xp.eye(rows, columns, dtype=x.dtype, device=xp.device_of(x))
    return x / 2 + 3 * eye * xp.cumulative_sum(xp.sum(eye, axis=0))


def hermitian(x: Any, xp: Any) -> Any:
    """The Hermitian part."""
    return (x + adjoint(x, xp)) / 2


def scale(x: Any, w: Any, xp: Any) -> Any:
    """The columns of x, each times its number in w."""
    return x * xp.expand_dims(w, axis=-2)


def spread(w: Any, xp: Any) -> Any:
    """Values as a diagonal matrix."""
    return xp.expand_dims(w, axis=-1) * identity(w, xp)


def product(*factors: Any, xp: Any) -> Any:
    """A product of matrices, from the left."""
    out, *rest = factors
    for factor in rest:
        out = xp.matmul(out, factor)
    return out


def weights(x: Any, xp: Any) -> Any:
    """1, 2, 3 and so on, one for each column."""
    return xp.cumulative_sum(xp.sum(identity(x, xp), axis=0))


def weighed(left: Any, right: Any, xp: Any) -> Any:
    """Columns of one matrix times rows of another, with weights: what no phases change."""
    return xp.matmul(scale(left, weights(left, xp), xp), right)


def positive(x: Any, xp: Any) -> Any:
    """A positive definite matrix."""
    return xp.matmul(x, adjoint(x, xp)) + x.shape[-1] * identity(x, xp)


def halved(x: Any, upper: bool, xp: Any) -> Any:
    """A triangle, its diagonal halved."""
    triangle = xp.triu(x) if upper else xp.tril(x)
    return triangle - identity(x, xp) * x / 2


def cholesky_vjp(g: Any, y: Any, upper: bool, xp: Any) -> Any:
    """Of A = L L^H: the Hermitian part of L^-H P L^-1, P being tril(L^H g) with its diagonal halved.

    Murray (2016), "Differentiation of the Cholesky decomposition", section 3; an upper factor is L^H.
    """
    lower, g = (adjoint(y, xp), adjoint(g, xp)) if upper else (y, g)
    back = adjoint(lower, xp)
    left = xp.linalg.solve_triangular(back, halved(xp.matmul(back, g), False, xp), upper=True)
    return hermitian(xp.linalg.solve_triangular(back, adjoint(left, xp), upper=True), xp)


def cholesky_jvp(t: Any, y: Any, upper: bool, xp: Any) -> Any:
    """dL = L P, P being tril(L^-1 dA L^-H) with its diagonal halved. Murray (2016), section 3."""
    lower = adjoint(y, xp) if upper else y
    left = xp.linalg.solve_triangular(lower, hermitian(t, xp))
    inner = xp.linalg.solve_triangular(lower, adjoint(left, xp))
    moved = xp.matmul(lower, halved(inner, False, xp))
    return adjoint(moved, xp) if upper else moved


def completed(dq: Any, basis: Any, xp: Any) -> Any:
    """The derivative of a basis, from that of its first columns Q: dP = -Q dQ^H P of the others, P.

    It keeps the columns orthonormal, and does not turn P in itself, which would be any choice: a function of
    the space that P spans has this derivative.
    """
    k = dq.shape[-1]
    if k == basis.shape[-1]:
        return dq
    others = -product(basis[..., :k], adjoint(dq, xp), basis[..., k:], xp=xp)
    return xp.concat([dq, others], axis=-1)


def reduced(basis: Any, g: Any, k: int, xp: Any) -> tuple[Any, Any]:
    """The first columns of a basis and their cotangent: the transpose of `completed`."""
    if k == basis.shape[-1]:
        return basis, g
    q, others = basis[..., :k], basis[..., k:]
    return q, g[..., :k] - product(others, adjoint(g[..., k:], xp), q, xp=xp)


def qr_vjp(g: Any, x: Any, Q: Any, R: Any, xp: Any) -> Any:
    """(g_Q + Q (T + T^H)) R^-H, T being the upper triangle of g_R R^H - Q^H g_Q, its diagonal halved.

    Roberts and Roberts (2020), "QR and LQ decomposition matrix backpropagation algorithms for square, wide,
    and deep -- real or complex -- matrices and their software implementation": of a wide matrix the first
    columns X are factored, and R has Q^H Y beside, Y being the other columns.
    """
    k = min(x.shape[-2:])
    (q, gq), gr, wide = reduced(Q, g[0], k, xp), g[1][..., :k, :], x.shape[-1] > k
    if wide:
        gq = gq + xp.matmul(x[..., k:], adjoint(gr[..., k:], xp))
    r = R[..., :k, :k]
    inner = xp.matmul(gr[..., :k], adjoint(r, xp)) - xp.matmul(adjoint(q, xp), gq)
    half = halved(inner, True, xp)
    left = gq + xp.matmul(q, half + adjoint(half, xp))
    out = adjoint(xp.linalg.solve_triangular(r, adjoint(left, xp), upper=True), xp)
    return xp.concat([out, xp.matmul(q, gr[..., k:])], axis=-1) if wide else out


def qr_jvp(t: Any, x: Any, Q: Any, R: Any, xp: Any) -> tuple[Any, Any]:
    """With C = Q^H dA R^-1: dR = T R, T being triu(C + C^H) with its diagonal halved; dQ = dA R^-1 - Q T."""
    k = min(x.shape[-2:])
    q, r = Q[..., :k], R[..., :k, :k]
    qh = adjoint(q, xp)
    right = adjoint(xp.linalg.solve_triangular(adjoint(r, xp), adjoint(t[..., :k], xp)), xp)
    moved = xp.matmul(qh, right)
    half = halved(moved + adjoint(moved, xp), True, xp)
    dq, dr = right - xp.matmul(q, half), xp.matmul(half, r)
    if x.shape[-1] > k:
        rest = xp.matmul(adjoint(dq, xp), x[..., k:]) + xp.matmul(qh, t[..., k:])
        dr = xp.concat([dr, rest], axis=-1)
    if R.shape[-2] > k:
        dr = xp.concat([dr, xp.zeros_like(R[..., k:, :])], axis=-2)
    return completed(dq, Q, xp), dr


def qr_invariant(q: Any, r: Any, xp: Any) -> tuple[Any, ...]:
    """What signs and phases leave alone, and the projection on the space that completes the first columns."""
    k = min(r.shape[-2:])
    first, others = q[..., :k], q[..., k:]
    return (
        weighed(first, r[..., :k, :], xp),
        weighed(first, adjoint(first, xp), xp),
        xp.matmul(others, adjoint(others, xp)),
        r[..., k:, :],
    )


def pinv_vjp(g: Any, x: Any, y: Any, xp: Any) -> Any:
    """Transpose of `pinv_jvp`."""
    back, ph = adjoint(g, xp), adjoint(y, xp)
    out = -product(ph, g, ph, xp=xp)
    left = product(back, y, ph, xp=xp)
    right = product(ph, y, back, xp=xp)
    return out + left - product(x, y, left, xp=xp) + right - product(right, y, x, xp=xp)


def pinv_jvp(t: Any, x: Any, y: Any, xp: Any) -> Any:
    """-P dA P + P P^H dA^H (I - A P) + (I - P A) dA^H P^H P, where the rank is constant.

    Golub and Pereyra (1973), "The differentiation of pseudo-inverses and nonlinear least squares problems
    whose variables separate", equation 4.12.
    """
    th, ph = adjoint(t, xp), adjoint(y, xp)
    left, right = product(y, ph, th, xp=xp), product(th, ph, y, xp=xp)
    out = -product(y, t, y, xp=xp)
    return out + left - product(left, x, y, xp=xp) + right - product(y, x, right, xp=xp)


cholesky = primitive(
    "linalg.cholesky",
    "(x, /, *, upper=False)",
    (cholesky_vjp,),
    (cholesky_jvp,),
    prepare={"x": positive},
    cases=(case((3, 3)), case((2, 2, 2), upper=True)),
    batch="trailing",
    doc="Triangular factors of positive definite matrices.\n"
    "x: array; of shape (..., n, n), Hermitian and positive definite\n"
    "upper: bool; whether the factor U with U^H U = x comes, not L with L L^H = x\n"
    "The gradient is Hermitian: the derivative of the Hermitian part of `x`.",
)
qr = primitive(
    "linalg.qr",
    "(x, /, *, mode='reduced')",
    (qr_vjp,),
    (qr_jvp,),
    outputs=("Q", "R"),
    result=QRResult,
    prepare={"x": ramp},
    invariant=qr_invariant,
    cases=(
        case((3, 2)),
        case((2, 2, 3)),
        case((2, 2), mode="complete"),
        case((4, 2), mode="complete"),
    ),
    batch="trailing",
    doc="Orthonormal and upper triangular factors.\n"
    "x: array; of shape (..., n, m), its first min(n, m) columns linearly independent\n"
    "mode: str; ``'reduced'``, or ``'complete'`` for a square Q\n"
    "returns: QRResult; of `Q` and `R`\n"
    "The columns that complete Q are any that do: their derivative is that which turns them no more than the "
    "others make them, right for a function of the space that they span.",
)
pinv = primitive(
    "linalg.pinv",
    "(x, /, *, rtol=None)",
    (pinv_vjp,),
    (pinv_jvp,),
    prepare={"x": ramp},
    fixed={"rtol": "a setting, which nothing differentiates by"},
    cases=(case((3, 2)), case((2, 2, 3), rtol=1e-5)),
    batch="trailing",
    doc="Pseudo-inverses (Moore and Penrose).\n"
    "x: array; of shape (..., n, m)\n"
    "rtol: float or array; singular values below this part of the greatest count as zero\n"
    "returns: array; of shape (..., m, n)\n"
    "The derivative is that at constant rank.",
)
matrix_rank = constant(
    "linalg.matrix_rank",
    "(x, /, *, rtol=None)",
    fixed={"rtol": "a setting, which nothing differentiates by"},
    cases=(case((2, 3)), case((2, 3, 3), rtol=1e-5)),
    batch="trailing",
    doc="Ranks of matrices: how many singular values are not zero.\n"
    "x: array; of shape (..., n, m)\n"
    "rtol: float or array; singular values below this part of the greatest count as zero\n"
    "returns: array; integers, of shape (...)",
)
