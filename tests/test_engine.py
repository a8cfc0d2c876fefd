"""What the engine promises of work, memory, threads and libraries."""

import gc
import threading
import tracemalloc
import weakref
from collections import Counter

import numpy as np
import pytest

import portagrad as pg
from portagrad import kernel
from portagrad.backend import get_backend
from portagrad.op import TABLE
from portagrad.testing.arrays import host
from portagrad.transforms.collection import PATIENCE
from portagrad.transforms.reverse import Node

A = np.asarray
x = A([1.0, 2.0, 3.0])
same = np.testing.assert_array_equal


# Work


@pytest.fixture
def ran(anew, monkeypatch):
    """How often each of NumPy's kernels ran, forward and backward."""
    counts, plain = Counter(), kernel.native

    def counting(op, backend):
        run = plain(op, backend)

        def counted(*args, **params):
            counts[op.name] += 1
            return run(*args, **params)

        return counted

    monkeypatch.setattr(kernel, "native", counting)
    fresh = kernel.RawNamespace(get_backend("numpy"))
    monkeypatch.setattr(kernel, "raw_namespace", lambda backend: fresh)
    for kind in (np.ndarray, np.float64):
        monkeypatch.setitem(kernel.NAMESPACE, kind, fresh)
    for op in TABLE.values():
        anew(op)
    return counts


def test_what_argnums_leave_out_is_not_computed(ran):
    w, data = np.ones((3, 4)), np.ones((2, 3))

    def f(data, w):
        return pg.sum(pg.matmul(pg.sin(data), w))

    pg.grad(f, 1)(data, w)
    assert (ran["sin"], ran["cos"], ran["matmul"]) == (1, 0, 2)
    ran.clear()
    pg.grad(f, 0)(data, w)
    assert (ran["sin"], ran["cos"], ran["matmul"]) == (1, 1, 2)
    ran.clear()
    pg.grad(f, (0, 1))(data, w)
    assert (ran["sin"], ran["cos"], ran["matmul"]) == (1, 1, 3)
    ran.clear()
    pg.jvp(lambda w: f(data, w), (w,), (w,))
    assert (ran["sin"], ran["cos"], ran["matmul"]) == (1, 0, 2)


def test_what_the_result_does_not_depend_on_is_not_swept(ran):
    def f(x):
        pg.sin(x)
        kept = pg.exp(x)
        pg.sin(kept)
        return pg.sum(kept)

    pg.grad(f)(x)
    assert (ran["sin"], ran["cos"], ran["exp"]) == (2, 0, 1)


def test_stopped_gradients_and_no_grad_are_not_swept(ran):
    def f(x):
        with pg.no_grad():
            scale = pg.sin(x)
        return pg.sum(x * scale * pg.sin(pg.stop_gradient(x)))

    pg.grad(f)(x)
    assert (ran["sin"], ran["cos"]) == (2, 0)


def test_a_pullback_repeats_only_the_backward_work(ran):
    _, pullback = pg.vjp(pg.sin, x)
    _, pushforward = pg.linearize(pg.sin, x)
    for _ in range(3):
        pullback(x)
        pushforward(x)
    assert ran["sin"] == 2


# Depth and memory


@pytest.mark.slow
def test_a_chain_of_a_million_ops_is_differentiated_without_recursion():
    def chain(x, n):
        for _ in range(n):
            x = x * 0.999999
        return x

    slope = pg.grad(lambda x: chain(x, 1_000_000))(1.0)
    np.testing.assert_allclose(float(slope), 0.999999**1_000_000, rtol=1e-9)
    _, pullback = pg.vjp(lambda x: chain(x, 100_000), A(1.0))
    del pullback  # a graph that was not swept is taken apart without recursion too


def step(params, data):
    """A training step with most of what a training step has."""

    def loss(params):
        hidden = pg.tanh(pg.linear(data, params["w"], params["b"]))
        parts = pg.unstack(hidden, axis=1)
        again = pg.checkpoint(lambda h: pg.sum(h**2))(pg.stack(list(parts)))
        y = hidden * 1.0
        y[0] = 0.0
        return again + pg.sum(y)

    _, gradient = pg.value_and_grad(loss)(params)
    return {k: params[k] - 1e-3 * gradient[k] for k in params}


def tape_step(w, data):
    pg.sum(pg.sin(data @ w) ** 2).backward()
    with pg.no_grad():
        w -= 1e-3 * w.grad
    w.grad = None


