"""Decompositions of matrices; what depends on a choice of phases is differentiated as if it did not."""

from typing import Any, NamedTuple

from portagrad.backend import KIND
from portagrad.errors import NonDifferentiableError
from portagrad.op import case, constant, primitive
from portagrad.ops.linalg import SQUARE, adjoint, identity
from portagrad.ops.norms import real


class EighResult(NamedTuple):
    """Eigenvalues and eigenvectors of Hermitian matrices."""

    eigenvalues: Any
    eigenvectors: Any


class SVDResult(NamedTuple):
    """Left singular vectors, singular values, right singular vectors."""

    U: Any
    S: Any
    Vh: Any


class QRResult(NamedTuple):
    """Orthonormal and triangular factor."""

    Q: Any
    R: Any


class EigResult(NamedTuple):
    """Eigenvalues and eigenvectors of any square matrices."""

    eigenvalues: Any
    eigenvectors: Any


def ramp(x: Any, xp: Any) -> Any:
    """A matrix with 3, 6, 9 and so on added along the diagonal: its values stay apart."""
    rows, columns = x.shape[-2:]
    eye = xp.eye(rows, columns, dtype=x.dtype, device=xp.device_of(x))
    return x / 2 + 3 * eye * xp.cumulative_sum(xp.sum(eye, axis=0))


def hermitian(x: Any, xp: Any) -> Any:
    """The Hermitian part."""
    return (x + adjoint(x, xp)) / 2


def positive(x: Any, xp: Any) -> Any:
    """A positive definite matrix."""
    return xp.matmul(x, adjoint(x, xp)) + x.shape[-1] * identity(x, xp)


def halved(x: Any, upper: bool, xp: Any) -> Any:
    """A triangle, its diagonal halved."""
    triangle = xp.triu(x) if upper else xp.tril(x)
    return triangle - identity(x, xp) * x / 2


def cholesky_vjp(g: Any, y: Any, upper: bool, xp: Any) -> Any:
    """Of A = L L^H: the Hermitian part of L^-H P L^-1, P being tril(L^H g) with its diagonal halved.

    Murray (2016), "Differentiation of the Cholesky decomposition", equation 10; an upper factor is L^H.
    """
    lower, g = (adjoint(y, xp), adjoint(g, xp)) if upper else (y, g)
    back = adjoint(lower, xp)
    left = xp.linalg.solve(back, halved(xp.matmul(back, g), False, xp))
    return hermitian(xp.linalg.solve(back, adjoint(left, xp)), xp)


def cholesky_jvp(t: Any, y: Any, upper: bool, xp: Any) -> Any:
    """dL = L P, P being tril(L^-1 dA L^-H) with its diagonal halved. Murray (2016), equation 8."""
    lower = adjoint(y, xp) if upper else y
    left = xp.linalg.solve(lower, hermitian(t, xp))
    inner = xp.linalg.solve(lower, adjoint(left, xp))
    moved = xp.matmul(lower, halved(inner, False, xp))
    return adjoint(moved, xp) if upper else moved


def gaps(w: Any, xp: Any) -> Any:
    """1 / (w_j - w_i), zeros on the diagonal, and NaN where two values are equal."""
    difference = xp.expand_dims(w, axis=-2) - xp.expand_dims(w, axis=-1)
    equal = difference == 0
    eye = identity(w, xp)
    inverse = xp.where(equal, xp.nan, 1 / xp.where(equal, 1.0, difference))
    return xp.where(eye == 1, 0.0, inverse)


def spread(w: Any, xp: Any) -> Any:
    """Values as a diagonal matrix."""
    return xp.expand_dims(w, axis=-1) * identity(w, xp)


def scale(x: Any, w: Any, xp: Any) -> Any:
    """The columns of x, each times its number in w."""
    return x * xp.expand_dims(w, axis=-2)


def product(*factors: Any, xp: Any) -> Any:
    """A product of matrices, from the left."""
    out, *rest = factors
    for factor in rest:
        out = xp.matmul(out, factor)
    return out


def eigh_vjp(g: Any, eigenvalues: Any, eigenvectors: Any, xp: Any) -> Any:
    """The Hermitian part of V (diag(g_w) + F o V^H g_V) V^H, F being 1 / (w_j - w_i).

    Giles (2008), "Collected matrix derivative results", section 3.1. Any phase of the eigenvectors drops out
    of a function that does not depend on it.
    """
    v, back = eigenvectors, adjoint(eigenvectors, xp)
    inner = spread(g[0], xp) + gaps(eigenvalues, xp) * xp.matmul(back, g[1])
    return hermitian(product(v, inner, back, xp=xp), xp)


