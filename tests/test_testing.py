"""The checks find what is wrong, and say what; the plugin gives a device to each test."""

import importlib.util

import numpy as np
import pytest

import portagrad as pg
from portagrad.op import TABLE, elementwise, primitive
from portagrad.testing import assert_same_grads, check_devices, check_grads, check_op, draws

pytest_plugins = ["pytester"]
x = np.asarray([0.5, 1.5, -1.0])


@pytest.fixture
def declare():
    """Declare ops that are forgotten after the test."""
    before = dict(TABLE)
    yield lambda kind, *args, **record: kind(*args, **record)
    TABLE.clear()
    TABLE.update(before)


def wrong_slope(**rules):
    """The square, with rules of one's own."""

    @pg.custom_jvp
    def square(x):
        return x * x

    square.defjvp(lambda xs, ts: (xs[0] * xs[0], rules["push"](xs[0], ts[0])))
    return square


def test_right_derivatives_pass(xp_device):
    z = pg.to_device(np.asarray([0.3 + 1j, -0.5 + 0.2j]), xp_device)
    w = pg.to_device(np.asarray([1.0, 2.0]), xp_device)
    check_grads(lambda p, w: {"y": pg.abs(p["z"]) ** 2 * w, "s": pg.sum(p["z"] * w)}, ({"z": z}, w), order=2)


def test_a_wrong_slope_is_found_with_its_leaf_and_numbers():
    square = wrong_slope(push=lambda x, t: 3 * x * t)
    with pytest.raises(AssertionError) as caught:
        check_grads(lambda p: (p["a"], square(p["a"])), ({"a": x},))
    text = str(caught.value)
    assert "fwd: the tangent of result[1] and finite differences differ" in text
    assert "got " in text and "expected " in text and "largest difference" in text and "tolerance" in text


def test_a_wrong_second_derivative_is_found_where_the_first_is_right():
    square = wrong_slope(push=lambda x, t: (pg.stop_gradient(x) + x) * t)
    check_grads(square, (x,), order=1)
    with pytest.raises(AssertionError, match="fwd of fwd: the tangent of result and finite"):
        check_grads(square, (x,), order=2)


def test_a_pullback_that_is_no_transpose_is_found_with_its_argument():
    @pg.custom_vjp
    def product(a, b):
        return a * b

    product.defvjp(lambda a, b: (a * b, (a, b)), lambda saved, g: (g * saved[1], g * saved[1]))
    with pytest.raises(AssertionError, match=r"product: rev: the cotangent of argument\[1\] is no transpose"):
        check_grads(product, (x, x + 1), order=1, modes=("rev",))


def test_wrong_rules_of_an_op_are_found_in_every_mode(declare):
    declare(elementwise, "wrong_sin", lambda x, xp: xp.cos(x) + 0.01, forward=_sin, doc="A sine.")
    with pytest.raises(AssertionError, match=r"wrong_sin\(float64 \(2, 3\)\): fwd"):
        check_op("wrong_sin")
    right, wrong = (lambda t, x, xp: t * xp.cos(x)), (lambda g, x, xp: g * xp.sin(x))
    declare(primitive, "torn_sin", "(x, /)", (wrong,), (right,), forward=_sin, doc="A sine.")
    with pytest.raises(AssertionError, match="no transpose"):
        check_op("torn_sin")


def test_a_function_without_forward_mode_is_compared_with_finite_differences():
    @pg.custom_vjp
    def twice(x):
        return x * 2

    twice.defvjp(lambda x: (x * 2, None), lambda _, g: (2 * g,))
    check_grads(twice, (x,), modes=("rev",))
    twice.defvjp(lambda x: (x * 2, None), lambda _, g: (2.01 * g,))
    with pytest.raises(AssertionError, match="twice: rev"):
        check_grads(twice, (x,), order=1, modes=("rev",))


def test_a_nan_where_a_number_belongs_is_found():
    with np.errstate(all="ignore"), pytest.raises(AssertionError, match=r"got .*nan"):
        check_grads(lambda x: pg.where(x > 0, pg.sqrt(x), 0.0 * x), (x,), order=1)


def test_what_check_grads_refuses():
    with pytest.raises(TypeError, match=r"args is a ndarray; pass a tuple, such as \(x,\)"):
        check_grads(pg.sin, x)
    with pytest.raises(TypeError, match="modes is"):
        check_grads(pg.sin, (x,), modes=("reverse",))
    with pytest.raises(pg.NonDifferentiableError, match="check_grads: leaf 0"):
        check_grads(pg.sin, (np.asarray([1, 2]),))


