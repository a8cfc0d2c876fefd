"""Triangular systems, which the derivatives of factorisations solve."""

from typing import Any

from portagrad.op import case, primitive
from portagrad.ops.linalg import adjoint, columns, regular


def triangle(x: Any, upper: bool, xp: Any) -> Any:
    """The triangle that counts; what is beyond it is not read."""
    return xp.triu(x) if upper else xp.tril(x)


def solve_triangular_forward(x1: Any, x2: Any, *, upper: bool = False, xp: Any) -> Any:
    return xp.linalg.solve(triangle(x1, upper, xp), x2)


def solve_triangular_x2(g: Any, x1: Any, x2_like: Any, upper: bool, xp: Any) -> Any:
    """A^-H g: the adjoint of a lower triangle is an upper one."""
    found = xp.linalg.solve_triangular(adjoint(x1, xp), columns(x2_like, g, xp), upper=not upper)
    return found[..., 0] if len(x2_like.shape) == 1 else found


def solve_triangular_x1(g: Any, x1: Any, x2_like: Any, y: Any, upper: bool, xp: Any) -> Any:
    """-A^-H g y^H, of which the triangle counts; Giles (2008), as for `solve`."""
    back = xp.linalg.solve_triangular(adjoint(x1, xp), columns(x2_like, g, xp), upper=not upper)
    return -triangle(xp.matmul(back, adjoint(columns(x2_like, y, xp), xp)), upper, xp)


def solve_triangular_x1_jvp(t: Any, x1: Any, x2_like: Any, y: Any, upper: bool, xp: Any) -> Any:
    """-A^-1 dA y."""
    change = xp.matmul(triangle(t, upper, xp), columns(x2_like, y, xp))
    moved = xp.linalg.solve_triangular(x1, change, upper=upper)
    return -moved[..., 0] if len(x2_like.shape) == 1 else -moved


solve_triangular = primitive(
    "linalg.solve_triangular",
    "(x1, x2, /, *, upper=False)",
    (solve_triangular_x1, solve_triangular_x2),
    (
        solve_triangular_x1_jvp,
        lambda t, x1, upper, xp: xp.linalg.solve_triangular(x1, t, upper=upper),
    ),
    forward=solve_triangular_forward,
    prepare={"x1": regular},
    cases=(
        case((3, 3), (3,)),
        case((2, 2), (2, 3), upper=True),
        case((2, 3, 3), (3,), upper=True),
        case((2, 2), (3, 2, 1)),
        case((10, 10), (10, 2)),
    ),
    batch="solution",
    since="",
    doc="Solutions of systems of linear equations whose matrices are triangular.\n"
    "x1: array; the matrices, of shape (..., n, n), of which one triangle is read\n"
    "x2: array; the right-hand sides, a vector of shape (n,) or matrices of shape (..., n, k)\n"
    "upper: bool; whether the upper triangle is meant, not the lower\n"
    "returns: array; of shape (..., n) or (..., n, k)",
)
