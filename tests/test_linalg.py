"""Linear algebra where it is singular, degenerate or not unique."""

import math

import numpy as np
import pytest

import portagrad as pg
from portagrad.testing import check_grads
from portagrad.testing.arrays import host

linalg = pg.linalg


@pytest.fixture
def array(xp_device):
    """Makes an array of numbers on the device."""
    return lambda values, dtype="float64": pg.to_device(np.asarray(values, dtype=dtype), xp_device)


@pytest.mark.parametrize("order", [2, 1, 3.5, math.inf])
def test_norms_have_slope_zero_at_zero(order, array):
    gradient = pg.grad(lambda x: linalg.vector_norm(x, ord=order))(array([0.0, 0.0]))
    np.testing.assert_array_equal(host(gradient), [0.0, 0.0])
    gradient = pg.grad(linalg.matrix_norm)(array([[0.0, 0.0]]))
    np.testing.assert_array_equal(host(gradient), [[0.0, 0.0]])


def test_ties_of_the_maximum_norm_share_evenly(array):
    gradient = pg.grad(lambda x: linalg.vector_norm(x, ord=math.inf))(array([3.0, -3.0, 1.0]))
    np.testing.assert_array_equal(host(gradient), [0.5, -0.5, 0.0])


def test_the_gradient_of_a_complex_norm_is_the_direction(array):
    z = array([3 + 4j, 0.0], "complex128")
    np.testing.assert_allclose(host(pg.grad(linalg.vector_norm)(z)), [0.6 + 0.8j, 0.0], rtol=1e-14)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_determinants_of_singular_matrices_have_their_cofactors_as_gradient(rank, array):
    x = np.diag([2.0, 3.0, 0.0]) * (np.arange(3) < rank)
    expected = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            minor = np.delete(np.delete(x, i, 0), j, 1)
            expected[i, j] = (-1) ** (i + j) * np.linalg.det(minor)
    np.testing.assert_allclose(host(pg.grad(linalg.det)(array(x))), expected, atol=1e-14)


@pytest.mark.parametrize("upper", [False, True])
def test_a_triangular_solution_reads_one_triangle_and_has_its_derivative_there(upper, array):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((2, 9, 9)) + 9 * np.eye(9)
    right = rng.standard_normal((9, 3))
    triangle = np.triu(a) if upper else np.tril(a)
    beyond = np.where(triangle == 0, np.nan, a)

    def f(a, right):
        return pg.sum(linalg.solve_triangular(a, right, upper=upper) ** 2)

    solution = linalg.solve_triangular(array(beyond), array(right), upper=upper)
    np.testing.assert_allclose(host(solution), np.linalg.solve(triangle, right), rtol=1e-12)
    found = pg.grad(f, (0, 1))(array(a), array(right))
    expected = pg.grad(lambda a, right: pg.sum(linalg.solve(a, right) ** 2), (0, 1))(triangle, right)
    np.testing.assert_allclose(host(found[0]), np.where(triangle == 0, 0.0, expected[0]), atol=1e-12)
    np.testing.assert_allclose(host(found[1]), expected[1], atol=1e-12)


def test_determinants_have_a_second_derivative_where_singular_values_are_equal(array):
    hessian = host(pg.hessian(linalg.det)(array(np.eye(2))))
    expected = [[0, 0, 0, 1], [0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0]]
    np.testing.assert_allclose(hessian.reshape(4, 4), expected, atol=1e-14)


def test_vectors_of_equal_values_have_no_derivative_but_the_values_have(array):
    x = array(np.eye(2))
    for vectors in (lambda x: linalg.eigh(x)[1], lambda x: linalg.svd(x)[0]):
        assert np.all(np.isnan(host(pg.grad(lambda x, f=vectors: pg.sum(f(x)[..., 0] ** 3))(x))))
    for values in (linalg.eigvalsh, linalg.svdvals):
        gradient = pg.grad(lambda x, f=values: pg.sum(f(x) ** 3))(x)
        np.testing.assert_allclose(host(gradient), 3 * np.eye(2), atol=1e-14)


