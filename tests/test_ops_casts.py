"""Casts, moves between devices, one-hot codes and index arrays: ops whose arguments are no mere numbers."""

import numpy as np
import pytest

import portagrad as pg
from portagrad.testing import check_grads
from portagrad.testing.arrays import dtype_name, host


def made(xp_device, values, dtype="float64"):
    return pg.to_device(np.asarray(values, dtype=dtype), xp_device)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("float64", "float32"),
        ("float32", "float64"),
        ("float64", "complex128"),
        ("float32", "complex64"),
        ("complex64", "complex128"),
        ("float64", "float64"),
    ],
)
def test_a_cast_sends_back_cotangents_of_its_primals_dtype(source, target, xp_device):
    xp = pg.namespace(xp_device)
    x = made(xp_device, [0.5, -1.5], source)

    def f(x):
        return xp.astype(x, getattr(xp, target))

    y, pullback = pg.vjp(f, x)
    assert dtype_name(y) == target
    g = made(xp_device, [2.0, 3.0], target)
    (back,) = pullback(g)
    assert dtype_name(back) == source
    np.testing.assert_array_equal(host(back), np.asarray([2.0, 3.0], dtype=source))
    _, moved = pg.jvp(f, (x,), (made(xp_device, [1.0, 4.0], source),))
    assert dtype_name(moved) == target
    if source == target:
        check_grads(f, (x,))


def test_casts_to_integers_are_constants(xp_device):
    xp = pg.namespace(xp_device)

    def f(x):
        whole = xp.astype(x, xp.int64)
        assert not whole.requires_grad
        return xp.sum(x * xp.astype(whole, x.dtype))

    np.testing.assert_array_equal(host(pg.grad(f)(made(xp_device, [1.5, -2.25]))), [1.0, -2.0])


def test_mixed_precision_promotes_and_comes_back(xp_device):
    single, double = made(xp_device, [1.0, 2.0], "float32"), made(xp_device, [3.0, 4.0])
    gs = pg.grad(lambda a, b: pg.sum(a * b), argnums=(0, 1))(single, double)
    assert [dtype_name(g) for g in gs] == ["float32", "float64"]
    np.testing.assert_array_equal(host(gs[0]), [3.0, 4.0])


def test_the_gradient_of_a_real_argument_is_real(xp_device):
    x = made(xp_device, [1.0, 2.0])
    z = made(xp_device, [1 + 2j, 3 - 1j], "complex128")
    gradient = pg.grad(lambda x: pg.sum(pg.real(x * z)))(x)
    assert dtype_name(gradient) == "float64"
    np.testing.assert_array_equal(host(gradient), [1.0, 3.0])


def test_asarray_passes_gradients_on(xp_device):
    xp = pg.namespace(xp_device)
    x = made(xp_device, [1.0, 2.0], "float32")

    def f(x):
        pair = xp.asarray([x[0], x[1] * x[0]])
        return xp.sum(xp.asarray(pair, dtype=xp.float64, copy=True))

    np.testing.assert_array_equal(host(pg.grad(f)(x)), [3.0, 1.0])

    def nested(x):
        return xp.asarray([[x[0], 5.0, x[1]], [3.0, x[1], 4.0]], dtype=xp.float32)

    y, moved = pg.jvp(nested, (x,), (x,))
    np.testing.assert_array_equal(host(y), [[1.0, 5.0, 2.0], [3.0, 2.0, 4.0]])
    np.testing.assert_array_equal(host(moved), [[1.0, 0.0, 2.0], [0.0, 2.0, 0.0]])
    check_grads(lambda x: xp.asarray(x, copy=True) * xp.asarray(x), (made(xp_device, [1.0, 2.0]),))


@pytest.mark.parametrize("other", ["cpu", "torch", "jax", "dask", "strict:device1"])
def test_a_move_is_the_identity_and_sends_cotangents_home(other, xp_device):
    if other != "cpu":
        pytest.importorskip({"strict:device1": "array_api_strict"}.get(other, other))
    x = made(xp_device, [1.0, -2.0])

    def f(x):
        there = pg.to_device(x, other)
        assert pg.device(pg.stop_gradient(there).value) == pg.device(other)
        return pg.to_device(pg.sin(there) * there, xp_device)

    y, pullback = pg.vjp(f, x)
    (g,) = pullback(y)
    assert pg.device(y) == pg.device(g) == xp_device
    check_grads(f, (x,), order=2)


def test_one_hot_codes(xp_device):
    labels = made(xp_device, [2, 0], "int64")
    codes = pg.TABLE["one_hot"]
    from portagrad.testing.draws import invoke

    like = made(xp_device, [0.0], "float32").dtype
    hot = invoke(codes, (labels,), {"like": like, "classes": 3})
    assert dtype_name(hot) == "float32"
    np.testing.assert_array_equal(host(hot), [[0, 0, 1], [1, 0, 0]])
    assert pg.device(hot) == xp_device


def test_an_index_array_that_repeats_itself(xp_device):
    x, key = made(xp_device, [1.0, 2.0, 3.0]), made(xp_device, [0, 2, 0, 0], "int64")
    gradient = pg.grad(lambda x: pg.sum(x[key] ** 2))(x)
    np.testing.assert_array_equal(host(gradient), [6.0, 0.0, 6.0])
    check_grads(lambda x: x[key] ** 3, (x,), order=2)


def test_where_is_differentiated_by_its_values_only(xp_device):
    chosen = made(xp_device, [True, False], "bool")
    gs = pg.grad(lambda a, b: pg.sum(pg.where(chosen, a, b) ** 2), (0, 1))(
        made(xp_device, [1.0, 2.0]), made(xp_device, [3.0, 4.0])
    )
    np.testing.assert_array_equal(host(gs[0]), [2.0, 0.0])
    np.testing.assert_array_equal(host(gs[1]), [0.0, 8.0])
