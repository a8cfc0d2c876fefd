"""vmap is a loop over examples, for every op of the table and under every other transform."""

from itertools import islice

import numpy as np
import pytest

import portagrad as pg
from portagrad.op import TABLE, Filled
from portagrad.testing.draws import Call, cases_of, draw, invoke
from portagrad.testing.trials import ELSEWHERE

# The shapes of their results depend on the values, so those of a batch cannot be stacked.
RAGGED = {"nonzero", "unique_all", "unique_counts", "unique_inverse", "unique_values"}
OPS = [op for op in TABLE.values() if op.name not in {*ELSEWHERE, *RAGGED} and op.dtypes != "boolean"]
SIZE = 3


def host(y):
    return [np.asarray(pg.to_device(part, "cpu")) for part in (y if isinstance(y, list | tuple) else [y])]


def stacked(op, case, dtype, device, shared):
    """Arguments of a batch: several draws put together, but for one argument that all examples share."""
    draws = [draw(op, case, device, dtype, seed) for seed in range(SIZE)]
    args, axes = [], []
    for i, first in enumerate(draws[0].args):
        if hasattr(first, "shape") and i != shared:
            args.append(pg.stack([d.args[i] for d in draws]))
            axes.append(0)
        else:
            args.append(first)
            axes.append(None)
    return draws, args, axes


def dtype_of(op):
    return {"integer": "int64", "complex": "complex128"}.get(op.dtypes, "float64")


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
@pytest.mark.parametrize("device", ["cpu", "torch", "strict"])
def test_a_batch_is_a_loop(op, device):
    dtype = dtype_of(op)
    for case in islice(cases_of(op), None if device == "cpu" else 2):
        arrays = [i for i, a in enumerate(case.args) if isinstance(a, tuple | Filled)]
        for shared in (None, *arrays) if len(arrays) > 1 and device == "cpu" else (None,):
            draws, args, axes = stacked(op, case, dtype, device, shared)
            if all(a is None for a in axes):
                continue
            params = case.params

            def alone(*args, op=op, params=params):
                call = Call(op, args, params)
                return call.told(invoke(op, call.prepared(args), params))

            try:
                expected = [
                    host(alone(*[args[i] if axes[i] is None else d.args[i] for i in range(len(args))]))
                    for d in draws
                ]
            except (IndexError, NotImplementedError):
                continue  # not every library has every case
            found = host(pg.vmap(alone, tuple(axes))(*args))
            for k, part in enumerate(found):
                np.testing.assert_allclose(
                    part, np.stack([e[k] for e in expected]), rtol=1e-10, atol=1e-12, err_msg=f"{case}"
                )


def network(w, b, x, label):
    hidden = pg.layer_norm(pg.tanh(pg.linear(x, w, b)), None, None)
    z = pg.concat([hidden[::-1], pg.softmax(hidden)])
    z = pg.reshape(z, (2, 3))
    z = z.T @ z
    xp = z.__array_namespace__()
    u = xp.zeros(3)
    u[1] = z[0, 0]
    u += z[1, :]
    return pg.sum(pg.max(z, axis=0) * u) + pg.logsumexp(z) + pg.prod(u) + pg.cross_entropy(u, label)


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    w, b, x = rng.standard_normal((4, 3)), rng.standard_normal(3), rng.standard_normal((5, 4))
    return w, b, x, rng.integers(0, 3, 5)


AXES = (None, None, 0, 0)
COMPOSED = {
    "grad": pg.grad(network),
    "hessian": pg.hessian(network, 1),
    "jvp": lambda w, b, x, label: pg.jvp(lambda b: network(w, b, x, label), (b,), (b,))[1],
    "hvp": lambda w, b, x, label: pg.hvp(lambda b: network(w, b, x, label), (b,), (b,))[0],
    "checkpoint": pg.grad(pg.checkpoint(network)),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_transforms_inside_a_batch(problem, name):
    f = COMPOSED[name]
    w, b, x, labels = problem
    found = pg.vmap(f, AXES)(*problem)
    expected = np.stack([f(w, b, x[i], labels[i]) for i in range(len(x))])
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def test_a_batch_inside_transforms(problem):
    w, b, x, labels = problem

    def total(w):
        return pg.sum(pg.vmap(network, AXES)(w, b, x, labels))

    expected = sum(pg.grad(network)(w, b, x[i], labels[i]) for i in range(len(x)))
    np.testing.assert_allclose(pg.grad(total)(w), expected, rtol=1e-10)
    _, moved = pg.jvp(total, (w,), (w,))
    np.testing.assert_allclose(moved, np.sum(expected * w), rtol=1e-10)


def test_batches_nest():
    a, b = np.arange(3.0), np.arange(2.0)
    outer = pg.vmap(pg.vmap(lambda a, b: a * b + a, (None, 0)), (0, None))(a, b)
    np.testing.assert_array_equal(outer, a[:, None] * b + a[:, None])


def test_axes_of_arguments_and_results():
    x = np.arange(6.0).reshape(2, 3)
    doubled, first = pg.vmap(lambda d: (2 * d["x"], d["y"] * d["x"][0]), ({"x": 1, "y": None},), (1, 0))(
        {"x": x, "y": np.asarray(5.0)}
    )
    np.testing.assert_array_equal(doubled, 2 * x)
    np.testing.assert_array_equal(first, 5 * x[0])
    np.testing.assert_array_equal(pg.vmap(lambda x: np.asarray(1.0))(x), [1.0, 1.0])


def test_stop_gradient_keeps_the_batch(problem):
    x = problem[2]
    found = pg.vmap(pg.grad(lambda x: pg.sum(pg.stop_gradient(x) * x)))(x)
    np.testing.assert_array_equal(found, x)


@pytest.mark.parametrize(
    ("f", "axes", "message"),
    [
        (lambda x: x if x[0] > 0 else -x, 0, r"bool: a batched value has one answer per example"),
        (lambda x: float(x[0]), 0, r"float: the value .* holds one number for each example of a vmap"),
        (
            lambda x: np.zeros(3)[x],
            0,
            r"holds one number for each example|only integer|arrays used as indices",
        ),
    ],
)
def test_what_python_must_not_see(problem, f, axes, message):
    with pytest.raises((pg.ConcretizationError, IndexError, TypeError), match=message):
        pg.vmap(f, axes)(problem[2])


@pytest.mark.parametrize(
    ("args", "axes", "message"),
    [
        (
            (np.ones(2), np.ones(3)),
            0,
            r"vmap: the batch must have one length, found 2 \(leaf 0\), 3 \(leaf 1\)",
        ),
        ((np.ones(2), np.ones(2)), None, r"vmap: the batch must have one length, found none"),
        ((np.ones(2), np.asarray(1.0)), 0, r"vmap: leaf 1 has shape \(\) and no axis 0"),
        ((np.ones((0, 2)), np.ones((0, 2))), 0, r"vmap: the batch is empty"),
        ((np.ones(2), np.ones(2)), (0,), r"vmap: in_axes=\(0,\) does not fit the structure"),
    ],
)
def test_bad_axes(args, axes, message):
    with pytest.raises(ValueError, match=message):
        pg.vmap(lambda x, y: x + y, axes)(*args)
