"""The transforms against closed forms and peers: pytrees, argnums, auxiliary results, nesting."""

import functools
import itertools
import tracemalloc
from typing import NamedTuple

import numpy as np
import optree
import pytest

import portagrad as pg
from portagrad.testing import check_grads
from portagrad.testing.arrays import host

A = np.asarray
x = A([1.0, 2.0, 3.0])
same = np.testing.assert_array_equal
close = functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-14)


def cubes(x):
    """The sum of cubes, whose derivatives are 3 x^2, diag(6 x) and so on."""
    return pg.sum(x**3)


@pytest.fixture
def array(xp_device):
    return lambda values, dtype="float64": pg.to_device(A(values, dtype=dtype), xp_device)


# Pytrees


class Point(NamedTuple):
    a: object
    b: object


@optree.dataclasses.dataclass(namespace="portagrad")
class Layer:
    w: object
    b: object
    name: str = optree.dataclasses.field(pytree_node=False, default="layer")


TREES = {
    "dict": (lambda a, b: {"b": b, "a": a}, lambda t: (t["a"], t["b"])),
    "list": (lambda a, b: [a, b], tuple),
    "tuple": (lambda a, b: (a, b), tuple),
    "named tuple": (Point, tuple),
    "dataclass": (Layer, lambda t: (t.w, t.b)),
    "nested": (lambda a, b: {"x": [a, None, (b, {})]}, lambda t: (t["x"][0], t["x"][2][0])),
}


@pytest.mark.parametrize("name", TREES)
def test_any_pytree_goes_in_and_comes_out(name):
    make, take = TREES[name]
    a, b = A(2.0), A([1.0, 3.0])

    def f(tree):
        a, b = take(tree)
        return pg.sum(a * a * b)

    tree = make(a, b)
    value, gradient = pg.value_and_grad(f)(tree)
    structure = functools.partial(optree.tree_structure, namespace="portagrad")
    assert structure(gradient) == structure(tree)
    assert float(value) == 16.0
    same(take(gradient)[0], 16.0)
    same(take(gradient)[1], [4.0, 4.0])

    def g(tree):
        a, b = take(tree)
        return make(a * b, b)

    y, pullback = pg.vjp(g, tree)
    (back,) = pullback(y)
    same(take(back)[0], 20.0)  # sum of (a b) b
    same(take(back)[1], [5.0, 15.0])  # a (a b) + b
    _, moved = pg.jvp(g, (tree,), (make(A(1.0), A([0.0, 0.0])),))
    same(take(moved)[0], [1.0, 3.0])
    same(take(moved)[1], [0.0, 0.0])
    hess = take(pg.hessian(f)(tree))
    same(take(hess[0])[0], 8.0)
    same(take(hess[0])[1], [4.0, 4.0])
    same(take(hess[1])[1], [[0.0, 0.0], [0.0, 0.0]])
    (product,) = pg.hvp(f, (tree,), (make(A(1.0), A([1.0, 0.0])),))
    same(take(product)[0], 8.0 + 4.0)
    check_grads(f, (tree,))


def test_python_floats_are_leaves_too():
    assert float(pg.grad(lambda x: x**3)(2.0)) == 12.0
    gradient = pg.grad(lambda p: p["a"] * p["b"])({"a": 2.0, "b": A(3.0)})
    assert (float(gradient["a"]), float(gradient["b"])) == (3.0, 2.0)
    same(pg.jacobian(lambda t: t * x)(2.0), x)
    assert float(pg.hessian(lambda t: t**3)(2.0)) == 12.0


def test_raw_in_raw_out_on_every_library(array, xp_device):
    xs = array([1.0, 2.0])
    results = [
        pg.grad(cubes)(xs),
        *pg.value_and_grad(cubes)(xs),
        pg.vjp(pg.sin, xs)[0],
        pg.vjp(pg.sin, xs)[1](xs)[0],
        *pg.jvp(pg.sin, (xs,), (xs,)),
        pg.linearize(pg.sin, xs)[1](xs),
        pg.jacobian(pg.sin)(xs),
        pg.hessian(cubes)(xs),
        pg.hvp(cubes, (xs,), (xs,))[0],
        pg.checkpoint(pg.sin)(xs),
    ]
    for result in results:
        assert isinstance(result, xp_device.backend.array_types)
        assert not isinstance(result, np.generic)
        assert pg.device(result) == xp_device
        assert result.dtype == xs.dtype


# argnums, has_aux, keyword arguments


