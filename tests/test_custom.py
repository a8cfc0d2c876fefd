"""Functions with rules of their own: custom_vjp, custom_jvp, checkpoint, stop_gradient, and the like."""

import functools

import numpy as np
import pytest

import portagrad as pg
from portagrad.testing import check_grads
from portagrad.testing.arrays import host

A = np.asarray
x = A([1.0, 2.0, 3.0])
same = np.testing.assert_array_equal
close = functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-14)


@pytest.fixture
def array(xp_device):
    return lambda values, dtype="float64": pg.to_device(A(values, dtype=dtype), xp_device)


# custom_vjp


def reversal():
    """The identity with the gradient turned round, and a count of what ran."""
    ran = []

    @pg.custom_vjp
    def reverse(x):
        ran.append("plain")
        return x * 1.0

    def forward(x):
        ran.append("forward")
        return x * 1.0, None

    def backward(_, g):
        ran.append("backward")
        return (-g,)

    reverse.defvjp(forward, backward)
    return reverse, ran


def test_a_pullback_of_ones_own(array):
    reverse, ran = reversal()
    same(host(pg.grad(lambda x: pg.sum(reverse(x) * 3.0))(array(x))), [-3.0] * 3)
    assert ran == ["forward", "backward"]
    same(host(reverse(array(x))), x)
    assert ran[2:] == ["plain"]
    assert reverse.__name__ == "reverse"


def test_a_custom_vjp_takes_pytrees_and_constants():
    @pg.custom_vjp
    def scaled(p, power, name):
        return {"y": p["a"] * p["b"] ** power, "name": name}

    def forward(p, power, name):
        return scaled(p, power, name), (p, power)

    def backward(saved, g):
        p, power = saved
        return {"a": 100 * g["y"] * p["b"] ** power, "b": None}, None, None

    scaled.defvjp(forward, backward)

    def f(p):
        out = scaled(p, 2, "cube")
        assert out["name"] == "cube"
        return pg.sum(out["y"])

    gradient = pg.grad(f)({"a": A([2.0]), "b": A([3.0])})
    same(gradient["a"], [900.0])
    same(gradient["b"], [0.0])


def test_higher_orders_differentiate_both_halves_of_a_custom_vjp(array):
    @pg.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, g: (3 * x * x * g,))
    xs = array([0.5, -1.5])
    close(host(pg.grad(lambda x: pg.sum(pg.grad(lambda x: pg.sum(cube(x)))(x)))(xs)), 6 * host(xs))
    close(host(pg.hessian(lambda x: pg.sum(cube(x)))(xs)), np.diag(6 * host(xs)))
    check_grads(cube, (xs,), order=3, modes=("rev",))


def test_a_custom_vjp_stays_out_of_forward_mode():
    reverse, _ = reversal()
    with pytest.raises(pg.NonDifferentiableError, match=r"reverse: has a custom_vjp .* pg.custom_jvp"):
        pg.jvp(reverse, (x,), (x,))


def test_mistakes_in_a_custom_vjp_are_named():
    @pg.custom_vjp
    def f(a, b):
        return a * b

    with pytest.raises(pg.Error, match=r"f: no rule yet; call f.defvjp\(forward, backward\) first"):
        f(x, x)
    f.defvjp(lambda a, b: (a * b, None), lambda _, g: g)
    with pytest.raises(TypeError, match="f: the backward rule must return a tuple of 2 cotangents"):
        pg.grad(lambda a: pg.sum(f(a, a)))(x)
    f.defvjp(lambda a, b: (a * b, None), lambda _, g: ((g, g), g))
    with pytest.raises(TypeError, match="f: cotangent 0 is not structured as its argument"):
        pg.grad(lambda a: pg.sum(f(a, a)))(x)


# custom_jvp


def test_a_tangent_of_ones_own_serves_both_modes(array):
    @pg.custom_jvp
    def stable(x):
        return pg.log1p(pg.exp(x))

    stable.defjvp(lambda xs, ts: (stable(*xs), ts[0] * pg.sigmoid(xs[0])))
    xs = array([-1.0, 0.0, 100.0])
    sigmoid = 1 / (1 + np.exp(-host(xs)))
    close(host(pg.grad(lambda x: pg.sum(stable(x)))(xs)), sigmoid)
    close(host(pg.jvp(stable, (xs,), (array([1.0, 1.0, 1.0]),))[1]), sigmoid)
    check_grads(stable, (array([-1.0, 0.5]),), order=3)


