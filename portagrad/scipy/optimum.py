"""minimize: SciPy's minimizers with exact gradients, Hessians and products with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import portagrad as pg
from portagrad.scipy.vector import Vector, optimize
from portagrad.transforms.gradient import value_and_grad
from portagrad.transforms.matrices import hessian
from portagrad.transforms.tree import flatten, is_array

_WITHOUT_GRADIENT = ("nelder-mead", "powell", "cobyla", "cobyqa")
_WITH_PRODUCTS = ("newton-cg", "trust-ncg", "trust-krylov", "trust-constr")
_WITH_HESSIAN = ("dogleg", "trust-exact")


def minimize(
    f: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    *,
    method: str | Callable[..., Any] | None = None,
    bounds: Any = None,
    constraints: Any = (),
    tol: float | None = None,
    callback: Callable[[Any], Any] | None = None,
    options: dict[str, Any] | None = None,
) -> Any:
    """Minimize a scalar function of a pytree with ``scipy.optimize.minimize``.

    The function and its gradient run together on the device of `x0`, and go to the host with one transfer.
    Methods that use second derivatives get Hessian-vector products (Pearlmutter, 1994), or the Hessian where
    they need the matrix.

    Parameters
    ----------
    f : callable
        ``f(x, *args)`` returns a real array of shape ().
    x0 : pytree
        Real floating arrays, of any library, on one device. SciPy works in double precision; `f` is given
        arrays of the dtypes of `x0`.
    args : tuple of pytrees
        What `f` takes besides.
    method : str or callable, optional
        As SciPy's; by default BFGS, with bounds L-BFGS-B, with constraints SLSQP.
    bounds : pair of pytrees, optional
        ``(lower, upper)``, each None, a number, or of x0's structure.
    constraints : constraint or sequence of them
        ``scipy.optimize.NonlinearConstraint`` or SciPy's dictionaries, with functions of the pytree whose
        derivatives are computed here; ``LinearConstraint`` on the vector of all unknowns.
    tol, options
        As SciPy's.
    callback : callable, optional
        Called with the pytree after each iteration; StopIteration ends the search.

    Returns
    -------
    scipy.optimize.OptimizeResult
        SciPy's, with `x` and, where there is one, the gradient (``jac``, of trust-constr ``grad``) as pytrees
        like `x0`.

    Raises
    ------
    BackendUnavailableError
        If SciPy is not installed.
    TypeError, NonDifferentiableError
        If `f` does not return a real scalar, or `x0` holds other than real floating arrays.

    Examples
    --------
    >>> rosen = lambda p: (1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2
    >>> found = minimize(rosen, {"x": np.asarray(-1.2), "y": np.asarray(1.0)})
    >>> found.success, round(float(found.x["x"]), 4), round(float(found.x["y"]), 4)
    (True, 1.0, 1.0)
    """
    scipy = optimize("minimize")
    space = Vector("minimize", x0)
    name = method.lower() if isinstance(method, str) else method
    gradient = value_and_grad(f)

    def value(v: Any) -> float:
        return float(space.host(f(space.tree(v), *args))[0])

    def value_and_gradient(v: Any) -> tuple[float, Any]:
        y, g = gradient(space.tree(v), *args)
        whole = space.host(y, *flatten(g)[0])
        return float(whole[0]), whole[1:]

    def product(v: Any, t: Any) -> Any:
        return space.curvature(lambda x: f(x, *args), v, t)

    def matrix(v: Any) -> Any:
        found = hessian(lambda u: f(space.unknowns.tree(u), *args))(space.moved(v))
        return space.host(found).reshape(len(v), len(v))

    given: dict[str, Any] = {"method": method, "tol": tol, "options": options}
    if bounds is not None:
        given["bounds"] = scipy.Bounds(*space.bounds(bounds))
    if constraints:
        several = isinstance(constraints, Sequence) and not isinstance(constraints, dict)
        each = constraints if several else [constraints]
        given["constraints"] = [_constraint(scipy, space, c, name == "trust-constr") for c in each]
    if callback is not None:
        given["callback"] = lambda v, *state: callback(space.tree(v))
    if name not in _WITHOUT_GRADIENT:
        given["jac"] = True
    if name in _WITH_PRODUCTS or callable(method):
        given["hessp"] = product
    elif name in _WITH_HESSIAN:
        given["hess"] = matrix
    found = scipy.minimize(value_and_gradient if "jac" in given else value, space.start, **given)
    for part in ("x", "jac", "grad"):  # of trust-constr, `jac` belongs to the constraints
        if getattr(found.get(part), "shape", None) == space.start.shape:
            found[part] = space.tree(found[part])
    return found


def _constraint(scipy: Any, space: Vector, given: Any, curved: bool) -> Any:
    """A constraint on the vector with the derivatives of its function; second ones only if `curved`."""
    if isinstance(given, dict):
        fun, own = given["fun"], given.get("args", ())
        high = {"eq": 0.0, "ineq": math.inf}[given["type"].lower()]
        given = scipy.NonlinearConstraint(lambda x: fun(x, *own), 0.0, high)
    if not isinstance(given, scipy.NonlinearConstraint):
        return given

    def residuals(x: Any) -> Any:
        y = given.fun(x)
        return space.residuals(space.moved(y) if isinstance(y, int | float) and not is_array(y) else y)

    def curvature(v: Any, weights: Any) -> Any:
        """The Hessian of the weighted sum of the constraints, as products."""
        from scipy.sparse.linalg import LinearOperator

        def weighted(x: Any) -> Any:
            y = residuals(x)
            return pg.sum(y * pg.astype(space.moved(weights), y.dtype))

        def product(t: Any) -> Any:
            return space.curvature(weighted, v, t.reshape(-1))

        return LinearOperator((len(v), len(v)), matvec=product, dtype=float)

    return scipy.NonlinearConstraint(
        lambda v: space.host(residuals(space.tree(v))),
        given.lb,
        given.ub,
        jac=space.jacobian(residuals),
        **({"hess": curvature, "keep_feasible": given.keep_feasible} if curved else {}),
    )
