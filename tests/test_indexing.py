"""Arrays of integers, masks, and both among slices, in reading and in assignment; their gradients."""

import numpy as np
import pytest

import portagrad as pg
from portagrad.kernel import raw_namespace
from portagrad.op import TABLE
from portagrad.testing import check_grads
from portagrad.testing.arrays import host

I = np.asarray  # noqa: E741 - keys are read better so
MASK = I([[True, False, True], [False, False, True], [True, True, False], [False, False, False]])
KEYS = {
    "integers": I([2, 0, 2, -1]),
    "an array of two axes": I([[1, 1], [3, 1]]),
    "a pair": (I([0, 3, 0]), I([1, 2, 1])),
    "a pair that broadcasts": (I([[0], [3]]), I([1, 2, 1])),
    "integers beside a slice": (slice(1, None), I([2, 2, 0])),
    "integers beside a reversed slice": (I([1, 0, 1]), slice(None, None, -1)),
    "integers beside an integer": (1, I([2, 0, 2])),
    "integers and a new axis": (None, I([3, 3])),
    "a mask": MASK,
    "a mask of rows": I([True, False, True, True]),
    "a mask of columns": (slice(None), I([True, False, True])),
    "a mask of nothing": I([False] * 4),
    "no integers": I([], dtype="int64"),
}
# array-api-strict refuses the others, on which the standard is silent: slices beside arrays, axes left out.
STANDARD = ("a pair", "a pair that broadcasts", "integers beside an integer", "a mask", "a mask of rows")
X = np.random.default_rng(0).standard_normal((4, 3))


def moved(key, place):
    """A key with its arrays on a device."""
    if isinstance(key, tuple):
        return tuple(moved(part, place) for part in key)
    return pg.to_device(key, place) if isinstance(key, np.ndarray) else key


def has_mask(key):
    parts = key if isinstance(key, tuple) else (key,)
    return any(isinstance(part, np.ndarray) and part.dtype == bool for part in parts)


def keys(place):
    """Those that the library's own indexing knows; JAX compiles for every one, so a few of them have to do.

    Under a mask Dask does not know the shape before the values.
    """
    for name, key in KEYS.items():
        known = {
            "strict": name in STANDARD,
            "jax": name in (*STANDARD, "integers", "integers beside a reversed slice"),
            "dask": not has_mask(key),
        }
        if known.get(place.backend.name, True):
            yield key, moved(key, place)


def test_reading_is_numpys_and_its_transpose_adds(xp_device):
    x = pg.to_device(X, xp_device)
    for plain, key in keys(xp_device):
        g = np.random.default_rng(1).standard_normal(X[plain].shape)
        expected = np.zeros_like(X)
        np.add.at(expected, plain, g)
        y, pullback = pg.vjp(lambda x, key=key: x[key], x)
        np.testing.assert_array_equal(host(y), X[plain])
        (found,) = pullback(pg.to_device(g, xp_device))
        np.testing.assert_allclose(host(found), expected, rtol=1e-14, atol=1e-14)


def test_reading_is_differentiable_twice(xp_device):
    x = pg.to_device(X, xp_device)
    of_few = slice(0, 2) if xp_device.backend.name in ("jax", "dask") else slice(None)
    for _, key in list(keys(xp_device))[of_few]:
        check_grads(lambda x, key=key: x[key] ** 3, (x,), order=2)


def test_assignment_is_numpys_and_linear(xp_device):
    x = pg.to_device(X, xp_device)
    for plain, key in keys(xp_device):
        put = X.copy()
        value = np.random.default_rng(2).standard_normal(X[plain].shape)
        put[plain] = value

        def assign(x, v, key=key):
            y = x * 1.0
            y[key] = v
            return y * y

        value = pg.to_device(value, xp_device)
        y, _ = pg.vjp(assign, x, value)
        np.testing.assert_allclose(host(y), put * put, rtol=1e-14)
        if xp_device.backend.name not in ("jax", "dask"):  # slow; the laws of index_put hold there as well
            check_grads(assign, (x, value), order=1)
            check_grads(lambda x, assign=assign: assign(x, 0.5), (x,), order=1)


def test_of_values_put_at_one_element_the_one_that_stays_has_the_gradient(xp_device):
    key = pg.to_device(I([1, 0, 1, 1]), xp_device)

    def assign(v):
        y = v[:3] * 0.0
        y[key] = v
        return y

    v = pg.to_device(I([1.0, 2.0, 3.0, 4.0]), xp_device)
    y, pullback = pg.vjp(assign, v)
    (g,) = pullback(pg.to_device(I([10.0, 100.0, 1000.0]), xp_device))
    stayed = host(v) == host(y)[1]
    np.testing.assert_array_equal(host(g), np.where(stayed, 100.0, [0.0, 10.0, 0.0, 0.0]))


@pytest.mark.parametrize("device", ["cpu", "torch", "strict:device1"])
def test_what_is_replaced_altogether_is_not_differentiated(device):
    """0 / 0 in all elements, then filled in by a mask: its derivative is NaN, and has no part in it."""
    pytest.importorskip({"cpu": "numpy", "torch": "torch"}.get(device, "array_api_strict"))

    def f(x):
        y = (x - x) / (x - x)
        there = y != y
        y[there] = x[there] ** 2
        return pg.sum(y)

    with np.errstate(invalid="ignore"):
        found = pg.grad(f)(pg.to_device(X, device))
    np.testing.assert_allclose(host(found), 2 * X)

    def one_for_all(x):
        y = pg.concat([x, 2 * x])
        y[y > 0] = x
        return pg.sum(y**3)

    np.testing.assert_allclose(host(pg.grad(one_for_all)(pg.to_device(np.asarray([2.0]), device))), [24.0])


