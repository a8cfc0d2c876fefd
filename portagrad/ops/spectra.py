"""Eigenvalues and singular values, and their vectors, whose free phases no derivative depends on."""

from typing import Any, NamedTuple

from portagrad.backend import KIND
from portagrad.config import debugging
from portagrad.errors import ConcretizationError, NonDifferentiableError
from portagrad.op import case, primitive
from portagrad.ops.decompositions import completed, hermitian, product, ramp, reduced, scale, spread, weighed
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


def of_vectors(name: str, part: Any, w: Any, *gs: Any, xp: Any) -> Any:
    """What the cotangents `gs` of vectors contribute; nothing where they are 0, whatever values are equal.

    In debug mode an error takes the place of NaN.
    """
    used = False
    for g in gs:
        used = used | xp.any(g != 0, axis=(-2, -1), keepdims=True)
    if debugging():
        refuse_equal(name, w, used, xp)
    return xp.where(used, part, 0.0)


def refuse_equal(name: str, w: Any, used: Any, xp: Any) -> None:
    """Raise where vectors of equal values are used, as far as the numbers are known."""
    missing = xp.any(xp.isnan(gaps(w, xp)) & used)
    try:
        raises = bool(missing)
    except ConcretizationError:  # they are others in each example or run
        return
    if raises:
        raise NonDifferentiableError(
            f"{name}: vectors of equal values are any basis of their space and have no derivative: it would "
            f"be NaN. Use the values alone, or a matrix whose values differ (debug mode looks for this)"
        )


def eigh_vjp(g: Any, eigenvalues: Any, eigenvectors: Any, xp: Any) -> Any:
    """The Hermitian part of V (diag(g_w) + F o V^H g_V) V^H, F being 1 / (w_j - w_i).

    Giles (2008), "Collected matrix derivative results for forward and reverse mode algorithmic
    differentiation", section 3.1. Any phase of the eigenvectors drops out of a function that does not depend
    on it.
    """
    v, back = eigenvectors, adjoint(eigenvectors, xp)
    turned = gaps(eigenvalues, xp) * xp.matmul(back, g[1])
    inner = spread(g[0], xp) + of_vectors("linalg.eigh", turned, eigenvalues, g[1], xp=xp)
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


def turn(x: Any, s: Any, xp: Any) -> Any:
    """The imaginary diagonal of x over the singular values: how phases turn. Zero for real matrices."""
    return 1j * xp.imag(xp.linalg.diagonal(x)) / s


def svd_vjp(g: Any, U: Any, S: Any, Vh: Any, xp: Any) -> Any:
    """Transpose of `svd_jvp`.

    Townsend (2016), "Differentiating the singular value decomposition"; for complex matrices Wan and Zhang
    (2019), "Automatic differentiation for complex valued SVD". With X = U^H g_U and Y = V^H g_V:
    U (F o (X - X^H) S + S F o (Y - Y^H) + g_S + i Im diag(X) / S) V^H, and what lies outside U and V.
    """
    k = S.shape[-1]
    (u, gu), (v, gv) = [reduced(*pair, k, xp) for pair in ((U, g[0]), (adjoint(Vh, xp), adjoint(g[2], xp)))]
    uh, vh = adjoint(u, xp), adjoint(v, xp)
    f, left, right = gaps(S * S, xp), xp.matmul(uh, gu), xp.matmul(vh, gv)
    inner = scale(f * (left - adjoint(left, xp)), S, xp)
    inner = inner + xp.expand_dims(S, axis=-1) * (f * (right - adjoint(right, xp)))
    if KIND[U.dtype] > 1:
        inner = inner + spread(turn(left, S, xp), xp)
    out = product(u, inner, vh, xp=xp)
    if u.shape[-2] > u.shape[-1]:
        out = out + xp.matmul(scale(gu - xp.matmul(u, left), 1 / S, xp), vh)
    if v.shape[-2] > v.shape[-1]:
        out = out + xp.matmul(scale(u, 1 / S, xp), adjoint(gv - xp.matmul(v, right), xp))
    return xp.matmul(scale(u, g[1], xp), vh) + of_vectors("linalg.svd", out, S, gu, gv, xp=xp)


def svd_jvp(t: Any, U: Any, S: Any, Vh: Any, xp: Any) -> Any:
    """With P = U^H dA V and F = 1 / (s_j^2 - s_i^2): dS = diag(P), dU = U (F o (P S + S P^H)) and
    dV = V (F o (S P + P^H S)), and what lies outside U and V. Townsend (2016), equations 16 to 18.
    """
    k, V = S.shape[-1], adjoint(Vh, xp)
    u, v = U[..., :k], V[..., :k]
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
    du, dv = completed(du, U, xp), completed(dv, V, xp)
    return du, real(xp.linalg.diagonal(inner), xp), adjoint(dv, xp)


def svdvals_vjp(g: Any, x: Any, xp: Any) -> Any:
    u, _, vh = xp.linalg.svd(x, full_matrices=False)
    return xp.matmul(scale(u, g, xp), vh)


def svdvals_jvp(t: Any, x: Any, xp: Any) -> Any:
    u, _, vh = xp.linalg.svd(x, full_matrices=False)
    return real(xp.linalg.diagonal(product(adjoint(u, xp), t, adjoint(vh, xp), xp=xp)), xp)


def svd_invariant(u: Any, s: Any, vh: Any, xp: Any) -> tuple[Any, ...]:
    """Singular values, projections on single vectors, weighted, and on the spaces that complete them."""
    k, v = s.shape[-1], adjoint(vh, xp)
    first = weighed(u[..., :k], adjoint(v[..., :k], xp), xp)
    return (
        s,
        first,
        *[weighed(a[..., :k], adjoint(a[..., :k], xp), xp) for a in (u, v)],
        *[xp.matmul(a[..., k:], adjoint(a[..., k:], xp)) for a in (u, v)],
    )


def eig_vjp(g: Any, eigenvalues: Any, eigenvectors: Any, xp: Any) -> Any:
    """V^-H (diag(g_w) + conj(F) o V^H G) V^H, F being 1 / (w_j - w_i), for vectors of length 1.

    Giles (2008), section 3.1; G is g_V less what lengthens the vectors: g_j - v_j Re(v_j^H g_j), the
    transpose of the normalisation in `eig_jvp`.
    """
    v, back = eigenvectors, adjoint(eigenvectors, xp)
    longer = xp.real(xp.sum(xp.conj(v) * g[1], axis=-2))
    across = g[1] - scale(v, longer, xp)
    turned = xp.conj(gaps(eigenvalues, xp)) * xp.matmul(back, across)
    inner = spread(g[0], xp) + of_vectors("linalg.eig", turned, eigenvalues, g[1], xp=xp)
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
        case((3, 2)),
        case((2, 4)),
    ),
    batch="trailing",
    doc="Singular value decompositions.\n"
    "x: array; of shape (..., n, m)\n"
    "full_matrices: bool; whether U and Vh are square; if not, they have min(n, m) columns and rows\n"
    "returns: SVDResult; of `U`, `S` and `Vh`, the singular values `S` falling\n"
    "Singular vectors of equal singular values have no derivative: it is NaN. The vectors that complete the "
    "basis of an oblong matrix are any that do: their derivative is that which turns them no more than the "
    "others make them, right for a function of the space that they span.",
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