def test_memory_is_flat_over_hundreds_of_steps_without_the_garbage_collector():
    data, params = np.ones((4, 3)), {"w": np.ones((3, 2)), "b": np.zeros(2)}
    w = pg.tensor(np.ones(3), requires_grad=True)

    def run(times):
        nonlocal params
        for _ in range(times):
            params = step(params, data)
            tape_step(w, data)
            pg.hvp(lambda w: pg.sum(pg.sin(data @ w)), (x,), (x,))

    def nodes():
        return sum(issubclass(type(thing), Node | pg.Tensor) for thing in gc.get_objects())

    run(3)
    gc.collect()
    gc.disable()
    try:
        before = nodes()
        for n in range(1, 20):  # the interpreter keeps so many tuples of each length to use again
            kept = [(None,) * n for _ in range(2000)]
            del kept
        tracemalloc.start()
        run(300)
        start = tracemalloc.get_traced_memory()[0]
        run(300)
        grown = tracemalloc.get_traced_memory()[0] - start
        tracemalloc.stop()
        assert nodes() == before
        assert grown < 20_000  # one array or node that stays in each step is 30,000 and more
    finally:
        gc.enable()


def test_the_collector_leaves_a_graph_that_is_being_recorded_alone():
    """Full passes walk every node again and again; young garbage is collected as ever."""
    passes, thresholds = [], []

    def count(phase, info):
        if phase == "start" and PATIENCE.recorded:
            passes.append(info["generation"])

    def f(x):
        for _ in range(20_000):
            x = x + 1.0
        thresholds.append(gc.get_threshold())
        return pg.sum(x)

    before = gc.get_threshold()
    gc.set_threshold(700, 10, 1)
    gc.collect()
    gc.callbacks.append(count)
    try:
        pg.grad(lambda x: pg.grad(f)(x)[0] * f(x))(x)
        assert gc.get_threshold() == (700, 10, 1)  # once again, after two functions in one
    finally:
        gc.callbacks.remove(count)
        gc.set_threshold(*before)
    assert set(thresholds) == {(700, 10, 1000)}
    assert 1 in passes and 2 not in passes


def test_whoever_sets_the_collector_while_a_function_is_recorded_has_the_last_word():
    def f(x):
        gc.set_threshold(1234, 10, 10)
        raise ZeroDivisionError

    before = gc.get_threshold()
    try:
        with pytest.raises(ZeroDivisionError):
            pg.grad(f)(x)
        assert gc.get_threshold() == (1234, 10, 10)
    finally:
        gc.set_threshold(*before)
    with pytest.raises(ZeroDivisionError):
        pg.vjp(lambda x: 1 / 0, x)
    assert gc.get_threshold() == before


def test_what_was_saved_is_freed_as_the_sweep_passes():
    saved, alive = [], []

    @pg.custom_vjp
    def probe(x):
        return x * 1.0

    def backward(_, g):
        alive.append(sum(ref() is not None for ref in saved))
        return (g,)

    probe.defvjp(lambda x: (x * 1.0, None), backward)

    def f(x):
        y = probe(x)
        for _ in range(3):
            y = pg.exp(y * 0.1)
            saved.append(weakref.ref(y.value))
        y = probe(y)
        for _ in range(3):
            y = pg.exp(y * 0.1)
            saved.append(weakref.ref(y.value))
        return pg.sum(y)

    pg.grad(f)(x)
    assert alive == [3, 0]


def test_nothing_survives_a_transform():
    refs = []

    def f(x):
        y = pg.exp(x)
        refs.extend([weakref.ref(y), weakref.ref(y.payload), weakref.ref(y.value)])
        return pg.sum(y)

    gc.disable()
    try:
        pg.grad(f)(x)
        assert [ref() for ref in refs] == [None] * 3
        _, pullback = pg.vjp(f, x)
        assert refs[-2]() is not None  # a pullback may be called again
        del pullback
        assert [ref() for ref in refs] == [None] * 6
    finally:
        gc.enable()


def test_a_rule_saves_only_what_it_names():
    """exp keeps its output, sum nothing: their arguments are gone while the pullback lives."""
    refs = {}

    def f(x):
        scaled = x + 1.0
        y = pg.exp(scaled)
        z = y + 2.0
        for name, tensor in (("argument of exp", scaled), ("result of exp", y), ("argument of sum", z)):
            refs[name] = weakref.ref(tensor.value)
        return pg.sum(z)

    _, pullback = pg.vjp(f, x)
    assert {name for name, ref in refs.items() if ref() is not None} == {"result of exp"}
    np.testing.assert_allclose(pullback(A(1.0))[0], np.exp(x + 1))


# Threads


