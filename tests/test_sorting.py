"""Sorting, searching and sets: what is differentiated among equal elements."""

import numpy as np
import pytest

import portagrad as pg
from portagrad.testing import check_grads
from portagrad.testing.arrays import host

X = np.asarray([2.0, 1.0, 2.0, 0.5, 1.0])
SETS = ("unique_values", "unique_all", "unique_counts", "unique_inverse")


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("stable", [False, True])
def test_equal_elements_are_sorted_by_a_stable_permutation(descending, stable, xp_device):
    x = np.tile(X, 8)  # few elements are sorted stably by any method
    g = np.arange(1.0, 41.0)
    y, pullback = pg.vjp(
        lambda x: pg.sort(x, descending=descending, stable=stable), pg.to_device(x, xp_device)
    )
    order = np.argsort(-x if descending else x, stable=True)
    np.testing.assert_array_equal(host(y), x[order])
    expected = np.zeros(40)
    expected[order] = g
    np.testing.assert_array_equal(host(pullback(pg.to_device(g, xp_device))[0]), expected)


def test_a_nan_keeps_its_place_in_the_gradient():
    x = np.asarray([1.0, np.nan, 0.0])
    _, pullback = pg.vjp(pg.sort, x)
    np.testing.assert_array_equal(pullback(np.asarray([1.0, 2.0, 3.0]))[0], [2.0, 3.0, 1.0])


def test_functions_of_what_is_sorted_are_differentiated_twice(xp_device):
    distinct = pg.to_device(np.asarray([2.0, 1.0, 3.0, 0.5]), xp_device)
    check_grads(lambda x: pg.sort(x * x, axis=0) ** 2, (distinct,), order=2)


@pytest.mark.parametrize("name", SETS)
def test_a_value_that_occurs_has_the_derivative_of_where_it_first_does(name, xp_device):
    find = getattr(pg, name)

    def values(x):
        found = find(x)
        return found if name == "unique_values" else found.values

    x = pg.to_device(X, xp_device)
    np.testing.assert_array_equal(host(values(x)), [0.5, 1.0, 2.0])
    found = pg.grad(lambda x: pg.sum(values(x) ** 2))(x)
    np.testing.assert_array_equal(host(found), [4.0, 2.0, 0.0, 1.0, 0.0])
    t = pg.to_device(np.arange(5.0), xp_device)
    np.testing.assert_array_equal(host(pg.jvp(values, (x,), (t,))[1]), [3.0, 1.0, 0.0])


def test_of_complex_numbers_as_well():
    x = X + 1j * X[::-1] ** 2
    check_grads(lambda x: pg.sum(pg.abs(pg.unique_values(x)) ** 2), (x,), order=1)


def test_sets_come_as_the_standards_named_tuples(xp_device):
    xp = pg.namespace(xp_device)
    found = xp.unique_all(xp.asarray(X, device=xp_device))
    assert type(found).__name__ == "UniqueAllResult"
    assert found._fields == ("values", "indices", "inverse_indices", "counts")
    assert all(isinstance(part, pg.Tensor) and not part.requires_grad for part in found)
    np.testing.assert_array_equal(host(found.indices), [3, 1, 0])
    np.testing.assert_array_equal(host(found.inverse_indices), [2, 1, 2, 0, 1])
    np.testing.assert_array_equal(host(found.counts), [1, 2, 2])
    assert xp.unique_counts(xp.asarray(X))._fields == ("values", "counts")
    assert xp.unique_inverse(xp.asarray(X))._fields == ("values", "inverse_indices")


def test_searching_among_the_values_that_are_differentiated(xp_device):
    """Positions are constants; what is read at them is not."""

    def f(x):
        at = pg.searchsorted(pg.sort(x), x[:2] * 0.75)
        where = pg.nonzero(pg.abs(x) > 1.5)[0] if xp_device.backend.name != "dask" else slice(0, 3, 2)
        return pg.sum(pg.take(x, at, axis=0) ** 2) + pg.sum(x[where] ** 3)

    at = np.searchsorted(np.sort(X), X[:2] * 0.75)
    expected = np.zeros(5)
    np.add.at(expected, at, 2 * X[at])
    expected[[0, 2]] += 3 * X[[0, 2]] ** 2
    np.testing.assert_allclose(host(pg.grad(f)(pg.to_device(X, xp_device))), expected, rtol=1e-14)
