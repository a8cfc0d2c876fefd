"""root and fixed_point: the derivatives of a solution are those of the implicit function theorem."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import optimize

import portagrad as pg
from portagrad.testing import check_grads


def square_root(a: Any, **options: Any) -> Any:
    return pg.root(lambda x, a: x * x - a, pg.asarray(np.ones(np.shape(a))), a, **options)


def test_a_solution_has_the_derivatives_of_its_formula_to_every_order() -> None:
    a = np.asarray(4.0)
    f: Any = square_root
    for expected in (2.0, 1 / 4, -1 / 32, 3 / 256):
        np.testing.assert_allclose(f(a), expected, rtol=1e-12)
        f = pg.grad(f)
    _, t = pg.jvp(pg.grad(square_root), (a,), (np.asarray(1.0),))
    np.testing.assert_allclose(t, -1 / 32, rtol=1e-12)


def test_keplers_equation_in_every_mix_of_modes() -> None:
    """E - e sin E = M; dE/dM = 1 / (1 - e cos E)."""

    def anomaly(mean: Any, e: Any) -> Any:
        return pg.root(lambda x, mean, e: x - e * pg.sin(x) - mean, np.ones(3), mean, e)

    mean, e = np.asarray([0.3, 1.0, 2.5]), np.asarray([0.1, 0.5, 0.8])
    check_grads(anomaly, (mean, e), order=2)
    x = anomaly(mean, e)
    np.testing.assert_allclose(pg.jacrev(anomaly)(mean, e), np.diag(1 / (1 - e * np.cos(x))), atol=1e-12)


def test_unknowns_are_pytrees_and_arguments_too() -> None:
    def f(x: Any, p: Any) -> Any:
        return {"u": p["A"] @ x["u"] - p["b"] + x["v"], "v": x["v"] - pg.sum(p["b"]) * p["n"]}

    rng = np.random.default_rng(0)
    p = {"A": rng.standard_normal((3, 3)) + 3 * np.eye(3), "b": rng.standard_normal(3), "n": 2}
    x0 = {"u": np.zeros(3), "v": np.zeros(())}

    def total(A: Any, b: Any) -> Any:
        x = pg.root(f, x0, {**p, "A": A, "b": b})
        return pg.sum(x["u"] ** 2) + x["v"]

    def direct(A: Any, b: Any) -> Any:
        v = pg.sum(b) * 2
        return pg.sum(pg.linalg.solve(A, b - v) ** 2) + v

    for mine, its in zip(
        pg.grad(total, (0, 1))(p["A"], p["b"]), pg.grad(direct, (0, 1))(p["A"], p["b"]), strict=True
    ):
        np.testing.assert_allclose(mine, its, rtol=1e-10)


def test_any_solver_will_do_and_sees_raw_arrays() -> None:
    seen = []

    def solver(g: Any, x0: Any) -> Any:
        seen.append((type(x0), type(g(x0))))
        return optimize.root(g, x0).x

    def f(x: Any, a: Any) -> Any:
        return pg.stack([x[0] ** 2 + x[1] - a, x[0] - x[1]])

    gradient = pg.grad(lambda a: pg.root(f, np.ones(2), a, solver=solver)[0])(np.asarray(6.0))
    np.testing.assert_allclose(gradient, 1 / 5, rtol=1e-8)
    assert set(seen) == {(np.ndarray, np.ndarray)}


def test_a_fixed_point_and_its_derivatives() -> None:
    """x = softmax(W x): contracting, without a formula."""
    weights = np.random.default_rng(1).uniform(-0.5, 0.5, (3, 3))

    def f(x: Any, w: Any) -> Any:
        return pg.softmax(w @ x)

    check_grads(lambda w: pg.fixed_point(f, np.ones(3) / 3, w), (weights,), order=2)
    given = pg.fixed_point(f, np.ones(3) / 3, weights, solver=lambda g, x: optimize.fixed_point(g, x))
    np.testing.assert_allclose(given, pg.fixed_point(f, np.ones(3) / 3, weights), atol=1e-7)


@pytest.mark.parametrize("device", ["torch", "jax", "strict"])
def test_on_other_libraries(device: str) -> None:
    if device not in {d.backend.name for d in pg.devices()}:
        pytest.skip(f"{device} is not installed")
    a = pg.asarray(4.0, dtype="float32" if device == "jax" else None, device=device)
    x0 = pg.asarray(1.0, dtype=a.dtype, device=device)
    value, g = pg.value_and_grad(lambda a: pg.root(lambda x, a: x * x - a, x0, a))(a)
    assert abs(float(value) - 2) < 1e-5 and abs(float(g) - 0.25) < 1e-5


def test_many_at_once_each_from_its_own_start() -> None:
    a, x0 = np.asarray([1.0, 4.0, 9.0]), np.asarray([-1.0, 1.0, -1.0])

    def one(a: Any, x0: Any) -> Any:
        return pg.root(lambda x, a: x * x - a, x0, a)

    np.testing.assert_allclose(pg.vmap(one)(a, x0), [-1, 2, -3])
    np.testing.assert_allclose(pg.vmap(pg.grad(one))(a, x0), [-1 / 2, 1 / 4, -1 / 6])
    np.testing.assert_allclose(pg.grad(lambda a: pg.sum(pg.vmap(one)(a, x0)))(a), [-1 / 2, 1 / 4, -1 / 6])


def test_the_start_has_no_gradient() -> None:
    g = pg.grad(lambda x0: pg.root(lambda x: x * x - 4.0, x0))(np.asarray(1.0))
    assert g == 0


def test_a_closure_over_what_is_differentiated_is_refused() -> None:
    with pytest.raises(pg.Error, match="closes over"):
        pg.grad(lambda a: pg.root(lambda x: x * x - a, np.asarray(1.0)))(np.asarray(4.0))


def test_errors_say_what_to_do() -> None:
    with pytest.raises(pg.ConvergenceError, match=r"no solution.*another x0.*solver="):
        pg.root(lambda x: x * x + 1, np.asarray(0.5))
    with pytest.raises(pg.ConvergenceError, match="no contraction"):
        pg.fixed_point(lambda x: 3 * x + 1, np.asarray(0.5))
    with pytest.raises(TypeError, match="one equation for each unknown"):
        pg.root(lambda x: x[:1], np.ones(2))
    with pytest.raises(TypeError, match="the solver's result"):
        pg.root(lambda x: x, np.ones(2), solver=lambda g, x: x[:1])
    with pytest.raises(pg.NonDifferentiableError, match="real floating"):
        pg.root(lambda x: x, np.ones(2, dtype=complex))
    with pytest.raises(pg.ConcretizationError):
        pg.compile(square_root)(np.asarray(4.0))