def in_threads(n, work):
    """Run ``work(i)`` in n threads that start together; raise what they raise."""
    barrier, failures = threading.Barrier(n), []

    def body(i):
        try:
            barrier.wait()
            work(i)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=body, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_gradients_in_eight_threads_at_once_are_right():
    def work(i):
        for k in range(50):
            scale = float(i + k + 1)
            same(pg.grad(lambda x, scale=scale: pg.sum((scale * x) ** 2))(x), 2 * scale * scale * x)
            same(pg.hessian(lambda x, scale=scale: pg.sum(scale * x**3))(x), np.diag(6 * scale * x))
            w = pg.tensor(x, requires_grad=True)
            pg.sum(w * scale).backward()
            same(w.grad, [scale] * 3)
            if k % 10 == i:
                with pg.no_grad():
                    assert not (w * 2.0).requires_grad

    in_threads(8, work)


def test_contexts_do_not_leak_between_threads():
    pytest.importorskip("array_api_strict")
    inside, done = threading.Event(), threading.Event()

    def work(i):
        if i == 0:
            with pg.use("strict:device1"), pg.no_grad():
                inside.set()
                assert str(pg.current_device()) == "strict:device1"
                assert done.wait(10)
        else:
            try:
                assert inside.wait(10)
                assert str(pg.current_device()) == "cpu"
                w = pg.tensor(x, requires_grad=True)
                pg.sum(w * w).backward()
                same(w.grad, 2 * x)
                same(pg.grad(lambda x: pg.sum(x * x))(x), 2 * x)
                assert isinstance(pg.ones(2), np.ndarray)
            finally:
                done.set()

    in_threads(2, work)
    assert str(pg.current_device()) == "cpu"


# JAX and Dask


def network(p, x):
    hidden = pg.gelu(pg.linear(x, p["w"], p["b"]))
    return pg.mean(pg.logsumexp(hidden, axis=-1)) + pg.sum(p["w"][0, :] ** 2)


def test_gradients_work_inside_jit_and_are_jaxs():
    jax = pytest.importorskip("jax")
    p = {"w": jax.numpy.asarray(np.arange(6.0).reshape(2, 3) / 5), "b": jax.numpy.asarray([0.1, 0.2, 0.3])}
    data = jax.numpy.asarray([[1.0, 2.0], [0.5, -1.0]])

    def theirs(p, x):
        hidden = jax.nn.gelu(x @ p["w"] + p["b"], approximate=False)
        return jax.numpy.mean(jax.scipy.special.logsumexp(hidden, axis=-1)) + jax.numpy.sum(p["w"][0] ** 2)

    value, gradient = jax.jit(pg.value_and_grad(network))(p, data)
    np.testing.assert_allclose(value, theirs(p, data), rtol=1e-12)
    for key, expected in jax.grad(theirs)(p, data).items():
        np.testing.assert_allclose(gradient[key], expected, rtol=1e-10, atol=1e-14)
    product = jax.jit(lambda p: pg.hvp(lambda p: network(p, data), (p,), (p,)))(p)[0]
    np.testing.assert_allclose(
        product["b"], jax.jvp(jax.grad(lambda p: theirs(p, data)), (p,), (p,))[1]["b"], rtol=1e-9, atol=1e-13
    )
    compiled = jax.jit(pg.grad(network)).lower(p, data).compile()
    np.testing.assert_allclose(compiled(p, data)["b"], gradient["b"])


def test_a_branch_on_a_value_inside_jit_is_jaxs_own_error():
    jax = pytest.importorskip("jax")
    with pytest.raises(jax.errors.ConcretizationTypeError):
        jax.jit(pg.grad(lambda x: x * x if x > 0 else x))(jax.numpy.asarray(1.0))


def test_dask_computes_nothing_until_asked():
    dask = pytest.importorskip("dask")
    import dask.array as da

    def refuse(*args, **kwargs):
        raise AssertionError("an array was computed")

    plain = {"w": np.arange(6.0).reshape(2, 3) / 5, "b": np.ones(3)}
    p = {key: da.from_array(value, chunks=2) for key, value in plain.items()}
    data = da.from_array(np.asarray([[1.0, 2.0], [0.5, -1.0]]), chunks=1)
    with dask.config.set(scheduler=refuse):
        gradient = pg.grad(network)(p, data)
        _, moved = pg.jvp(lambda p: network(p, data), (p,), (p,))
        (product,) = pg.hvp(lambda p: network(p, data), (p,), (p,))
        w = pg.tensor(data, requires_grad=True)
        pg.sum(pg.sin(w) * w[0, :]).backward()
        with pytest.raises(AssertionError, match="an array was computed"):
            gradient["w"].compute()
    expected = pg.grad(network)(plain, data.compute())
    for key in p:
        assert isinstance(gradient[key], da.Array)
        np.testing.assert_allclose(gradient[key].compute(), expected[key], rtol=1e-10)
    twice = pg.hvp(lambda p: network(p, data.compute()), (plain,), (plain,))[0]
    np.testing.assert_allclose(product["b"].compute(), twice["b"], rtol=1e-10)
    slope = sum(np.sum(expected[key] * plain[key]) for key in p)
    np.testing.assert_allclose(float(moved), slope, rtol=1e-10)
    assert isinstance(w.grad, da.Array)