def test_argnums_choose_and_order():
    def f(a, b, c):
        return pg.sum(a * b * b * c)

    a, b, c = A([2.0]), A([3.0]), A([5.0])
    same(pg.grad(f)(a, b, c), [45.0])
    same(pg.grad(f, 1)(a, b, c), [60.0])
    same(pg.grad(f, -1)(a, b, c), [18.0])
    chosen = {(0, 2): (45, 18), (2, 0): (18, 45), (1,): (60,), (1, 1): (60, 60), (): ()}
    for argnums, expected in chosen.items():
        gradient = pg.grad(f, argnums)(a, b, c)
        assert isinstance(gradient, tuple)
        assert [float(g[0]) for g in gradient] == list(expected)
    same(pg.jacrev(f, 2)(a, b, c), [18.0])
    jac = pg.jacfwd(f, (2, 0))(a, b, c)
    assert [float(j[0]) for j in jac] == [18.0, 45.0]
    hess = pg.hessian(f, (0, 1))(a, b, c)
    assert [[float(h[0, 0]) for h in row] for row in hess] == [[0.0, 30.0], [30.0, 20.0]]


def test_what_is_not_asked_for_is_not_differentiated():
    labels, names = A([1, 0]), ["a", "b"]

    def f(w, labels, names, scale=None):
        assert names == ["a", "b"]
        return pg.sum(w[labels] * scale)

    same(pg.grad(f)(A([1.0, 2.0]), labels, names, scale=A(3.0)), [3.0, 3.0])


def test_auxiliary_results_are_passed_on():
    def f(x):
        return pg.sum(x * x), {"double": 2 * x, "which": pg.argmax(x), "n": 3, "text": "yes", "none": None}

    gradient, aux = pg.grad(f, has_aux=True)(x)
    same(gradient, 2 * x)
    (value, aux2), gradient = pg.value_and_grad(f, has_aux=True)(x)
    assert float(value) == 14.0
    y, pullback, aux3 = pg.vjp(f, x, has_aux=True)
    same(pullback(A(1.0))[0], 2 * x)
    y, dy, aux4 = pg.jvp(f, (x,), (x,), has_aux=True)
    assert (float(y), float(dy)) == (14.0, 28.0)
    for found in (aux, aux2, aux3, aux4):
        same(found["double"], 2 * x)
        assert type(found["double"]) is np.ndarray
        assert (int(found["which"]), found["n"], found["text"], found["none"]) == (2, 3, "yes", None)


# Functions that hardly compute


def test_functions_that_return_what_they_were_given():
    assert float(pg.grad(lambda t: t)(2.0)) == 1.0
    same(pg.vjp(lambda x: x, x)[1](x)[0], x)
    same(pg.jvp(lambda x: x, (x,), (2 * x,))[1], 2 * x)
    same(pg.linearize(lambda x: x, x)[1](2 * x), 2 * x)
    (g,) = pg.vjp(lambda x: (x, x), x)[1]((x, 10 * x))
    same(g, 11 * x)
    by_first, by_second = pg.vjp(lambda a, b: (b, a), x, 2 * x)[1]((x, 10 * x))
    same(by_first, 10 * x)
    same(by_second, x)


def test_functions_that_return_constants():
    same(pg.grad(lambda x: A(3.0))(x), [0, 0, 0])
    y, pullback = pg.vjp(lambda x: (x * x, 3.0, A(7), A(2.0)), x)
    assert (y[1], int(y[2]), float(y[3])) == (3.0, 7, 2.0)
    same(pullback((x, 1.0, A(0), A(5.0)))[0], 2 * x * x)
    y, dy = pg.jvp(lambda x: (x * x, 3.0, A(7), A(2.0)), (x,), (x,))
    assert (dy[1], int(dy[2]), float(dy[3])) == (0.0, 0, 0.0)
    y, push = pg.linearize(lambda x: (x * x, 3.0, A(7), A(2.0)), x)
    dy = push(x)
    same(dy[0], 2 * x * x)
    assert (dy[1], int(dy[2]), float(dy[3])) == (0.0, 0, 0.0)
    for jac in (pg.jacrev, pg.jacfwd):
        same(jac(lambda x: (x, A([1.0, 2.0])))(x)[1], np.zeros((2, 3)))


def test_the_same_tensor_many_times():
    same(pg.grad(lambda x: pg.sum(x * x * x))(x), 3 * x**2)
    same(pg.grad(lambda x: pg.sum(pg.stack([x, x * x, x])))(x), 2 + 2 * x)
    same(pg.grad(lambda x: pg.sum(x @ x) + pg.sum(pg.where(x > 2, x, x)))(x), 2 * x + 1)