def eigh_jvp(t: Any, eigenvalues: Any, eigenvectors: Any, xp: Any) -> tuple[Any, Any]:
    """dw = diag(V^H dA V), dV = V (F o V^H dA V). Giles (2008), section 3.1."""
    v = eigenvectors
    moved = product(adjoint(v, xp), hermitian(t, xp), v, xp=xp)
    return real(xp.linalg.diagonal(moved), xp), xp.matmul(v, gaps(eigenvalues, xp) * moved)


def eigvalsh_vjp(g: Any, x: Any, xp: Any) -> Any:
    v = xp.linalg.eigh(x)[1]
    return xp.matmul(scale(v, g, xp), adjoint(v, xp))


def eigvalsh_jvp(t: Any, x: Any, xp: Any) -> Any:
    v = xp.linalg.eigh(x)[1]
    return real(xp.linalg.diagonal(product(adjoint(v, xp), hermitian(t, xp), v, xp=xp)), xp)


def svd_parts(x: Any, full_matrices: bool, u: Any, vh: Any, xp: Any) -> tuple[Any, Any]:
    """U and V of the reduced decomposition; a full one of an oblong matrix has no derivative.

    The vectors that complete the basis there are any that do.
    """
    if full_matrices and x.shape[-1] != x.shape[-2]:
        raise NonDifferentiableError(
            f"linalg.svd: the full singular vectors of matrices of shape {tuple(x.shape[-2:])} are not "
            f"unique and have no derivative; pass full_matrices=False"
        )
    return u, adjoint(vh, xp)


def turn(x: Any, s: Any, xp: Any) -> Any:
    """The imaginary diagonal of x over the singular values: how phases turn. Zero for real matrices."""
    return 1j * xp.imag(xp.linalg.diagonal(x)) / s


def svd_vjp(g: Any, x_like: Any, U: Any, S: Any, Vh: Any, full_matrices: bool, xp: Any) -> Any:
    """Transpose of `svd_jvp`.

    Townsend (2016), "Differentiating the singular value decomposition"; for complex matrices Wan and Zhang
    (2019), "Automatic differentiation for complex valued SVD". With X = U^H g_U and Y = V^H g_V:
    U (F o (X - X^H) S + S F o (Y - Y^H) + g_S + i Im diag(X) / S) V^H, and what lies outside U and V.
    """
    u, v = svd_parts(x_like, full_matrices, U, Vh, xp)
    uh, vh, gu, gv = adjoint(u, xp), adjoint(v, xp), g[0], adjoint(g[2], xp)
    f, left, right = gaps(S * S, xp), xp.matmul(uh, gu), xp.matmul(vh, gv)
    inner = scale(f * (left - adjoint(left, xp)), S, xp) + spread(g[1], xp)
    inner = inner + xp.expand_dims(S, axis=-1) * (f * (right - adjoint(right, xp)))
    if KIND[U.dtype] > 1:
        inner = inner + spread(turn(left, S, xp), xp)
    out = product(u, inner, vh, xp=xp)
    if u.shape[-2] > u.shape[-1]:
        out = out + xp.matmul(scale(gu - xp.matmul(u, left), 1 / S, xp), vh)
    if v.shape[-2] > v.shape[-1]:
        out = out + xp.matmul(scale(u, 1 / S, xp), adjoint(gv - xp.matmul(v, right), xp))
    return out


def svd_jvp(t: Any, x_like: Any, U: Any, S: Any, Vh: Any, full_matrices: bool, xp: Any) -> Any:
    """With P = U^H dA V and F = 1 / (s_j^2 - s_i^2): dS = diag(P), dU = U (F o (P S + S P^H)) and
    dV = V (F o (S P + P^H S)), and what lies outside U and V. Townsend (2016), equations 16 to 18.
    """
    u, v = svd_parts(x_like, full_matrices, U, Vh, xp)
    inner, f, rows = product(adjoint(u, xp), t, v, xp=xp), gaps(S * S, xp), xp.expand_dims(S, axis=-1)
    back = adjoint(inner, xp)
    turned = f * (scale(inner, S, xp) + rows * back)
    if KIND[U.dtype] > 1:
        turned = turned + spread(turn(inner, S, xp), xp)
    du = xp.matmul(u, turned)
    dv = xp.matmul(v, f * (rows * inner + scale(back, S, xp)))
    if u.shape[-2] > u.shape[-1]:
        moved = xp.matmul(t, v)
        du = du + scale(moved - xp.matmul(u, inner), 1 / S, xp)
    if v.shape[-2] > v.shape[-1]:
        moved = xp.matmul(adjoint(t, xp), u)
        dv = dv + scale(moved - xp.matmul(v, back), 1 / S, xp)
    return du, real(xp.linalg.diagonal(inner), xp), adjoint(dv, xp)


