"""The conventions of the design, row by row, on every backend."""

import inspect
import operator
import re
from pathlib import Path

import numpy as np
import pytest
import test_indexing
import test_linalg
import test_random
import test_special

import portagrad as pg
from portagrad.testing import check_grads
from portagrad.testing.arrays import dtype_name, host

inf, nan = np.inf, np.nan
pytestmark = [
    pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning"),
]


@pytest.fixture
def array(xp_device):
    """Make an array on the device."""

    def make(values, dtype="float64"):
        return pg.to_device(np.asarray(values, dtype=dtype), xp_device)

    return make


def slope(f, *xs):
    """Gradients of the sum of a function of arrays, on the host."""
    gs = [host(g) for g in pg.grad(lambda *xs: pg.sum(f(*xs)), tuple(range(len(xs))))(*xs)]
    return gs if len(xs) > 1 else gs[0]


def slopes(f, *xs):
    """The same of a function that acts by element, by both modes: its Jacobians are diagonal."""
    gs = slope(f, *xs)
    ones, zeros = [pg.ones_like(x) for x in xs], [pg.zeros_like(x) for x in xs]
    for k, g in enumerate(gs if len(xs) > 1 else [gs]):
        moved = pg.jvp(f, tuple(xs), (*zeros[:k], ones[k], *zeros[k + 1 :]))[1]
        np.testing.assert_array_equal(host(moved), g)
    return gs


# Complex inputs