def test_single_precision_and_loose_tolerances():
    check_grads(pg.sin, (x.astype("float32"),), order=2)
    square = wrong_slope(push=lambda x, t: 2.001 * x * t)
    check_grads(square, (x,), order=1, rtol=1e-2)
    with pytest.raises(AssertionError):
        check_grads(square, (x,), order=1)


def test_same_gradients_on_every_device():
    def loss(p, labels):
        return pg.cross_entropy(pg.linear(p["x"], p["w"]), labels)

    p = {"x": np.ones((2, 3)), "w": np.arange(6.0).reshape(3, 2)}
    assert_same_grads(loss, (p, np.asarray([1, 0])))


def test_another_gradient_on_another_device_is_found():
    pytest.importorskip("array_api_strict")

    def f(x):
        here = x.__array_namespace__() is pg.namespace("cpu")
        return pg.sum(x * (x if here else pg.stop_gradient(x)))

    with pytest.raises(AssertionError, match=r"f: the gradient by argument\[0\] on strict:CPU_DEVICE"):
        assert_same_grads(f, (x,), devices=["cpu", "strict"])
    assert_same_grads(f, (x,), devices=["cpu", "numpy"])
    with pytest.raises(TypeError, match="needs two devices to compare, got cpu"):
        assert_same_grads(f, (x,), devices=["cpu"])
    with pytest.raises(TypeError, match="pass a tuple"):
        assert_same_grads(f, x, devices=["cpu", "strict"])


def test_check_devices_says_ok_of_this_machine():
    rows = check_devices(["cpu", "strict:device1"])
    assert {row.device for row in rows} == {"cpu", "strict:device1"}
    assert {row.status for row in rows} == {"ok"}
    assert all(row.error < 1e-12 for row in rows)
    assert any("second order" in row.function for row in rows)


def test_check_devices_reports_a_wrong_rule(anew):
    anew(TABLE["tanh"], pulls=(lambda y: 1 - y,))
    rows = {row.function: row for row in check_devices(["cpu"])}
    assert rows["network"].status == "wrong"
    assert "no transpose" in rows["network"].message and "\n" not in rows["network"].message
    assert rows["products"].status == "ok"


def test_check_devices_reports_an_exception(anew):
    def fails(y):
        raise ValueError("out of order")

    anew(TABLE["tanh"], pulls=(fails,))
    rows = {row.function: row for row in check_devices(["cpu"])}
    assert (rows["network"].status, rows["network"].message) == ("failed", "ValueError: out of order")


def test_check_devices_names_what_is_missing():
    with pytest.raises(pg.ConfigError, match="no device is called 'nowhere'"):
        check_devices(["nowhere"])


def test_draws_lie_in_the_domain_and_do_not_change():
    low, high = TABLE["log"].domain
    for call, again in zip(draws("log"), draws("log"), strict=True):
        np.testing.assert_array_equal(call.xs[0], again.xs[0])
        assert np.all((call.xs[0] > low) & (call.xs[0] < high))
    assert not np.array_equal(next(draws("log")).xs[0], next(draws("log", seed=1)).xs[0])


def test_the_plugin_runs_a_test_on_each_device(pytester):
    pytester.makepyfile("def test_it(xp_device): assert xp_device.backend.name in ('numpy', 'strict')")
    pytester.runpytest_subprocess("--portagrad-devices=cpu,strict").assert_outcomes(passed=2)


def test_the_plugin_skips_a_missing_device_and_fails_a_required_one(pytester, monkeypatch):
    if importlib.util.find_spec("cupy"):
        pytest.skip("CuPy is installed here, and this is about its absence")
    pytester.makepyfile("def test_it(xp_device): pass")
    result = pytester.runpytest_subprocess("--portagrad-devices=cuda", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*CuPy is not installed: pip install*"])
    monkeypatch.setenv("PORTAGRAD_REQUIRE", "numpy,cuda")
    result = pytester.runpytest_subprocess("--portagrad-devices=cuda")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*PORTAGRAD_REQUIRE names cuda, which is not usable*"])


def test_the_plugin_loads_no_array_library_but_numpy(pytester):
    pytester.makepyfile(
        "import sys\n"
        "def test_it():\n"
        "    assert not {'torch', 'jax', 'dask', 'cupy', 'array_api_strict'} & set(sys.modules)\n"
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def _sin(x, *, xp):
    return xp.sin(x)