@pytest.mark.parametrize("device", ["cpu", "torch"])
def test_masks_without_axes_and_values_with_too_many(device):
    """Both are NumPy's, and SciPy has them: a mask of a scalar, and leading axes of length 1."""
    pytest.importorskip({"cpu": "numpy"}.get(device, device))

    def f(x, v):
        y = pg.sum(x) ** 2
        y[y > 0] = 3 * y[y > 0]
        z = 1.0 * x
        z[...] = v
        return y + pg.sum(z * x)

    x, v = pg.to_device((X[:2], X[None, 2:]), device)
    found = pg.grad(f, (0, 1))(x, v)
    np.testing.assert_allclose(host(found[0]), 6 * np.sum(X[:2]) + X[2:])
    np.testing.assert_allclose(host(found[1]), X[None, :2])


def test_adding_in_place_reads_and_assigns(xp_device):
    key = pg.to_device(I([2, 0]), xp_device)

    def f(x):
        y = x * 1.0
        y[key] += x[key] ** 2
        return pg.sum(y * y)

    check_grads(f, (pg.to_device(X[:, 0], xp_device),), order=2 if xp_device.backend.name == "numpy" else 1)


def test_the_portable_sum_at_repeated_indices(xp_device):
    """The plain forward, which a backend without a kernel falls back on, adds as `np.add.at` does."""
    xp = raw_namespace(xp_device.backend)
    x = pg.to_device(X, xp_device)
    for plain, key in keys(xp_device):
        expected = X.copy()
        value = np.random.default_rng(3).standard_normal(X[plain].shape)
        np.add.at(expected, plain, value)
        found = TABLE["index_add"].forward(x, pg.to_device(value, xp_device), key=key, xp=xp)
        np.testing.assert_allclose(host(found), expected, rtol=1e-14, atol=1e-14)
        np.add.at(expected, plain, 0.5)
        found = TABLE["index_add"].forward(found, 0.5, key=key, xp=xp)
        np.testing.assert_allclose(host(found), expected, rtol=1e-14, atol=1e-14)


def test_the_portable_sum_keeps_what_a_difference_of_sums_would_lose():
    xp = raw_namespace(pg.device("numpy").backend)
    value, key = I([1e20, 1.0, 2.0, -1e20]), I([0, 1, 1, 0])
    np.testing.assert_array_equal(TABLE["index_add"].forward(np.zeros(3), value, key=key, xp=xp), [0, 3, 0])


def test_tensors_as_indices_are_constants(xp_device):
    x = pg.to_device(X, xp_device)

    def f(x):
        order = pg.argmax(x, axis=0)
        largest = x[order, pg.namespace(xp_device).arange(3, device=xp_device)]
        positive = x > 0 if xp_device.backend.name != "dask" else slice(None)
        return pg.sum(largest**2) + pg.sum(x[positive] ** 3)

    expected = np.where(X > 0, 3 * X**2, 3 * X**2 if xp_device.backend.name == "dask" else 0.0)
    expected[np.argmax(X, axis=0), np.arange(3)] += 2 * np.max(X, axis=0)
    np.testing.assert_allclose(host(pg.grad(f)(x)), expected, rtol=1e-12)


def test_taking_counts_from_the_end(xp_device):
    x, last = pg.to_device(X, xp_device), pg.to_device(I([-1, 0, -1]), xp_device)
    y, pullback = pg.vjp(lambda x: pg.take(x, last, axis=-2), x)
    np.testing.assert_array_equal(host(y), X[[-1, 0, -1]])
    expected = np.zeros_like(X)
    np.add.at(expected, [-1, 0, -1], X[:3])
    (g,) = pullback(pg.to_device(X[:3], xp_device))
    np.testing.assert_allclose(host(g), expected, rtol=1e-14)
    along = pg.to_device(I([[-1], [0], [2], [-3]]), xp_device)
    y, pullback = pg.vjp(lambda x: pg.take_along_axis(x, along, axis=1), x)
    np.testing.assert_array_equal(host(y)[:, 0], X[range(4), [2, 0, 2, 0]])
    expected = np.zeros_like(X)
    expected[range(4), [2, 0, 2, 0]] = X[:, 0]
    (g,) = pullback(pg.to_device(X[:, :1], xp_device))
    np.testing.assert_array_equal(host(g), expected)


def test_the_same_rows_taken_of_every_column(xp_device):
    """Index arrays broadcast along the axes they do not take from; gradients of one column add up."""
    column, rows = pg.to_device(X[:, :1], xp_device), pg.to_device(I([[0, -1, 1]]), xp_device)
    y, pullback = pg.vjp(lambda x: pg.take_along_axis(x, rows, axis=0), column)
    np.testing.assert_array_equal(host(y), X[[[0, 3, 1]], 0])
    (g,) = pullback(pg.to_device(I([[1.0, 2.0, 3.0]]), xp_device))
    np.testing.assert_array_equal(host(g)[:, 0], [1.0, 3.0, 0.0, 2.0])