COMPLEX = {
    "modulus squared": lambda xp, z: xp.sum(xp.abs(z) ** 2),
    "real part of a power": lambda xp, z: xp.sum(xp.real(z**3)),
    "imaginary part": lambda xp, z: xp.sum(xp.imag(xp.exp(z)) * xp.real(z)),
    "modulus": lambda xp, z: xp.sum(xp.abs(z * (2 + 1j) + 1)),
    "product with the conjugate": lambda xp, z: xp.real(xp.sum(xp.conj(z) * xp.sin(z))),
    "matrix product": lambda xp, z: xp.sum(xp.abs(xp.reshape(z, (2, 2)) @ xp.reshape(z, (2, 2)))),
    "product": lambda xp, z: xp.real(xp.prod(z)),
}


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_gradients_are_torchs(name, array):
    """dL/dRe + i dL/dIm."""
    torch = pytest.importorskip("torch")
    from array_api_compat import torch as torch_xp

    f, values = COMPLEX[name], np.asarray([0.5 + 1j, -1.2 + 0.3j, 2 - 1j, 0.7 + 0.7j])
    z = torch.tensor(values, requires_grad=True)
    f(torch_xp, z).backward()
    gradient = pg.grad(lambda z: f(z.__array_namespace__(), z))(array(values, "complex128"))
    assert dtype_name(gradient) == "complex128"
    np.testing.assert_allclose(host(gradient), z.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", COMPLEX)
def test_a_step_against_the_gradient_descends(name, array):
    z = array([0.5 + 1j, -1.2 + 0.3j, 2 - 1j, 0.7 + 0.7j], "complex128")

    def f(z):
        return COMPLEX[name](z.__array_namespace__(), z)

    value, gradient = pg.value_and_grad(f)(z)
    after = pg.value_and_grad(f)(z - 1e-4 * gradient)[0]
    square = float(np.sum(np.abs(host(gradient)) ** 2))
    assert float(host(value)) - float(host(after)) == pytest.approx(1e-4 * square, rel=1e-2)


def test_a_complex_loss_is_refused(array):
    with pytest.raises(pg.NonDifferentiableError, match="take its real part or modulus"):
        pg.grad(lambda z: pg.sum(z * z))(array([1 + 1j], "complex128"))


# Kinks


@pytest.mark.parametrize("name", ["abs", "sign", "relu"])
def test_zero_at_zero(name, array):
    f = getattr(pg, name)
    np.testing.assert_array_equal(slopes(f, array([0.0, -0.0])), [0.0, 0.0])
    np.testing.assert_array_equal(host(pg.hessian(lambda x: pg.sum(f(x)))(array([0.0]))), [[0.0]])


def test_the_modulus_has_slope_zero_at_zero(array):
    z = array([0j, 3 + 4j], "complex128")
    np.testing.assert_allclose(slope(pg.abs, z), [0, 0.6 + 0.8j], rtol=1e-15)


@pytest.mark.parametrize("name", ["max", "min"])
def test_ties_of_an_extreme_share_evenly(name, array):
    f = getattr(pg, name)
    np.testing.assert_array_equal(slope(f, array([2.0, 2.0])), [0.5, 0.5])
    far = -3.0 if name == "max" else 3.0
    g = slope(lambda x: f(x, axis=1), array([[1.0, far, 1.0], [far, 0.0, far]]))
    np.testing.assert_array_equal(g, [[0.5, 0, 0.5], [0, 1, 0]])
    x, t = array([2.0, 2.0, far]), array([1.0, 3.0, 5.0])
    assert float(host(pg.jvp(f, (x,), (t,))[1])) == 2.0


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_ties_of_two_arrays_share_evenly(name, array):
    f = getattr(pg, name)
    a, b = slopes(f, array([1.0, 2.0]), array([1.0, 5.0]))
    first = 0.0 if name == "maximum" else 1.0
    np.testing.assert_array_equal(a, [0.5, first])
    np.testing.assert_array_equal(b, [0.5, 1 - first])
    np.testing.assert_array_equal(slopes(lambda x: f(x, x), array([1.0, -2.0])), [1.0, 1.0])
    np.testing.assert_array_equal(slopes(lambda x: f(x, 1.0), array([1.0])), [0.5])


@pytest.mark.parametrize("name", ["max", "min"])
def test_the_gradient_of_an_extreme_goes_to_the_nan(name, array):
    f = getattr(pg, name)
    np.testing.assert_array_equal(slope(f, array([1.0, nan, 3.0])), [0.0, 1.0, 0.0])
    np.testing.assert_array_equal(slope(f, array([nan, 2.0, nan])), [0.5, 0.0, 0.5])


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_the_gradient_of_the_larger_or_smaller_goes_to_the_nan(name, array):
    a, b = slopes(getattr(pg, name), array([nan, 1.0, nan]), array([1.0, nan, nan]))
    np.testing.assert_array_equal(a, [1.0, 0.0, 0.5])
    np.testing.assert_array_equal(b, [0.0, 1.0, 0.5])


def test_clip_at_a_bound_has_slope_one(array):
    x = array([-2.0, -1.0, 0.0, 1.0, 2.0])
    np.testing.assert_array_equal(slopes(lambda x: pg.clip(x, -1.0, 1.0), x), [0, 1, 1, 1, 0])
    np.testing.assert_array_equal(slopes(lambda x: pg.clip(x, -1.0), x), [0, 1, 1, 1, 1])
    low, high = array([-1.0] * 5), array([1.0] * 5)
    by_x, by_low, by_high = slopes(pg.clip, x, low, high)
    np.testing.assert_array_equal(by_x, [0, 1, 1, 1, 0])
    np.testing.assert_array_equal(by_low, [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(by_high, [0, 0, 0, 0, 1])


# Singular points


def test_the_root_has_slope_infinity_at_zero(array):
    np.testing.assert_array_equal(slopes(pg.sqrt, array([0.0, 4.0])), [inf, 0.25])


def test_where_passes_on_the_nan_of_the_branch_not_taken(array):
    x = array([0.0, 4.0])
    unsafe = pg.grad(lambda x: pg.sum(pg.where(x > 0, pg.sqrt(x), 0.0)))(x)
    np.testing.assert_array_equal(host(unsafe), [nan, 0.25])
    safe = pg.grad(lambda x: pg.sum(pg.where(x > 0, pg.sqrt(pg.where(x > 0, x, 1.0)), 0.0)))(x)
    np.testing.assert_array_equal(host(safe), [0.0, 0.25])


def test_powers_of_zero(array):
    x = array([0.0, 0.0, 0.0, 2.0])
    np.testing.assert_array_equal(slopes(lambda x: x ** array([0.0, 1.0, 2.0, 0.0]), x), [0, 1, 0, 0])
    np.testing.assert_array_equal(slopes(lambda x: x**0, x), [0, 0, 0, 0])
    np.testing.assert_array_equal(slopes(lambda x: x**0.0, x), [0, 0, 0, 0])
    np.testing.assert_array_equal(slopes(lambda x: x**1, x), [1, 1, 1, 1])
    np.testing.assert_array_equal(slopes(lambda x: x**2, x), [0, 0, 0, 4])
    base, exponent = array([0.0, 2.0]), array([2.0, 0.0])
    np.testing.assert_array_equal(slopes(lambda n: pg.pow(base, n), exponent), [0, np.log(2.0)])


def test_higher_derivatives_of_powers_of_zero(array):
    def curvature(f):
        return host(pg.hessian(lambda x: pg.sum(f(x)))(array([0.0])))[0, 0]

    assert [curvature(lambda x, n=n: x**n) for n in (0, 1, 2, 3)] == [0, 0, 2, 0]
    assert [curvature(lambda x, n=n: x ** array([n])) for n in (0.0, 1.0, 2.0, 3.0)] == [0, 0, 2, 0]
    third = pg.grad(lambda x: pg.sum(pg.grad(lambda x: pg.sum(pg.grad(lambda x: pg.sum(x**3))(x)))(x)))
    np.testing.assert_array_equal(host(third(array([0.0]))), [6.0])


@pytest.mark.parametrize("values", [[2.0, 3.0, 5.0], [2.0, 0.0, 5.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
def test_products_with_zeros_are_exact(values, array):
    a, b, c = values
    x = array(values)
    np.testing.assert_array_equal(slope(pg.prod, x), [b * c, a * c, a * b])
    np.testing.assert_array_equal(host(pg.hessian(pg.prod)(x)), [[0, c, b], [c, 0, a], [b, a, 0]])
    np.testing.assert_array_equal(slope(pg.cumulative_prod, x), [1 + b + b * c, a + a * c, a * b])
    hessian = host(pg.hessian(lambda x: pg.sum(pg.cumulative_prod(x)))(x))
    np.testing.assert_array_equal(hessian, [[0, 1 + c, b], [1 + c, 0, a], [b, a, 0]])
    check_grads(pg.prod, (x,), order=2)


# Where several answers are as good


@pytest.mark.parametrize(
    ("descending", "expected"), [(False, [100, 1, 1000, 10]), (True, [1, 100, 10, 1000])]
)
def test_equal_elements_are_sorted_by_a_stable_permutation(descending, expected, array):
    weights = array([1.0, 10.0, 100.0, 1000.0])
    g = slope(lambda x: pg.sort(x, descending=descending) * weights, array([2.0, 1.0, 2.0, 1.0]))
    np.testing.assert_array_equal(g, expected)


@pytest.mark.parametrize("name", ["unique_values", "unique_counts", "unique_inverse", "unique_all"])
def test_of_equal_elements_the_first_has_the_gradient_of_their_value(name, array):
    def values(x):
        found = getattr(pg, name)(x)
        return found if name == "unique_values" else found.values

    g = slope(lambda x: values(x) * array([1.0, 10.0]), array([2.0, 1.0, 2.0, 1.0]))
    np.testing.assert_array_equal(g, [10.0, 1.0, 0.0, 0.0])


VECTORS = {
    "eigh": lambda x: pg.linalg.eigh((x + pg.matrix_transpose(pg.conj(x))) / 2)[1],
    "svd": lambda x: pg.linalg.svd(x, full_matrices=False)[0],
    "eig": lambda x: pg.linalg.eig(x)[1],
}
VALUES = {
    "eigh": lambda x: pg.linalg.eigh(x)[0],
    "svd": lambda x: pg.linalg.svd(x, full_matrices=False)[1],
    "eig": lambda x: pg.real(pg.linalg.eig(x)[0]),
}


@pytest.mark.parametrize("name", VECTORS)
def test_free_phases_of_vectors_change_no_gradient(name, array):
    """Moduli of the vectors' elements do not depend on phases: their gradient is what differences say."""
    values = [[3.0, 0.5, 0.2], [0.1, 1.0, 0.3], [0.4, 0.2, -2.0]]
    x = array(np.asarray(values) + 1j * np.asarray(values).T / 3, "complex128")
    t = array(np.random.default_rng(0).standard_normal((3, 3)), "complex128")
    weights = array([[1.0, 2.0, 4.0], [7.0, 0.5, 3.0], [2.0, 9.0, 1.0]])

    def f(x):
        return pg.sum(pg.abs(VECTORS[name](x)) ** 2 * weights)

    g, h = host(pg.grad(f)(x)), 1e-5
    assert np.all(np.isfinite(g))
    difference = (float(host(f(x + h * t))) - float(host(f(x - h * t)))) / (2 * h)
    assert float(np.sum(np.real(np.conj(g) * host(t)))) == pytest.approx(difference, rel=1e-6)
    if name == "eigh":
        np.testing.assert_allclose(g, g.conj().T, rtol=1e-12)


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_of_equal_values_have_no_gradient_and_values_have(name, array):
    x, weights = array(np.diag([2.0, 2.0, 5.0])), array([[1.0, 2.0, 3.0], [5.0, 7.0, 11.0], [2.0, 3.0, 1.0]])

    def of_vectors(x):
        return pg.sum(pg.abs(VECTORS[name](x) * weights) ** 4)

    def of_values(x):
        return pg.sum(VALUES[name](x) ** 2)

    assert np.any(np.isnan(host(pg.grad(of_vectors)(x))))
    pg.configure(debug=True)
    try:
        with pytest.raises(
            pg.NonDifferentiableError, match=rf"linalg.{name}: vectors of equal values are any"
        ):
            pg.grad(of_vectors)(x)
        in_debug = host(pg.grad(of_values)(x))
        pg.grad(of_vectors)(array(np.diag([2.0, 3.0, 5.0])))
    finally:
        pg.configure(debug=None)
    for g in (in_debug, host(pg.grad(of_values)(x))):
        np.testing.assert_allclose(g, np.diag([4.0, 4.0, 10.0]), atol=1e-12)


# Cotangents


def test_a_cotangent_has_shape_dtype_realness_and_device_of_its_primal(xp_device, array):
    single, double, complex_ = (
        array([1.0, 2.0], "float32"),
        array([3.0], "float64"),
        array([[1j], [2.0]], "complex128"),
    )
    y, pullback = pg.vjp(lambda a, b, c: pg.astype(a, b.dtype) * b * c, single, double, complex_)
    for x, g in zip((single, double, complex_), pullback(pg.ones_like(y)), strict=True):
        assert (g.shape, g.dtype, pg.device(g)) == (x.shape, x.dtype, pg.device(x))
        assert pg.device(g) == xp_device


def test_broadcasting_is_summed_over(array):
    a, b = array([[1.0, 2.0, 3.0]]), array([[10.0], [20.0]])
    by_a, by_b, by_c = slope(lambda a, b, c: a * b * c, a, b, array(2.0))
    np.testing.assert_array_equal(by_a, [[60.0, 60.0, 60.0]])
    np.testing.assert_array_equal(by_b, [[12.0], [12.0]])
    assert float(by_c) == 6 * 30


def test_an_op_without_a_derivative_on_the_way_is_refused(array):
    x = array([1.5, 2.5])
    one_way = pg.custom_vjp(lambda x: x * 2.0)  # a pullback and no pushforward
    one_way.defvjp(lambda x: (x * 2.0, None), lambda _, g: (g * 2.0,))
    np.testing.assert_array_equal(slope(one_way, x), [2.0, 2.0])
    with pytest.raises(pg.NonDifferentiableError, match="no rule for forward mode"):
        pg.jvp(lambda x: pg.sum(one_way(x)), (x,), (x,))
    with pytest.raises(pg.NonDifferentiableError, match=r"the loss is .* not real floating"):
        pg.grad(lambda x: pg.sum(pg.astype(x, array(0, "int64").dtype)))(x)


# What leaves the trace


def test_a_branch_on_a_traced_value(array):
    def f(x):
        return x * x if x > 0 else -x

    assert float(host(pg.grad(f)(array(3.0)))) == 6.0
    assert float(host(pg.grad(f)(array(-3.0)))) == -1.0
    assert float(host(pg.jvp(f, (array(3.0),), (array(1.0),))[1])) == 6.0

    def loop(x):
        y = x
        while y < 100:
            y = y * x
        return y

    assert float(host(pg.grad(loop)(array(3.0)))) == 5 * 3.0**4


CONVERSIONS = {
    "float": float,
    "int": int,
    "complex": complex,
    "np.asarray": np.asarray,
    "np.array": np.array,
    "math": lambda x: np.float64(1.0) + float(x),
    "assignment to a raw array": lambda x: operator.setitem(np.zeros(2), slice(1), x),
}


@pytest.mark.parametrize("name", CONVERSIONS)
def test_conversions_of_a_traced_value_are_refused(name, array):
    convert = CONVERSIONS[name]

    def f(x):
        convert(x)
        return x

    for differentiate in (pg.grad(f), lambda x: pg.jvp(f, (x,), (x,))):
        with pytest.raises(pg.ConcretizationError, match=r"pg.stop_gradient\(x\)"):
            differentiate(array(2.0))


def test_assignment_to_an_element_of_a_raw_array_is_refused_in_numpys_words(array):
    def f(x):
        np.zeros(2)[0] = x
        return x

    with pytest.raises(ValueError, match="setting an array element") as caught:
        pg.grad(f)(array(2.0))
    assert isinstance(caught.value.__cause__, pg.ConcretizationError)


@pytest.mark.parametrize("name", CONVERSIONS)
def test_a_stopped_gradient_converts(name, array):
    seen = []

    def f(x):
        seen.append(CONVERSIONS[name](pg.stop_gradient(x)))
        return x * x

    assert float(host(pg.grad(f)(array(2.0)))) == 4.0
    assert seen == [None] if "assignment" in name else complex(seen[0]) in (2, 3)


def test_constants_convert_freely(array, xp_device):
    xp = pg.namespace(xp_device)

    def f(x):
        two = xp.asarray(2.0)
        assert (float(two), int(two), complex(two), bool(two)) == (2.0, 2, 2 + 0j, True)
        assert [10, 20, 30][xp.asarray(1)] == 20
        np.testing.assert_array_equal(np.asarray(xp.ones(2)), [1.0, 1.0])
        assert int(xp.argmax(x)) == 1  # integers have no gradient to lose
        return xp.sum(x) * float(two)

    np.testing.assert_array_equal(host(pg.grad(f)(array([1.0, 3.0]))), [2.0, 2.0])


def test_integers_have_no_derivative(array):
    for differentiate in (
        pg.grad(pg.sum),
        lambda x: pg.vjp(pg.sum, x),
        lambda x: pg.jvp(pg.sum, (x,), (x,)),
        pg.jacfwd(pg.sum),
        lambda x: pg.linearize(pg.sum, x),
    ):
        with pytest.raises(pg.NonDifferentiableError, match="integers have no derivative"):
            differentiate(array([1, 2], "int64"))
    with pytest.raises(pg.NonDifferentiableError, match="integers have no derivative"):
        pg.tensor(array([True]), dtype=array([True], "bool").dtype, requires_grad=True)


def test_empty_arrays_have_empty_gradients(array):
    x = array(np.zeros((0, 3)))
    value, gradient = pg.value_and_grad(lambda x: pg.sum(x * x))(x)
    assert (float(host(value)), gradient.shape, gradient.dtype) == (0.0, (0, 3), x.dtype)
    assert pg.jacrev(lambda x: x * 2)(x).shape == (0, 3, 0, 3)
    assert pg.jacfwd(lambda x: pg.sum(x, axis=0))(x).shape == (3, 0, 3)


def test_a_tensor_kept_past_its_transform_has_leaked(array):
    kept = []

    def f(x):
        kept.append(x * 2)
        return pg.sum(x)

    pg.grad(f)(array([1.0]))
    pg.jvp(f, (array([1.0]),), (array([1.0]),))
    for leaked in kept:
        with pytest.raises(pg.LeakedTraceError, match=r"multiply: an argument belongs to a .* that"):
            leaked * 2


# Assignment


def test_assignment_gives_the_tensor_object_a_new_value(array):
    x, v = array([1.0, 2.0, 3.0]), array(10.0)

    def f(x, v):
        y = x * 2.0
        same, view, copied = y, y[:2], y * 1.0
        y[0] = v * v
        assert same is y
        return pg.sum(y * view[1] + copied), (same[0], view[0])

    (by_x, by_v), (changed, kept) = pg.grad(f, (0, 1), has_aux=True)(x, v)
    assert (float(host(changed)), float(host(kept))) == (100.0, 2.0)
    # (v^2 + 2b + 2c) 2b + 2a + 2b + 2c
    np.testing.assert_allclose(host(by_x), [2, 2 * (100 + 4 + 6) + 4 * 2 + 2, 4 * 2 + 2])
    assert float(host(by_v)) == 2 * 10 * 4
    np.testing.assert_array_equal(host(x), [1, 2, 3])
    check_grads(lambda x, v: f(x, v)[0], (x, v), order=2)


def test_assignment_leaves_raw_arrays_and_saved_values_alone(array):
    x = array([1.0, 2.0])

    def f(x):
        y = pg.exp(x)  # saves y
        y *= 0.0
        x += 1.0
        x[0] = 0.0
        return pg.sum(y) + pg.sum(x * x) + pg.sum(pg.exp(x) * 0.0)

    value, gradient = pg.value_and_grad(f)(x)
    assert float(host(value)) == 9.0
    np.testing.assert_array_equal(host(gradient), [0.0, 6.0])
    np.testing.assert_array_equal(host(x), [1.0, 2.0])
    np.testing.assert_array_equal(slope(lambda x: _doubled_after(pg.exp(x)), array([0.0])), [1.0])


def _doubled_after(y):
    z = y * 1.0
    y *= 2.0
    return z


def test_a_constant_becomes_traced_by_assignment(array):
    def f(x):
        xp = x.__array_namespace__()
        z = xp.zeros(3, dtype=x.dtype, device=x.device)
        alias = z
        z[1:] = x
        z[0] = x[1] * x[0]
        assert alias is z
        return xp.sum(z * z)

    np.testing.assert_array_equal(host(pg.grad(f)(array([1.0, 2.0]))), [2 + 2 * 4, 4 + 2 * 2])
    check_grads(f, (array([1.0, 2.0]),))


@pytest.mark.parametrize("name", ["iadd", "isub", "imul", "itruediv", "ipow"])
def test_in_place_operators_are_functional(name, array):
    x, y = array([4.0, 9.0]), array([2.0, 3.0])
    plain, inplace = getattr(operator, name[1:]), getattr(operator, name)

    def f(x, y):
        z = x * 1.0
        alias = z
        z = inplace(z, y)
        assert z is alias
        return pg.sum(z)

    expected = pg.grad(lambda x, y: pg.sum(plain(x, y)), (0, 1))(x, y)
    found = pg.grad(f, (0, 1))(x, y)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(host(a), host(b))
    np.testing.assert_array_equal(host(x), [4.0, 9.0])


def test_assignment_keeps_shape_and_dtype(array):
    def grow(x):
        y = x[0] * 1.0
        y += x
        return pg.sum(y)

    with pytest.raises(ValueError, match=r"in-place result has shape \(2,\), the tensor \(\)"):
        pg.grad(grow)(array([1.0, 2.0]))

    def cast(x, y):
        x *= y
        assert dtype_name(x) == "float32"
        return pg.sum(x)

    assert dtype_name(pg.grad(cast)(array([1.0], "float32"), array([2.0]))) == "float32"


def test_elements_assigned_to_lose_their_gradient(array):
    def f(x):
        y = x * 3.0
        y[1] = 0.0
        y[...] = y * 2
        return pg.sum(y)

    np.testing.assert_array_equal(host(pg.grad(f)(array([1.0, 2.0, 3.0]))), [6.0, 0.0, 6.0])


def test_what_an_index_repeats_accumulates(array):
    key, weights = array([0, 0, 2], "int64"), array([1.0, 10.0, 100.0])
    for read in (lambda x: x[key], lambda x: pg.take(x, key), lambda x: pg.take_along_axis(x, key)):
        np.testing.assert_array_equal(
            slope(lambda x, read=read: read(x) * weights, array([1.0, 2.0, 3.0])), [11, 0, 100]
        )


# The table


ROWS = {
    "complex inputs": [
        "complex_gradients_are_torchs",
        "a_step_against_the_gradient_descends",
        "a_complex_loss_is_refused",
    ],
    "dtype, shape, realness, device of a cotangent": [
        "a_cotangent_has_shape_dtype_realness_and_device_of_its_primal",
    ],
    "broadcasting": [
        "broadcasting_is_summed_over",
    ],
    "`abs`, `sign`, `relu` at 0; a norm at 0": [
        "zero_at_zero",
        "the_modulus_has_slope_zero_at_zero",
        "norms_have_slope_zero_at_zero",
    ],
    "ties in `max`, `min`, `maximum`, `minimum`": [
        "ties_of_an_extreme_share_evenly",
        "ties_of_two_arrays_share_evenly",
    ],
    "`max` over a NaN": [
        "the_gradient_of_an_extreme_goes_to_the_nan",
        "the_gradient_of_the_larger_or_smaller_goes_to_the_nan",
    ],
    "`clip` at a bound": [
        "clip_at_a_bound_has_slope_one",
    ],
    "`sqrt` at 0": [
        "the_root_has_slope_infinity_at_zero",
    ],
    "`where` with a NaN in the branch not taken": [
        "where_passes_on_the_nan_of_the_branch_not_taken",
    ],
    "`x ** 0` at 0": [
        "powers_of_zero",
        "higher_derivatives_of_powers_of_zero",
    ],
    "`xlogy`, `xlog1py` where both factors are 0": [
        "no_entropy_where_there_is_no_mass",
    ],
    "`erfinv`, `ndtri`, `logit` at the ends of their domains": [
        "inverses_are_infinite_at_the_ends",
    ],
    "`prod` with zeros": [
        "products_with_zeros_are_exact",
    ],
    "equal elements in `sort`": [
        "equal_elements_are_sorted_by_a_stable_permutation",
    ],
    "`eigh`, `svd`, `eig`: free phases and signs of vectors": [
        "free_phases_of_vectors_change_no_gradient",
    ],
    "`eigh`, `svd`, `eig`: vectors of equal values": [
        "vectors_of_equal_values_have_no_gradient_and_values_have",
    ],
    '`svd(full_matrices=True)`, `qr(mode="complete")` of oblong matrices': [
        "bases_that_are_completed_anyhow_have_the_derivative_of_their_space",
    ],
    "`bool(t)` of a traced value": [
        "a_branch_on_a_traced_value",
    ],
    "`float(t)`, `int(t)`, `np.asarray(t)`, `raw[i] = t` of a traced value": [
        "conversions_of_a_traced_value_are_refused",
        "assignment_to_an_element_of_a_raw_array_is_refused_in_numpys_words",
        "a_stopped_gradient_converts",
        "constants_convert_freely",
    ],
    "integers to `grad`": [
        "integers_have_no_derivative",
    ],
    "an op without a derivative, on the way to the loss": [
        "an_op_without_a_derivative_on_the_way_is_refused",
    ],
    "empty arrays": [
        "empty_arrays_have_empty_gradients",
    ],
    "`x[i] = v`, `x += y` on a tensor": [
        "assignment_gives_the_tensor_object_a_new_value",
        "assignment_leaves_raw_arrays_and_saved_values_alone",
        "a_constant_becomes_traced_by_assignment",
        "in_place_operators_are_functional",
        "assignment_keeps_shape_and_dtype",
        "elements_assigned_to_lose_their_gradient",
    ],
    "repeated indices": [
        "what_an_index_repeats_accumulates",
    ],
    "`unique_values` and its like": ["of_equal_elements_the_first_has_the_gradient_of_their_value"],
    "`x[mask] = values`, as many as `x` has elements": ["what_is_replaced_altogether_is_not_differentiated"],
    "random numbers": [
        "the_same_bits_on_every_device",
    ],
}
"""The rows of docs/conventions.md, and the tests that hold every backend to them: above, or in the files
of linear algebra, random numbers and special functions."""


def test_every_row_of_the_table_has_a_test_on_every_backend():
    text = (Path(__file__).parent.parent / "docs" / "conventions.md").read_text(encoding="utf-8")
    tests = {
        **vars(test_indexing),
        **vars(test_linalg),
        **vars(test_random),
        **vars(test_special),
        **globals(),
    }
    rows = re.findall(r"^\| (.+?) \| .+ \|$", text, re.MULTILINE)
    assert [row for row in rows if row not in ("case", "---")] == list(ROWS)
    for row, names in ROWS.items():
        for name in names:
            test = tests[f"test_{name}"]
            assert {"array", "device", "xp_device"} & {*inspect.signature(test).parameters}, f"{row}: {name}"
