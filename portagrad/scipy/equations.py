"""root, least_squares and curve_fit: SciPy's solvers with exact Jacobians."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from portagrad.scipy.vector import Vector, optimize
from portagrad.tensor import bare
from portagrad.transforms.tree import is_array

_WITH_JACOBIAN = ("hybr", "lm")


def root(
    f: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    *,
    method: str = "hybr",
    tol: float | None = None,
    callback: Callable[[Any, Any], Any] | None = None,
    options: dict[str, Any] | None = None,
) -> Any:
    """A solution x of ``f(x, *args) == 0`` by ``scipy.optimize.root``, with the exact Jacobian.

    The result is a number to every differentiation; ``pg.root(f, x0, *args, solver=lambda g, x0:
    pg.scipy.root(g, x0).x)`` is this solver with derivatives by `args`.

    Parameters
    ----------
    f : callable
        Returns a pytree of arrays with as many elements as `x0`.
    x0 : pytree
        Real floating arrays, of any library, on one device.
    args : tuple of pytrees
        What `f` takes besides.
    method, tol, callback, options
        As SciPy's; `callback` is called with x as a pytree, and the residuals as a vector. Methods without a
        Jacobian (``"krylov"``, ``"broyden1"``, ...) get none.

    Returns
    -------
    scipy.optimize.OptimizeResult
        SciPy's, with `x` as a pytree like `x0`.

    Raises
    ------
    BackendUnavailableError
        If SciPy is not installed.
    TypeError, NonDifferentiableError
        If `f` returns no arrays, or another number of equations than there are unknowns, or `x0` holds other
        than real floating arrays.

    Examples
    --------
    >>> found = root(lambda x: pg.cos(x) - x, np.asarray([1.0]))
    >>> found.x.round(6)
    array([0.739085])
    """
    scipy = optimize("root")
    space = Vector("root", x0)

    def equations(x: Any) -> Any:
        return f(x, *args)

    def residuals(v: Any) -> Any:
        y = space.host(space.residuals(equations(space.tree(v))))
        if y.shape != v.shape:
            raise TypeError(
                f"pg.scipy.root: f returned {y.size} equations for {v.size} unknowns; there must be one for "
                f"each, or use pg.scipy.least_squares"
            )
        return y

    given: dict[str, Any] = {"method": method, "tol": tol, "options": options}
    if method.lower() in _WITH_JACOBIAN:
        given["jac"] = space.jacobian(equations)
    if callback is not None:
        given["callback"] = lambda v, y: callback(space.tree(v), y)
    found = scipy.root(residuals, space.start, **given)
    found.x = space.tree(found.x)
    return found


def least_squares(
    f: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    *,
    bounds: Any = None,
    method: str = "trf",
    tr_solver: str | None = None,
    **options: Any,
) -> Any:
    """Minimize half the sum of squares of residuals with ``scipy.optimize.least_squares``.

    The Jacobian is exact, in forward or reverse mode, whichever is the cheaper; with ``tr_solver="lsmr"`` it
    is never formed: SciPy gets products with it and its transpose.

    Parameters
    ----------
    f : callable
        ``f(x, *args)`` returns a pytree of real arrays: the residuals.
    x0 : pytree
        Real floating arrays, of any library, on one device.
    args : tuple of pytrees
        What `f` takes besides.
    bounds : pair of pytrees, optional
        ``(lower, upper)``, each None, a number, or of x0's structure.
    method, tr_solver, **options
        As SciPy's (``ftol``, ``loss``, ``x_scale``, ``max_nfev``, ...).

    Returns
    -------
    scipy.optimize.OptimizeResult
        SciPy's, with `x` as a pytree like `x0`; ``fun``, ``jac`` and ``grad`` are those of the vector of all
        unknowns.

    Raises
    ------
    BackendUnavailableError
        If SciPy is not installed.
    TypeError, NonDifferentiableError
        If `f` returns no arrays, or `x0` holds other than real floating arrays.

    Examples
    --------
    >>> t, y = np.asarray([0.0, 1.0, 2.0]), np.asarray([3.0, 1.5, 0.75])
    >>> found = least_squares(lambda p: p["a"] * pg.exp(-p["b"] * t) - y, {"a": 1.0, "b": 1.0})
    >>> found.success, round(float(found.x["a"]), 6), round(float(found.x["b"]), 6)
    (True, 3.0, 0.693147)
    """
    scipy = optimize("least_squares")
    space = Vector("least_squares", x0)

    def equations(x: Any) -> Any:
        return f(x, *args)

    def operator(v: Any) -> Any:
        return space.operator(equations, v)

    found = scipy.least_squares(
        lambda v: space.host(space.residuals(equations(space.tree(v)))),
        space.start,
        jac=operator if tr_solver == "lsmr" else space.jacobian(equations),
        bounds=space.bounds((None, None) if bounds is None else bounds),
        method=method,
        tr_solver=tr_solver,
        **options,
    )
    found.x = space.tree(found.x)
    return found


def curve_fit(
    f: Callable[..., Any],
    xdata: Any,
    ydata: Any,
    p0: Any = None,
    sigma: Any = None,
    *,
    absolute_sigma: bool = False,
    bounds: Any = None,
    method: str | None = None,
    **options: Any,
) -> tuple[Any, Any]:
    """Fit a function to data with ``scipy.optimize.curve_fit`` and the exact Jacobian.

    Parameters
    ----------
    f : callable
        ``f(xdata, *parameters)`` returns an array shaped as `ydata`.
    xdata : pytree
        Handed to `f` as it is.
    ydata : array
        The measured values, on the device where `f` runs.
    p0 : sequence of pytrees, optional
        Where to start; a Python float becomes an array beside `ydata`. By default a 1.0 for each parameter
        that `f` names.
    sigma, absolute_sigma, method, **options
        As SciPy's; `sigma` may live on any device.
    bounds : pair, optional
        ``(lower, upper)``, each None, a number, or a tuple like `p0`.

    Returns
    -------
    popt : tuple of pytrees
        The parameters, like `p0`.
    pcov : numpy.ndarray, shape (n, n)
        Their covariance, over the vector of all unknowns.

    Raises
    ------
    BackendUnavailableError
        If SciPy is not installed.
    TypeError
        If `f` takes its parameters as ``*args`` and there is no `p0`.

    Examples
    --------
    >>> t = np.linspace(0.0, 4.0, 20)
    >>> (a, b), pcov = curve_fit(lambda t, a, b: a * pg.exp(-b * t), t, 2.5 * np.exp(-1.3 * t))
    >>> round(float(a), 6), round(float(b), 6), pcov.shape
    (2.5, 1.3, (2, 2))
    """
    scipy = optimize("curve_fit")
    space = Vector("curve_fit", _start(f) if p0 is None else tuple(p0), ydata if is_array(ydata) else None)

    def model(p: Any) -> Any:
        return f(xdata, *p)

    matrix = space.jacobian(model)
    given: dict[str, Any] = {"sigma": _host(space, sigma), "absolute_sigma": absolute_sigma, "method": method}
    if bounds is not None:
        given["bounds"] = space.bounds(bounds)
    popt, pcov = scipy.curve_fit(
        lambda _, *v: space.host(space.residuals(model(space.tree(v)))),
        space.start,  # SciPy only hands it on
        _host(space, ydata).reshape(-1),
        space.start,
        jac=lambda _, *v: matrix(v),
        **given,
        **options,
    )
    return space.tree(popt), pcov


def _start(f: Callable[..., Any]) -> tuple[float, ...]:
    """A one for each parameter that `f` names after the data."""
    names = list(inspect.signature(f).parameters.values())[1:]
    if not names or any(p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in names):
        raise TypeError(
            "pg.scipy.curve_fit: f does not name its parameters, so that their number is unknown; pass p0"
        )
    return (1.0,) * len(names)


def _host(space: Vector, x: Any) -> Any:
    """Data for SciPy, on the host in its shape."""
    return space.host(x).reshape(tuple(x.shape)) if is_array(bare(x)) else x