def test_a_custom_jvp_takes_pytrees_and_integers():
    @pg.custom_jvp
    def pick(p, i):
        return p["a"][i] * p["b"]

    def moved(xs, ts):
        (p, i), t = xs, ts[0]
        return pick(p, i), 10 * (t["a"][i] * p["b"] + p["a"][i] * t["b"])

    pick.defjvp(moved)
    p, i = {"a": A([1.0, 2.0]), "b": A([5.0, 7.0])}, A([1, 1])
    gradient = pg.grad(lambda p: pg.sum(pick(p, i)))(p)
    same(gradient["a"], [0.0, 120.0])
    same(gradient["b"], [20.0, 20.0])
    with pytest.raises(pg.Error, match=r"defjvp\(rule\) first"):
        pg.custom_jvp(lambda x: x)(x)


# checkpoint


def test_a_checkpoint_changes_nothing_but_the_memory(array):
    def block(p, x):
        return {"y": pg.tanh(x @ p["w"]), "n": 3}

    def f(p, x, wrap):
        for _ in range(3):
            x = wrap(block)(p, x)["y"]
        return pg.sum(x**2)

    w = np.random.default_rng(0).standard_normal((3, 3))
    p, xs = {"w": array(w)}, array(np.eye(3))
    plain = pg.grad(lambda p, x: f(p, x, lambda g: g), (0, 1))(p, xs)
    saved = pg.grad(lambda p, x: f(p, x, pg.checkpoint), (0, 1))(p, xs)
    close(host(saved[0]["w"]), host(plain[0]["w"]))
    close(host(saved[1]), host(plain[1]))
    check_grads(pg.checkpoint(lambda x: pg.sin(x) * x), (array([0.5, 1.0]),), order=3)


@pytest.mark.parametrize("wrap", ["checkpoint", "custom_vjp", "custom_jvp"])
def test_constants_and_integers_may_stand_in_front_of_what_is_differentiated(wrap, array):
    """Each cotangent goes to the argument that it belongs to, whichever of them are active."""

    def f(w, n, v, x):
        return w**2 * x * pg.astype(n, x.dtype) + v * x**3

    if wrap == "checkpoint":
        wrapped = pg.checkpoint(f)
    elif wrap == "custom_vjp":
        wrapped = pg.custom_vjp(f)
        wrapped.defvjp(
            lambda w, n, v, x: (f(w, n, v, x), (w, n, v, x)),
            lambda saved, g: pull(*saved, g),
        )

        def pull(w, n, v, x, g):
            m = pg.astype(n, x.dtype)
            return g * 2 * w * x * m, None, g * x**3, g * (w**2 * m + 3 * v * x**2)

    else:
        wrapped = pg.custom_jvp(f)
        wrapped.defjvp(lambda xs, ts: pg.jvp(lambda w, v, x: f(w, xs[1], v, x), keep(xs), keep(ts)))

        def keep(parts):
            return parts[0], parts[2], parts[3]

    w, n, v, x = array([2.0, 3.0]), array([1, 2], "int64"), array([0.5, -1.0]), array([5.0, 7.0])
    for wanted in ((3,), (2,), (0, 3), (3, 0, 2)):
        expected = pg.grad(lambda *args: pg.sum(f(*args)), wanted)(w, n, v, x)
        found = pg.grad(lambda *args: pg.sum(wrapped(*args)), wanted)(w, n, v, x)
        for a, b in zip(found, expected, strict=True):
            close(host(a), host(b))
    if wrap != "custom_vjp":
        moved = pg.jvp(lambda x: wrapped(w, n, v, x), (x,), (x,))[1]
        close(host(moved), host(pg.jvp(lambda x: f(w, n, v, x), (x,), (x,))[1]))


