"""SciPy's solvers on SciPy's own test problems, on every device, in fewer evaluations than by differences."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize

import portagrad as pg
from portagrad.errors import ConcretizationError, NonDifferentiableError
from portagrad.scipy import curve_fit, least_squares, minimize, root

GRADIENT = ("CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP")
HESSIAN = ("Newton-CG", "trust-ncg", "trust-krylov", "trust-constr", "dogleg", "trust-exact")
VALUE = ("Nelder-Mead", "Powell")


def rosenbrock(x):
    return pg.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


# The maximum entropy problem of SciPy's test_optimize.py, after Berger et al. (1996).
F = np.asarray([[1, 1, 1], [1, 1, 0], [1, 0, 1], [1, 0, 0], [1, 0, 0]], float)
K = np.asarray([1.0, 0.3, 0.5])
ENTROPY_SOLUTION = np.asarray([0.0, -0.524869316, 0.487525860])


def entropy(x, f=F, k=K):
    return pg.log(pg.sum(pg.exp(f @ x))) - k @ x


class Counted:
    """A function that counts its calls."""

    def __init__(self, f):
        self.f, self.calls = f, 0

    def __call__(self, *args):
        self.calls += 1
        return self.f(*args)


def host(x):
    return np.asarray(pg.to_device(x, "numpy"))


def on(device, a, dtype="float64"):
    return pg.to_device(np.asarray(a, dtype), device)


PROBLEMS = {
    "rosenbrock": (rosenbrock, [-1.2, 1.0, 0.8], [1.0, 1.0, 1.0]),
    "himmelblau": (himmelblau, [2.5, 2.5], [3.0, 2.0]),
}


@pytest.mark.parametrize("method", [*GRADIENT, *HESSIAN, *VALUE])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_method_finds_the_minimum(method, problem):
    f, start, expected = PROBLEMS[problem]
    options = {"maxfun": 1_000} if method == "TNC" else None  # its own limit is 100
    found = minimize(f, np.asarray(start), method=method, tol=1e-8, options=options)
    np.testing.assert_allclose(found.x, expected, atol=3e-3 if method == "TNC" else 2e-4)
    assert found.x.dtype == np.float64 and found.fun < 1e-5


@pytest.mark.parametrize("method", ["CG", "BFGS", "L-BFGS-B", "SLSQP"])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_gradient_takes_fewer_evaluations_than_differences(method, problem):
    f, start, _ = PROBLEMS[problem]
    exact, differences = Counted(f), Counted(f)
    minimize(exact, np.asarray(start), method=method)
    scipy.optimize.minimize(lambda v: float(differences(v)), np.asarray(start), method=method)
    assert exact.calls < differences.calls


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_minimize_works_where_the_arrays_are(xp_device, dtype):
    f, k = on(xp_device, F, dtype), on(xp_device, K, dtype)
    x0 = {"low": on(xp_device, [0.0], dtype), "high": on(xp_device, [0.0, 0.0], dtype)}
    seen = []

    def of(tree, f, k):
        return entropy(pg.concat((tree["low"], tree["high"])), f, k)

    found = minimize(of, x0, (f, k), method="L-BFGS-B", callback=seen.append)
    assert (found.x["high"].dtype, pg.device(found.x["high"])) == (x0["high"].dtype, xp_device)
    x = np.concatenate([host(found.x["low"]), host(found.x["high"])])
    # The loss is the same along one line, so the values are compared.
    assert abs(float(entropy(x)) - float(entropy(ENTROPY_SOLUTION))) < 1e-5
    assert set(found.jac) == {"low", "high"} and np.abs(host(found.jac["high"])).max() < 1e-3
    assert len(seen) == found.nit and set(seen[-1]) == {"low", "high"}


def test_the_unknowns_may_differ_in_dtype_and_be_numbers():
    found = minimize(lambda t: pg.sum((t[0] - 2) ** 2) + (t[1] - 3) ** 2, (np.zeros(2, np.float32), 1.0))
    assert [x.dtype.name for x in found.x] == ["float32", "float64"]
    np.testing.assert_allclose(np.append(found.x[0], found.x[1]), [2, 2, 3], atol=1e-5)


def test_bounds_are_trees_numbers_or_nothing():
    def f(t):
        return pg.sum((t["a"] - 3) ** 2) + pg.sum((t["b"] + 1) ** 2)

    x0 = {"a": np.zeros((2, 2)), "b": np.asarray(0.5)}
    for bounds, a, b in (
        ((None, 2.0), 2.0, -1.0),
        (({"a": None, "b": 0.0}, {"a": np.full((2, 2), 1.5), "b": None}), 1.5, 0.0),
        ((0.0, None), 3.0, 0.0),
    ):
        found = minimize(f, x0, bounds=bounds)
        np.testing.assert_allclose(found.x["a"], np.full((2, 2), a), atol=1e-5)
        np.testing.assert_allclose(found.x["b"], b, atol=1e-5)
    with pytest.raises(ValueError, match=r"minimize: bounds do not have the structure of x0"):
        minimize(f, x0, bounds=({"a": 0.0}, None))
    with pytest.raises(TypeError, match=r"minimize: bounds must be a pair"):
        minimize(f, x0, bounds=3.0)


@pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
def test_constraints_are_functions_of_the_tree(method):
    """The nearest point of the unit disc, and of the line below it."""

    def f(t):
        return (t["x"] - 2) ** 2 + (t["y"] - 2) ** 2

    x0 = {"x": np.asarray(0.1), "y": np.asarray(0.2)}
    disc = scipy.optimize.NonlinearConstraint(lambda t: t["x"] ** 2 + t["y"] ** 2, -np.inf, 1.0)
    found = minimize(f, x0, method=method, constraints=disc)
    np.testing.assert_allclose([found.x["x"], found.x["y"]], np.sqrt([0.5, 0.5]), atol=2e-3)
    line = {"type": "eq", "fun": lambda t, c: t["x"] + t["y"] - c, "args": (1.0,)}
    found = minimize(f, x0, method=method, constraints=[disc, line] if method == "SLSQP" else (line,))
    np.testing.assert_allclose([found.x["x"], found.x["y"]], [0.5, 0.5], atol=2e-3)
    half = scipy.optimize.LinearConstraint([[1.0, 1.0]], -np.inf, 1.0)
    found = minimize(f, x0, method=method, constraints=half)
    np.testing.assert_allclose([found.x["x"], found.x["y"]], [0.5, 0.5], atol=2e-3)


# Equations of SciPy's test_minpack.py: two of them, and the pressure network with its exact solution.
def two_equations(x):
    return pg.stack((x[0] * pg.cos(x[1]) - 4, x[1] * x[0] - x[1] - 5))


def pressure_network(flow_rates):
    p = 0.5 * flow_rates**2
    return pg.concat((p[1:] - p[:1], pg.reshape(pg.sum(flow_rates), (1,)) - 15.0))


@pytest.mark.parametrize("method", ["hybr", "lm", "krylov", "df-sane"])
def test_root_solves_equations(method):
    found = root(two_equations, np.asarray([6.5, 0.9]), method=method)
    np.testing.assert_allclose(found.x, [6.50409711, 0.90841421], atol=1e-5)


def test_root_takes_fewer_evaluations_than_differences(xp_device):
    start = np.asarray([3.0, 1.0] * 8)
    exact, differences = Counted(pressure_network), Counted(pressure_network)
    found = root(exact, on(xp_device, start))
    np.testing.assert_allclose(host(found.x), np.ones(16) * 15 / 16, atol=1e-6)
    scipy.optimize.root(differences, start)
    assert exact.calls < differences.calls


def test_root_wants_an_equation_for_each_unknown():
    with pytest.raises(TypeError, match=r"root: f returned 1 equations for 2 unknowns"):
        root(lambda x: x[:1], np.ones(2))


# Problems of SciPy's test_least_squares.py.
def rosenbrock_residuals(x):
    return pg.stack((10 * (x[1] - x[0] ** 2), 1 - x[0]))


def broyden_tridiagonal(x):
    f = (3 - x) * x + 1
    zero = pg.zeros_like(x[:1])
    return f - pg.concat((zero, x[:-1])) - 2 * pg.concat((x[1:], zero))


@pytest.mark.parametrize(
    "options", [{}, {"method": "dogbox"}, {"method": "lm"}, {"tr_solver": "lsmr"}, {"loss": "soft_l1"}]
)
def test_least_squares_finds_the_minimum(options):
    found = least_squares(rosenbrock_residuals, np.asarray([-2.0, 1.0]), **options)
    np.testing.assert_allclose(found.x, [1.0, 1.0], atol=1e-5)


@pytest.mark.parametrize("tr_solver", ["exact", "lsmr"])
def test_least_squares_needs_no_differences(xp_device, tr_solver):
    start = -np.ones(5 if xp_device.backend.lazy else 20)
    x0 = {"x": on(xp_device, start)}
    exact, differences = Counted(broyden_tridiagonal), Counted(broyden_tridiagonal)
    found = least_squares(lambda t: exact(t["x"]), x0, tr_solver=tr_solver)
    scipy.optimize.least_squares(differences, start)
    assert found.cost < 1e-12 and found.success
    assert exact.calls < differences.calls
    assert pg.device(found.x["x"]) == xp_device


def test_least_squares_stays_in_bounds():
    found = least_squares(
        rosenbrock_residuals, np.asarray([-2.0, 1.0]), bounds=(None, np.asarray([0.5, 2.0]))
    )
    np.testing.assert_allclose(found.x, [0.5, 0.25], atol=1e-5)


def test_curve_fit_is_scipys(xp_device):
    rng = np.random.default_rng(0)
    t = np.linspace(0, 4, 30)
    y = 2.5 * np.exp(-1.3 * t) + 0.5 + 0.1 * rng.standard_normal(30)
    sigma = 0.1 + 0.1 * rng.random(30)

    def model(t, a, b, c):
        return a * pg.exp(-b * t) + c

    for options in (
        {},
        {"sigma": sigma},
        {"sigma": sigma, "absolute_sigma": True},
        {"sigma": np.diag(sigma)},
    ):
        expected, covariance = scipy.optimize.curve_fit(
            lambda t, a, b, c: a * np.exp(-b * t) + c, t, y, **options
        )
        popt, pcov = curve_fit(model, on(xp_device, t), on(xp_device, y), **options)
        np.testing.assert_allclose([float(host(p)) for p in popt], expected, rtol=1e-5)
        np.testing.assert_allclose(pcov, covariance, rtol=1e-3)
    assert all(pg.device(p) == xp_device for p in popt)


def test_curve_fit_takes_trees_and_bounds():
    t = np.linspace(0, 4, 30)
    y = 2.5 * np.exp(-1.3 * t)

    def model(t, p):
        return p["a"] * pg.exp(-p["b"] * t)

    p0 = ({"a": 1.0, "b": 1.0},)
    (found,), _ = curve_fit(model, t, y, p0, bounds=(0.0, ({"a": 2.0, "b": None},)))
    np.testing.assert_allclose(found["a"], 2.0, atol=1e-6)
    with pytest.raises(TypeError, match="curve_fit: f does not name its parameters"):
        curve_fit(lambda t, *p: t, t, y)


def test_solutions_by_scipy_are_differentiated():
    def solution(a):
        return pg.root(lambda x, a: x**3 - a, np.ones(1), a, solver=lambda g, x0: root(g, x0).x)

    np.testing.assert_allclose(pg.grad(lambda a: pg.sum(solution(a)))(np.asarray([8.0])), [1 / 12], rtol=1e-6)


@pytest.mark.parametrize("solve", [minimize, root, least_squares])
def test_a_solver_refuses_what_it_cannot_solve(solve):
    with pytest.raises(NonDifferentiableError, match=rf"pg\.scipy\.{solve.__name__}: x0 holds .*int64"):
        solve(lambda x: x, np.asarray([1, 2]))
    with pytest.raises(ConcretizationError, match=rf"{solve.__name__}: x0 is being differentiated"):
        pg.grad(lambda x: solve(lambda y: y, x).x)(np.ones(2))
    with pytest.raises(TypeError, match="no array"):
        solve(lambda x: x, ())


def test_a_loss_that_is_no_scalar_says_so():
    with pytest.raises(TypeError, match=r"returned shape \(2,\), not a scalar"):
        minimize(lambda x: x, np.ones(2))
    with pytest.raises(TypeError, match=r"least_squares: f returned a object"):
        least_squares(lambda x: object(), np.ones(2))