def test_closures_over_raw_arrays_and_python_numbers(array):
    w, offset = array([2.0, 3.0]), 0.5
    same(host(pg.grad(lambda x: pg.sum(x * w + offset))(array([1.0, 1.0]))), [2.0, 3.0])


# Nesting


def derivative(mode):
    """Of a function of a scalar."""
    if mode == "rev":
        return pg.grad
    return lambda f: lambda t: pg.jvp(f, (t,), (pg.ones_like(t),))[1]


@pytest.mark.parametrize("modes", list(itertools.product(("fwd", "rev"), repeat=4)), ids="-".join)
def test_four_derivatives_in_any_order_of_modes(modes, array):
    """Of sin 2t + t^5 t: 16 sin 2t + 360 t^2."""

    def f(t):
        return pg.sin(2 * t) + t**5 * t

    for mode in modes:
        f = derivative(mode)(f)
    t = array(0.7)
    close(host(f(t)), 16 * np.sin(1.4) + 360 * 0.49)


@pytest.mark.parametrize("inner", ["fwd", "rev"])
@pytest.mark.parametrize("outer", ["fwd", "rev"])
def test_perturbations_are_not_confused(inner, outer, array):
    """d/dx x d/dy (x + y) = 1, where confusing x's perturbation with y's gives 2.

    Siskind and Pearlmutter (2005), "Perturbation confusion and referential transparency".
    """
    one = array(1.0)
    assert float(host(derivative(outer)(lambda x: x * derivative(inner)(lambda y: x + y)(one))(one))) == 1.0
    # d/dy x y^2 = 2 x y, which at y = x is 2 x^2, whose derivative is 4 x
    slope = derivative(outer)(lambda x: derivative(inner)(lambda y: x * y * y)(x))
    assert float(host(slope(array(3.0)))) == 12.0


def test_an_inner_gradient_that_does_not_depend_on_its_own_argument():
    assert float(pg.grad(lambda x: pg.grad(lambda y: x * x)(1.0) + x)(1.0)) == 1.0
    assert float(pg.grad(lambda x: pg.grad(lambda y: x * y)(1.0))(3.0)) == 1.0


def test_a_pullback_is_itself_differentiable():
    def f(x):
        _, pullback = pg.vjp(lambda y: pg.sin(y) * y, x)
        return pg.sum(pullback(x)[0])

    close(pg.grad(f)(x), 3 * x * np.cos(x) - x * x * np.sin(x) + np.sin(x))  # of x (x cos x + sin x)
    check_grads(f, (x,))


def test_a_pullback_can_be_called_again():
    _, pullback = pg.vjp(lambda a, b: pg.exp(a) * b, x, 2 * x)
    first, again = pullback(x), pullback(x)
    same(first[0], again[0])
    same(first[1], again[1])
    other = pullback(2 * x)
    close(other[0], 2 * first[0])


def test_a_pushforward_can_be_called_again_and_does_no_nonlinear_work():
    calls = []

    def f(x):
        calls.append(1)
        return pg.exp(x) * x

    _, push = pg.linearize(f, x)
    close(push(x), np.exp(x) * (1 + x) * x)
    close(push(2 * x), 2 * np.exp(x) * (1 + x) * x)
    close(push(np.zeros(3)), np.zeros(3))
    assert calls == [1]


def test_linearize_within_and_around_other_transforms():
    def f(x):
        return pg.sum(pg.linearize(lambda y: y**3, x)[1](x))  # 3 x^3

    close(pg.grad(f)(x), 9 * x**2)
    _, push = pg.linearize(pg.grad(cubes), x)
    close(push(x), 6 * x * x)
    check_grads(lambda x, t: pg.linearize(pg.sin, x)[1](t), (x, 2 * x))


# Jacobians and Hessians


def test_jacobians_of_known_functions(array):
    m = np.arange(6.0).reshape(2, 3)
    matrix = array(m)
    for jac in (pg.jacrev, pg.jacfwd, pg.jacobian):
        same(host(jac(lambda x: pg.matmul(matrix, x))(array(x))), m)
        same(host(jac(lambda x: x[::-1] * 2.0)(array(x))), 2 * np.eye(3)[::-1])
        same(host(jac(pg.sum)(matrix)), np.ones((2, 3)))
        blocks = host(jac(lambda y: pg.sum(y * y, axis=0))(matrix))
        same(blocks, np.einsum("aj,jk->jak", 2 * m, np.eye(3)))