@pytest.mark.parametrize(
    "f",
    [
        linalg.cholesky,
        linalg.eigvalsh,
        lambda x: linalg.eigh(x).eigenvectors ** 2,
        lambda x: linalg.cholesky(x, upper=True),
    ],
)
def test_gradients_by_hermitian_matrices_are_symmetric(f, array):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 3))
    g = rng.standard_normal((3, 3))
    y, pullback = pg.vjp(f, array(x @ x.T + np.eye(3)))
    found = host(pullback(array(g[: y.shape[0]] if len(y.shape) == 2 else g[0]))[0])
    np.testing.assert_allclose(found, found.T, rtol=1e-12)


def test_bases_that_are_completed_anyhow_have_the_derivative_of_their_space(xp_device, array):
    """Singular values and first vectors have the derivatives of reduced ones, the others' projection has."""

    def parts(x, full):
        u, s, vh = linalg.svd(x, full_matrices=full)
        q, r = linalg.qr(x, mode="complete" if full else "reduced")
        spaces = []
        for a in (u, vh.T, q):  # of what completes them, or what they leave of the identity
            space = a[:, k:] if full else a[:, :k]
            spaces.append(space @ space.T if full else -(space @ space.T) + identity(a.shape[0]))
        return [u[:, :k] ** 2, s**3, vh[:k, :] ** 2, q[:, :k], r[:k, :], *spaces]

    def identity(n):
        return array(np.eye(n))

    for shape in ((4, 2), (2, 4))[: 1 if xp_device.backend.name in ("jax", "dask") else None]:
        x, k = array(np.random.default_rng(0).standard_normal(shape)), min(shape)
        y, pullback = pg.vjp(lambda x: parts(x, True), x)
        z, expected = pg.vjp(lambda x: parts(x, False), x)
        for a, b in zip(y, z, strict=True):
            np.testing.assert_allclose(host(a), host(b), atol=1e-12)
        g = [array(np.random.default_rng(i).standard_normal(tuple(a.shape))) for i, a in enumerate(y)]
        np.testing.assert_allclose(host(pullback(g)[0]), host(expected(g)[0]), atol=1e-12)


def test_how_the_basis_is_completed_has_no_derivative_of_its_own(array):
    """The completing vectors move as the others make them, and do not turn among themselves."""
    x, t = (array(np.random.default_rng(i).standard_normal((4, 2))) for i in range(2))
    for f in (lambda x: linalg.svd(x)[0], lambda x: linalg.qr(x, mode="complete")[0]):
        q, dq = map(host, pg.jvp(f, (x,), (t,)))
        turning = q.T @ dq
        np.testing.assert_allclose(turning, -turning.T, atol=1e-12)
        np.testing.assert_allclose(turning[2:, 2:], 0, atol=1e-12)


def test_results_have_the_names_of_the_standard(array):
    def f(x):
        (u, s, vh), (q, r) = linalg.svd(x), linalg.qr(x)
        svd, qr, eigh, eig = linalg.svd(x), linalg.qr(x), linalg.eigh(x), linalg.eig(x)
        assert svd._fields == ("U", "S", "Vh")
        assert qr._fields == ("Q", "R")
        assert eigh._fields == eig._fields == ("eigenvalues", "eigenvectors")
        assert linalg.slogdet(x)._fields == ("sign", "logabsdet")
        return pg.sum(s) + pg.sum(u) + pg.sum(vh) + pg.sum(q) + pg.sum(r)

    pg.vjp(f, array([[2.0, 1.0], [1.0, 5.0]]))


def test_eigenvalues_are_complex_whatever_they_are(array):
    for x in ([[2.0, 0.0], [0.0, 3.0]], [[0.0, 1.0], [-1.0, 0.0]]):
        for y in (linalg.eigvals(array(x)), *linalg.eig(array(x))):
            assert host(y).dtype == np.complex128


def test_eigenvalues_in_conjugate_pairs_have_real_gradients(array):
    x = array([[0.3, 2.0, 0.1], [-1.5, 0.2, 0.4], [0.3, 0.2, 3.0]])
    check_grads(lambda x: pg.real(pg.sum(linalg.eigvals(x) ** 3)), (x,))
    check_grads(lambda x: pg.sum(pg.abs(linalg.eig(x)[1]) ** 4), (x,))


def test_pseudo_inverses_are_differentiated_at_constant_rank(array):
    a, b = array([1.0, 2.0, 3.0]), array([1.0, -1.0])
    check_grads(lambda a, b: linalg.pinv(linalg.outer(a, b), rtol=1e-8), (a, b))