# Devices


@pytest.fixture
def there():
    """Make an array on a simulated device that is not the default."""
    pytest.importorskip("array_api_strict")
    return lambda values: pg.to_device(A(values), "strict:device1")


def test_everything_stays_on_the_device_of_its_arguments(there):
    p = {"w": there(np.arange(6.0).reshape(2, 3) / 5), "b": there(np.ones(3))}
    data = there([[1.0, 2.0], [0.5, -1.0]])

    def f(p):
        return network(p, data)

    home = pg.device("strict:device1")
    results = [
        *pg.value_and_grad(f)(p)[1].values(),
        pg.value_and_grad(f)(p)[0],
        pg.jvp(f, (p,), (p,))[1],
        pg.linearize(f, p)[1](p),
        pg.hvp(f, (p,), (p,))[0]["w"],
        pg.hessian(f)(p)["w"]["b"],
        pg.jacrev(pg.grad(f))(p)["b"]["b"],
        pg.grad(lambda p: pg.sum(pg.grad(f)(p)["w"] ** 2))(p)["b"],
        pg.grad(pg.checkpoint(f))(p)["w"],
    ]
    assert [pg.device(y) for y in results] == [home] * len(results)
    expected = pg.hessian(lambda p: network(p, host(data)))({k: host(v) for k, v in p.items()})
    np.testing.assert_allclose(host(results[5 + 1]), expected["w"]["b"], rtol=1e-10, atol=1e-14)


def test_nothing_crosses_devices_silently(there):
    here, far = pg.to_device(x, "strict:device2"), there(x)
    functions = [
        lambda a: pg.sum(a * far),
        lambda a: pg.sum(pg.where(a > 0, far, a)),
        lambda a: pg.sum(pg.concat([a, far])),
        lambda a: pg.sum(pg.clip(a, far)),
        lambda a: pg.matmul(a, far),
        lambda a: _assigned(a, far),
    ]
    for f in functions:
        twice = pg.grad(lambda a, f=f: pg.grad(f)(a)[0])
        for differentiate in (pg.grad(f), lambda a, f=f: pg.jvp(f, (a,), (a,)), twice):
            with pytest.raises(pg.DeviceMismatchError, match="arguments live on different devices"):
                differentiate(here)
    _, pullback = pg.vjp(lambda a: a * 2.0, here)
    with pytest.raises(pg.DeviceMismatchError):
        pullback(far)
    with pytest.raises(pg.DeviceMismatchError):
        pg.jvp(lambda a: a * 2.0, (here,), (far,))


def _assigned(a, v):
    y = a * 1.0
    y[:] = v
    return pg.sum(y)


def test_moves_between_devices_are_differentiable_to_second_order(there):
    far = there(x)

    def f(a):
        b = pg.to_device(a, "strict:device2")
        c = pg.to_device(pg.sin(b) * b, "cpu")
        return pg.to_device(pg.sum(c * c), "strict:device1")

    gradient, hessian = pg.grad(f)(far), pg.hessian(f)(far)
    assert str(pg.device(gradient)) == str(pg.device(hessian)) == "strict:device1"
    twin = pg.hessian(lambda a: pg.sum((pg.sin(a) * a) ** 2))(x)
    np.testing.assert_allclose(host(hessian), twin, rtol=1e-12, atol=1e-14)


def test_constants_are_made_where_the_setting_or_the_caller_says(there):
    xp = pg.namespace("strict")
    with pg.use("strict:device1"):
        assert str(pg.device(xp.ones(2).value)) == "strict:device1"
        assert str(pg.device(pg.ones(2))) == "strict:device1"
        far = pg.to_device(x, "strict:device2")
        assert str(pg.device(pg.asarray(far))) == "strict:device2"
        assert str(pg.device(xp.asarray(far).value)) == "strict:device2"
        assert str(pg.device(pg.zeros_like(far))) == "strict:device2"
        same(host(pg.grad(lambda a: pg.sum(a * xp.zeros_like(a) + a))(far)), [1.0] * 3)
    assert str(pg.device(xp.ones(2).value)) == "strict:CPU_DEVICE"