def test_jacobian_takes_the_cheaper_mode(monkeypatch):
    from portagrad.transforms import matrices

    taken = []
    for name in ("jacfwd", "jacrev"):
        whole = getattr(matrices, name)
        watched = lambda *args, name=name, whole=whole: taken.append(name) or whole(*args)  # noqa: E731
        monkeypatch.setattr(matrices, name, watched)
    same(pg.jacobian(lambda x: pg.concat([x, x, x]))(x), np.concatenate([np.eye(3)] * 3))
    same(pg.jacobian(pg.sum)(x), [1, 1, 1])
    assert taken == ["jacfwd", "jacrev"]


def test_hessian_and_its_products():
    h = np.asarray([[2.0, 1.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 4.0]])

    def quadratic(x):
        return 0.5 * (x @ (h @ x))

    close(pg.hessian(quadratic)(x), h)
    close(pg.hvp(quadratic, (x,), (A([1.0, 0.0, 2.0]),))[0], h @ [1.0, 0.0, 2.0])
    close(pg.jacrev(pg.jacrev(cubes))(x), np.diag(6 * x))
    close(pg.jacfwd(pg.jacfwd(cubes))(x), np.diag(6 * x))
    third = pg.jacfwd(pg.hessian(cubes))(x)
    close(third, 6 * np.einsum("ij,jk->ijk", np.eye(3), np.eye(3)))


def test_hvp_is_a_gradient_of_the_slope(array):
    def f(p):
        return pg.sum(pg.tanh(p["a"] * p["b"]) ** 2)

    p = {"a": array([0.1, 0.2]), "b": array([0.5, -0.4])}
    t = {"a": array([1.0, -1.0]), "b": array([0.3, 2.0])}
    (by_hvp,) = pg.hvp(f, (p,), (t,))

    def slope(p):
        return pg.jvp(f, (p,), (t,))[1]

    by_reverse = pg.grad(slope)(p)
    for key in p:
        close(host(by_hvp[key]), host(by_reverse[key]))


# Peers


def composite(xp, p, x):
    """A small network with most kinds of op in it; xp is any library's."""
    hidden = xp.tanh(x @ p["w1"] + p["b1"])
    gate = 1 / (1 + xp.exp(-hidden[:, ::2]))
    y = (hidden[:, 1::2] * gate) @ p["w2"]
    total = xp.log(xp.sum(xp.exp(y), axis=-1)) - y[:, 0]
    penalty = 0.01 * xp.sum(p["w1"] ** 2) + xp.sum(xp.abs(p["b1"])) ** 1.5 / xp.sqrt(xp.sum(p["w2"] ** 2))
    return xp.mean(total) + penalty


def parameters():
    rng = np.random.default_rng(3)
    p = {"w1": rng.standard_normal((3, 4)), "b1": rng.standard_normal(4), "w2": rng.standard_normal((2, 3))}
    return p, rng.standard_normal((5, 3))


def test_a_networks_gradient_is_torchs(array):
    torch = pytest.importorskip("torch")
    from array_api_compat import torch as xp

    p, data = parameters()
    theirs = {k: torch.tensor(v, requires_grad=True) for k, v in p.items()}
    composite(xp, theirs, torch.tensor(data)).backward()
    mine = {k: array(v) for k, v in p.items()}
    ours = pg.grad(lambda p, x: composite(x.__array_namespace__(), p, x))(mine, array(data))
    for k in p:
        close(host(ours[k]), theirs[k].grad.numpy())


def test_a_networks_hessian_is_jaxs():
    jax = pytest.importorskip("jax")
    p, data = parameters()
    theirs = jax.jit(jax.hessian(lambda p: composite(jax.numpy, p, data)))(p)
    ours = pg.hessian(lambda p: composite(pg.namespace("cpu"), p, data))(p)
    for a in p:
        for b in p:
            np.testing.assert_allclose(ours[a][b], theirs[a][b], rtol=1e-10, atol=1e-12)


def test_jacobians_are_jaxs(array):
    jax = pytest.importorskip("jax")

    def f(xp, a, b):
        return xp.cumulative_sum(xp.sin(a) * b[:, None], axis=0) / (1 + xp.max(a, axis=1, keepdims=True))

    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((3, 2)), rng.standard_normal(3)
    theirs = jax.jit(jax.jacobian(lambda a, b: f(jax.numpy, a, b), (0, 1)))(a, b)
    ours = pg.jacobian(lambda a, b: f(a.__array_namespace__(), a, b), (0, 1))(array(a), array(b))
    for mine, yours in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(host(mine), yours, rtol=1e-10, atol=1e-12)


