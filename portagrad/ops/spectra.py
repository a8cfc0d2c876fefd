"""Eigenvalues and singular values, and their vectors, whose free phases no derivative depends on."""

from typing import Any, NamedTuple

from portagrad.backend import KIND
from portagrad.errors import NonDifferentiableError
from portagrad.op import case, primitive
from portagrad.ops.decompositions import hermitian, product, ramp, scale, spread, weighed
from portagrad.ops.linalg import SQUARE, adjoint, identity
from portagrad.ops.norms import real


class EighResult(NamedTuple):
    """Eigenvalues and eigenvectors of Hermitian matrices."""

    eigenvalues: Any
    eigenvectors: Any


class EigResult(NamedTuple):
    """Eigenvalues and eigenvectors of any square matrices."""

    eigenvalues: Any
    eigenvectors: Any


class SVDResult(NamedTuple):
    """Left singular vectors, singular values, right singular vectors."""

    U: Any
    S: Any
    Vh: Any


def gaps(w: Any, xp: Any) -> Any:
    """1 / (w_j - w_i), zeros on the diagonal, and NaN where two values are equal."""
    difference = xp.expand_dims(w, axis=-2) - xp.expand_dims(w, axis=-1)
    equal = difference == 0
    eye = identity(w, xp)
    inverse = xp.where(equal, xp.nan, 1 / xp.where(equal, 1.0, difference))
    return xp.where(eye == 1, 0.0, inverse)


def eigh_vjp(g: Any, eigenvalues: Any, eigenvectors: Any, xp: Any) -> Any:
    """The Hermitian part of V (diag(g_w) + F o V^H g_V) V^H, F being 1 / (w_j - w_i).

    Giles (2008), "Collected matrix derivative results for forward and reverse mode algorithmic
    differentiation", section 3.1. Any phase of the eigenvectors drops out of a function that does not depend
    on it.
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


def svd_invariant(u: Any, s: Any, vh: Any, xp: Any) -> tuple[Any, ...]:
    k = s.shape[-1]
    u, vh = u[..., :k], vh[..., :k, :]
    return s, weighed(u, vh, xp), weighed(u, adjoint(u, xp), xp), weighed(adjoint(vh, xp), vh, xp)


def eig_vjp(g: Any, eigenvalues: Any, eigenvectors: Any, xp: Any) -> Any:
    """V^-H (diag(g_w) + conj(F) o V^H G) V^H, F being 1 / (w_j - w_i), for vectors of length 1.

    Giles (2008), section 3.1; G is g_V less what lengthens the vectors: g_j - v_j Re(v_j^H g_j), the
    transpose of the normalisation in `eig_jvp`.
    """
    v, back = eigenvectors, adjoint(eigenvectors, xp)
    longer = xp.real(xp.sum(xp.conj(v) * g[1], axis=-2))
    across = g[1] - scale(v, longer, xp)
    inner = spread(g[0], xp) + xp.conj(gaps(eigenvalues, xp)) * xp.matmul(back, across)
    return xp.linalg.solve(back, xp.matmul(inner, back))


def eig_jvp(t: Any, eigenvalues: Any, eigenvectors: Any, xp: Any) -> tuple[Any, Any]:
    """dw = diag(V^-1 dA V), dV = V (F o V^-1 dA V), less what would lengthen the vectors."""
    v = eigenvectors
    moved = xp.linalg.solve(v, xp.matmul(xp.astype(t, v.dtype), v))
    turned = xp.matmul(v, gaps(eigenvalues, xp) * moved)
    longer = xp.real(xp.sum(xp.conj(v) * turned, axis=-2))
    return xp.linalg.diagonal(moved), turned - scale(v, longer, xp)


def eigvals_vjp(g: Any, x: Any, xp: Any) -> Any:
    back = adjoint(xp.linalg.eig(x)[1], xp)
    return xp.linalg.solve(back, xp.expand_dims(g, axis=-1) * back)


def eigvals_jvp(t: Any, x: Any, xp: Any) -> Any:
    v = xp.linalg.eig(x)[1]
    return xp.linalg.diagonal(xp.linalg.solve(v, xp.matmul(xp.astype(t, v.dtype), v)))


def eig_invariant(w: Any, v: Any, xp: Any) -> tuple[Any, Any]:
    """exp(A / 4) by its spectrum, and sums over the eigenvectors: neither order nor phases matter."""
    size = xp.real(v) ** 2 + xp.imag(v) ** 2
    return xp.matmul(scale(v, xp.exp(w / 4), xp), xp.linalg.inv(v)), xp.sum(size * size, axis=-1)


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
eig = primitive(
    "linalg.eig",
    "(x, /)",
    (eig_vjp,),
    (eig_jvp,),
    outputs=("eigenvalues", "eigenvectors"),
    result=EigResult,
    prepare={"x": ramp},
    invariant=eig_invariant,
    cases=SQUARE,
    batch="trailing",
    since="2025.12",
    doc="Eigenvalues and eigenvectors of square matrices.\n"
    "x: array; of shape (..., n, n)\n"
    "returns: EigResult; of `eigenvalues` and `eigenvectors`, in columns of length 1, both complex\n"
    "Eigenvectors of equal eigenvalues have no derivative: it is NaN. A function that depends on the phase "
    "of eigenvectors has the derivative that leaves the phase alone.",
)
eigvals = primitive(
    "linalg.eigvals",
    "(x, /)",
    (eigvals_vjp,),
    (eigvals_jvp,),
    prepare={"x": ramp},
    invariant=lambda w, *, xp: (xp.sum(xp.exp(w / 4), axis=-1), xp.sum(w**3, axis=-1)),
    cases=SQUARE,
    batch="trailing",
    since="2025.12",
    doc="Eigenvalues of square matrices.\n"
    "x: array; of shape (..., n, n)\n"
    "returns: array; complex, of shape (..., n)\n"
    "Second derivatives are NaN where eigenvalues are equal.",
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