def svdvals_vjp(g: Any, x: Any, xp: Any) -> Any:
    u, _, vh = xp.linalg.svd(x, full_matrices=False)
    return xp.matmul(scale(u, g, xp), vh)


def svdvals_jvp(t: Any, x: Any, xp: Any) -> Any:
    u, _, vh = xp.linalg.svd(x, full_matrices=False)
    return real(xp.linalg.diagonal(product(adjoint(u, xp), t, adjoint(vh, xp), xp=xp)), xp)


def weights(x: Any, xp: Any) -> Any:
    """1, 2, 3 and so on, one for each column."""
    return xp.cumulative_sum(xp.sum(identity(x, xp), axis=0))


def weighed(left: Any, right: Any, xp: Any) -> Any:
    """Columns of one matrix times rows of another, with weights: what no phases change."""
    return xp.matmul(scale(left, weights(left, xp), xp), right)


def svd_invariant(u: Any, s: Any, vh: Any, xp: Any) -> tuple[Any, ...]:
    k = s.shape[-1]
    u, vh = u[..., :k], vh[..., :k, :]
    return s, weighed(u, vh, xp), weighed(u, adjoint(u, xp), xp), weighed(adjoint(vh, xp), vh, xp)


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
    whose variables separate", theorem 4.3.
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
eigh = primitive(
    "linalg.eigh",
    "(x, /)",
    (eigh_vjp,),
    (eigh_jvp,),
    outputs=("eigenvalues", "eigenvectors"),
    result=EighResult,
    prepare={"x": lambda x, xp: hermitian(ramp(x, xp), xp)},
    invariant=lambda w, v, *, xp: (w, weighed(v, adjoint(v, xp), xp)),
    cases=SQUARE,
    batch="trailing",
    doc="Eigenvalues and eigenvectors of Hermitian matrices.\n"
    "x: array; of shape (..., n, n), Hermitian\n"
    "returns: EighResult; of `eigenvalues`, rising, and `eigenvectors`, in columns\n"
    "The gradient is Hermitian. Eigenvectors of equal eigenvalues have none: it is NaN. A function that "
    "depends on the phase of eigenvectors has the derivative that leaves the phase alone.",
)
eigvalsh = primitive(
    "linalg.eigvalsh",
    "(x, /)",
    (eigvalsh_vjp,),
    (eigvalsh_jvp,),
    prepare={"x": lambda x, xp: hermitian(ramp(x, xp), xp)},
    cases=SQUARE,
    batch="trailing",
    doc="Eigenvalues of Hermitian matrices, rising.\n"
    "x: array; of shape (..., n, n), Hermitian\n"
    "returns: array; of shape (..., n)\n"
    "The gradient is Hermitian; second derivatives are NaN where eigenvalues are equal.",
)
svd = primitive(
    "linalg.svd",
    "(x, /, *, full_matrices=True)",
    (svd_vjp,),
    (svd_jvp,),
    outputs=("U", "S", "Vh"),
    result=SVDResult,
    prepare={"x": ramp},
    invariant=svd_invariant,
    cases=(
        case((3, 3)),
        case((2, 3, 2), full_matrices=False),
        case((2, 3), full_matrices=False),
    ),
    batch="trailing",
    doc="Singular value decompositions.\n"
    "x: array; of shape (..., n, m)\n"
    "full_matrices: bool; whether U and Vh are square; if not, they have min(n, m) columns and rows\n"
    "returns: SVDResult; of `U`, `S` and `Vh`, the singular values `S` falling\n"
    "Singular vectors of equal singular values have no derivative: it is NaN. Oblong matrices are "
    "differentiated with ``full_matrices=False`` only.",
)
svdvals = primitive(
    "linalg.svdvals",
    "(x, /)",
    (svdvals_vjp,),
    (svdvals_jvp,),
    prepare={"x": ramp},
    cases=(case((3, 3)), case((2, 3, 2))),
    batch="trailing",
    doc="Singular values, falling.\n"
    "x: array; of shape (..., n, m)\n"
    "returns: array; of shape (..., min(n, m))\n"
    "Second derivatives are NaN where singular values are equal.",
)
pinv = primitive(
    "linalg.pinv",
    "(x, /, *, rtol=None)",
    (pinv_vjp,),
    (pinv_jvp,),
    prepare={"x": ramp},
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
    cases=(case((2, 3)), case((2, 3, 3), rtol=1e-5)),
    batch="trailing",
    doc="Ranks of matrices: how many singular values are not zero.\n"
    "x: array; of shape (..., n, m)\n"
    "rtol: float or array; singular values below this part of the greatest count as zero\n"
    "returns: array; integers, of shape (...)",
)