def test_traced_and_raw_cotangents_and_tangents_together(array):
    """A raw array in front of a traced one: not every library's arrays leave the sum to the other."""
    xs, ts = array([1.0, 2.0, 3.0]), array([0.5, 1.0, -1.0])
    _, pullback = pg.vjp(lambda x: (x * x, *pg.unstack(x * 3.0)), xs)
    zero, one = array(0.0), array(1.0)

    def f(g):
        return pullback((g, one, zero, one))[0]

    y, dy = pg.jvp(f, (ts,), (ts,))
    same(host(y), 2 * x * host(ts) + [3.0, 0.0, 3.0])
    same(host(dy), 2 * x * host(ts))

    def g(t):
        return pg.jvp(lambda a, b: a * b + b, (xs, xs), (t, ts))[1]

    same(host(pg.jvp(g, (ts,), (ts,))[1]), x * host(ts))


CHUNKED = {
    "jacrev": pg.jacrev,
    "jacfwd": pg.jacfwd,
    "jacobian": pg.jacobian,
    "hessian": lambda f, **kw: pg.hessian(lambda x: pg.sum(pg.real(pg.sum(f(x)["a"])) ** 2), **kw),
}


@pytest.mark.parametrize("name", CHUNKED)
@pytest.mark.parametrize("chunk_size", [1, 4, 6, 100])
def test_matrices_in_chunks_are_the_same(name, chunk_size):
    def f(x):
        return {"a": pg.sin(x) * x[0], "b": pg.sum(x, axis=1), "empty": x[:0]}

    x = np.linspace(0.1, 1.2, 6).reshape(2, 3)
    whole, chunked = CHUNKED[name](f)(x), CHUNKED[name](f, chunk_size=chunk_size)(x)
    for a, b in zip(optree.tree_leaves(whole), optree.tree_leaves(chunked), strict=True):
        np.testing.assert_array_equal(a, b)
    if name == "hessian":
        return
    z = x + 0.5j
    for g in (
        lambda z: pg.abs(z) ** 2,
        lambda z: z * z,
    ):  # of complex numbers to real ones and to complex ones
        made = CHUNKED[name]
        np.testing.assert_array_equal(made(g)(z), made(g, chunk_size=chunk_size)(z))


@pytest.mark.parametrize("name", CHUNKED)
def test_the_memory_of_a_matrix_is_bounded_by_its_chunks(name):
    """As NumPy counts it, the peak grows by so much for each unit vector that is on its way, and no other."""
    n, long = 16, 2000

    def f(x):
        return {"a": pg.sum(pg.reshape(pg.tile(pg.sin(x), (long,)), (long, n)) ** 2, axis=0)}

    def peak(chunk_size):
        made = CHUNKED[name](f, chunk_size=chunk_size)
        made(np.ones(n))  # what is made once and kept does not count
        tracemalloc.start()
        try:
            made(np.ones(n))
            return tracemalloc.get_traced_memory()[1] / (8 * n * long)  # in intermediate values of one
        finally:
            tracemalloc.stop()

    one, two = peak(1), peak(2)
    assert two - one > 0.8
    for chunk_size in (4, 8, None):
        expected = one + ((chunk_size or n) - 1) * (two - one)
        assert peak(chunk_size) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("name", CHUNKED)
@pytest.mark.parametrize("chunk_size", [0, -1, 2.0])
def test_bad_chunk_sizes(name, chunk_size):
    with pytest.raises(
        ValueError, match=rf"{name}: chunk_size is {chunk_size}; it must be a positive integer"
    ):
        CHUNKED[name](pg.sin, chunk_size=chunk_size)


class Called:
    """An object that can be called, without a name."""

    def __call__(self, x):
        return cubes(x)


@pytest.mark.parametrize("f", [cubes, pg.sum, Called(), functools.partial(cubes), functools.cache(cubes)])
@pytest.mark.parametrize("transform", [pg.grad, pg.value_and_grad])
def test_a_gradient_takes_over_what_a_wrapper_of_functools_does(transform, f, monkeypatch):
    if hasattr(f, "__dict__"):
        monkeypatch.setattr(f, "mark", 1, raising=False)
    made = transform(f)
    expected = functools.wraps(f)(lambda x: x)
    assert made.__wrapped__ is f and vars(made).keys() == vars(expected).keys()
    for name in functools.WRAPPER_ASSIGNMENTS:
        if hasattr(f, name):
            assert getattr(made, name) == getattr(f, name)