def test_a_checkpoint_runs_again_in_the_backward_pass_and_keeps_only_its_arguments():
    ran = []

    def f(x):
        ran.append(1)
        return pg.exp(pg.exp(x))

    y, pullback = pg.vjp(pg.checkpoint(f), x)
    assert len(ran) == 1
    pullback(y)
    assert len(ran) == 2
    pg.grad(lambda x: pg.sum(pg.checkpoint(pg.checkpoint(f))(x)))(x)
    assert len(ran) == 2 + 3


def test_checkpoints_lower_the_measured_peak():
    """A chain of blocks: without checkpoints every intermediate lives until the backward pass."""
    import tracemalloc

    def block(x):
        for _ in range(20):
            x = pg.sin(x)
        return x

    def peak(wrap):
        def f(x):
            for _ in range(10):
                x = wrap(block)(x)
            return pg.sum(x)

        x = np.ones(20_000)
        pg.grad(f)(x[:2])
        tracemalloc.start()
        pg.grad(f)(x)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top / x.nbytes

    plain, saved = peak(lambda f: f), peak(pg.checkpoint)
    assert plain > 200  # 200 intermediates
    assert saved < 50  # 10 block inputs, and 20 within one block


def test_a_checkpoint_that_closes_over_a_traced_value_is_refused():
    with pytest.raises(pg.Error, match="closes over a value that is being differentiated"):
        pg.grad(lambda w: pg.sum(pg.checkpoint(lambda x: x * w)(w)))(x)
    with pytest.raises(pg.Error, match="closes over a value that is being differentiated"):
        pg.grad(lambda w: pg.grad(lambda v: pg.sum(pg.checkpoint(lambda y: y * v)(v * w)))(w)[0])(x)


def test_a_checkpoint_may_close_over_a_value_of_an_outer_differentiation():
    """d/dw of d/dv (v w)^2 at v = w: 2 v w^2 is differentiated by the w of the closure too."""

    def f(w):
        inner = pg.grad(lambda v: pg.sum(pg.checkpoint(lambda v, u: (v * u) ** 2)(v, w)))
        return pg.sum(inner(w))

    close(pg.grad(f)(x), 6 * x**2)


# stop_gradient, no_grad, check_finite


def test_stop_gradient_is_constant_to_every_order_and_mode(array):
    def f(x):
        return pg.sum(x * pg.stop_gradient(x * x))

    xs = array(x)
    same(host(pg.grad(f)(xs)), x * x)
    same(host(pg.hessian(f)(xs)), np.zeros((3, 3)))
    same(host(pg.jvp(f, (xs,), (xs,))[1]), np.sum(x**3))
    tree = pg.stop_gradient({"a": xs, "n": 3})
    assert tree["a"] is xs and tree["n"] == 3


def test_no_grad_is_constant_to_the_transforms_around_it():
    def f(x):
        with pg.no_grad():
            scale = x * x
            inner = pg.grad(lambda y: pg.sum(y**3))(x)
        return pg.sum(x * scale) + 0 * pg.sum(inner), inner

    gradient, inner = pg.grad(f, has_aux=True)(x)
    same(gradient, x * x)
    same(inner, 3 * x * x)  # a transform opened inside differentiates as always
    same(pg.jvp(lambda x: f(x)[0], (x,), (x,))[1], np.sum(x**3))


def test_check_finite_passes_what_is_finite(array):
    f = pg.check_finite(pg.value_and_grad(lambda x: pg.sum(pg.log(x))))
    value, gradient = f(array([1.0, 2.0]))
    close(host(value), np.log(2.0))
    close(host(gradient), [1.0, 0.5])


def test_check_finite_names_the_op_its_arguments_and_the_line(array):
    with np.errstate(all="ignore"), pytest.raises(pg.NonFiniteError) as caught:
        pg.check_finite(lambda x: pg.sum(pg.log(x - 1.0)))(array([1.0, 2.0]))
    text = str(caught.value)
    assert text.startswith("log: made 1 of 2 values NaN or infinite\n")
    assert "values from 0 to 1" in text
    assert "test_custom.py" in text and "pg.log(x - 1.0)" in text


def test_check_finite_watches_the_backward_pass(array):
    with np.errstate(all="ignore"), pytest.raises(pg.NonFiniteError, match="in the backward pass of"):
        pg.check_finite(pg.grad(lambda x: pg.sum(pg.sqrt(x))))(array([0.0, 1.0]))
