"""vmap is a loop over examples, for every op of the table and under every other transform."""

from itertools import combinations, islice

import numpy as np
import pytest

import portagrad as pg
from portagrad.op import TABLE, Filled, case
from portagrad.testing.draws import Call, cases_of, draw, invoke
from portagrad.testing.trials import ELSEWHERE
from portagrad.transforms import batch

I = np.asarray  # noqa: E741 - indices are read better so

# Their arguments are no mere numbers; a test of their own is below.
OPS = [op for op in TABLE.values() if op.name not in ELSEWHERE and not op.ragged and op.dtypes != "boolean"]
SIZE = 3

# Where the cases of the records leave out what a rule treats in a way of its own.
ODD = {
    **{
        name: [case((), keepdims=True), case((2, 3), keepdims=True), case((2, 3), axis=(), keepdims=True)]
        for name in ("sum", "prod", "max", "min", "mean", "all", "any", "count_nonzero")
    },
    "argmax": [case((), keepdims=True), case((2, 3), keepdims=True), case((2, 3), axis=-1, keepdims=True)],
    "concat": [case((2, 3), (2,), axis=None), case((2, 3), (2, 1), axis=-1)],
    "cumulative_sum": [case((3,), include_initial=True)],
    "flip": [case(()), case((2, 3))],
    "getitem": [
        case((4, 3), key=I([2, 0, 2, -1])),
        case((4, 3), key=(I([[0], [3]]), I([1, 2, 1]))),
        case((4, 3), key=(1, I([2, 0, 2]))),
        case((4, 3), key=I([True, False, True, True])),
        case((4, 3), key=(slice(None), I([True, False, True]))),
        case((4, 3), key=(None, slice(None, 2), I([2, 2]))),
        case((2, 3, 4), key=(I([0, 1]), slice(None), I([0, 3]))),
        case((2, 3, 4), key=(0, slice(None), I([0, 3]))),
        case((2, 3, 4), key=(..., I([[1, 2]]), I([0, 3]))),
        case((2, 3), key=[0, 1, 1]),
        case((3,), key=I(1)),
    ],
    "index_add": [
        case((4, 3), (4, 3), key=I([0, 2, 0, 0])),
        case((4, 3), (3,), key=(1, I([2, 0, 2]))),
        case((4, 3), 0.5, key=(slice(1, 3), I([2, 2]))),
        case((4, 3), (), key=(slice(None), -1)),
    ],
    "index_put": [
        case((4, 3), (2, 3), key=I([0, 2])),
        case((4, 3), 0.5, key=(..., I([2, 0]))),
        case((4, 3), (), key=I([True, False, True, True])),
        case((4, 3), (1, 3), key=(slice(None), slice(None))),
    ],
    "isin": [case((), (2,)), case((2, 3), (0,))],
    "linalg.cross": [case((3,), (2, 3)), case((2, 1, 3), (4, 3))],
    "linalg.pinv": [case((2, 3, 2), rtol=I([1e-3, 1e-4]))],
    "linalg.solve": [case((2, 2), (2,)), case((2, 2, 2), (2, 3)), case((4, 2, 2), (3, 1, 2, 2))],
    "linalg.vector_norm": [case((), keepdims=True)],
    "linear": [case((3,), (3, 2), (2,)), case((2, 2, 3), (3, 2), None)],
    "matmul": [case((2,), (2,)), case((2,), (3, 2, 2)), case((3, 2, 2), (2,)), case((2, 3, 2), (2, 4))],
    "repeat": [case((2, 3), repeats=I([1, 0, 2]), axis=1), case((2,), repeats=I([2, 1]))],
    "reshape": [case((2, 3), shape=(3, -1)), case((0, 2), shape=(0, 3))],
    "roll": [case((2, 3), shift=2), case((), shift=1)],
    "scatter": [
        case((4, 3), key=I([2, 0, 2, -1]), shape=(4, 3)),
        case((3,), key=(1, I([2, 0, 2])), shape=(4, 3)),
    ],
    "softmax": [case((2, 3), axis=0)],
    "take": [
        case((3, 2), Filled((2, 2), 3), axis=0),
        case((2, 3, 2), Filled((2,), 3), axis=1),
        case((3,), Filled((), 3)),
    ],
    "take_along_axis": [case((1, 3), Filled((2, 2), 3)), case((3, 4), Filled((2, 1), 3), axis=0)],
    "tensordot": [case((2, 3), (2, 4, 3), axes=((1, 0), (-1, 0))), case((2,), (3, 1), axes=0)],
    "tile": [case((2,), repetitions=(3, 1)), case((), repetitions=(2,)), case((2, 2), repetitions=())],
    "untake": [
        case((2, 4, 2), Filled((4,), 3), axis=1, shape=(2, 3, 2)),
        case((2, 2), Filled((2, 2), 4), axis=None, shape=(4,)),
    ],
    "untake_along_axis": [case((2, 1, 3), Filled((2, 1, 3), 2), axis=1, shape=(2, 2, 3))],
    "where": [case(Filled(()), 0.5, (2, 3))],
}
LOOPS: dict[str, str] = {}
"""Ops that run once per example, and why: there are none."""


def host(y):
    return [np.asarray(pg.to_device(part, "cpu")) for part in (y if isinstance(y, list | tuple) else [y])]


def dtype_of(op):
    return {"integer": "int64", "complex": "complex128"}.get(op.dtypes, "float64")


def moved(value, device):
    """A parameter with its arrays on a device."""
    if isinstance(value, tuple):
        return tuple(moved(part, device) for part in value)
    return pg.to_device(value, device) if isinstance(value, np.ndarray) else value


def choices(args):
    """Every choice of the arrays that have a batch."""
    arrays = [i for i, a in enumerate(args) if hasattr(a, "shape")]
    return [chosen for count in range(len(arrays), 0, -1) for chosen in combinations(arrays, count)]


def check_batch(op, case, device):
    """A batch gives what a loop over its examples gives, whichever arguments have one."""
    draws = [draw(op, case, device, dtype_of(op), seed).args for seed in range(SIZE)]
    shared, params = draws[0], {name: moved(value, device) for name, value in case.params.items()}

    def alone(*args):
        call = Call(op, args, params)
        return call.told(invoke(op, call.prepared(args), params))

    for batched in choices(shared):
        rows = [[row[i] if i in batched else a for i, a in enumerate(shared)] for row in draws]
        try:
            expected = [host(alone(*row)) for row in rows]
        except (IndexError, NotImplementedError):
            return  # not every library has every case
        args = [pg.stack([row[i] for row in draws]) if i in batched else a for i, a in enumerate(shared)]
        axes = tuple(0 if i in batched else None for i in range(len(args)))
        for k, part in enumerate(host(pg.vmap(alone, axes)(*args))):
            wanted, told = np.stack([e[k] for e in expected]), f"{case}, batched {batched}"
            assert part.shape == wanted.shape, told
            np.testing.assert_allclose(part, wanted, rtol=1e-10, atol=1e-12, err_msg=told)


def test_every_op_has_a_batching_rule():
    """But composites, which are other ops, and those whose results would have a shape for each example."""
    for op in TABLE.values():
        if op.kind != "composite" and not op.ragged:
            assert callable(op.batch) or op.batch in batch.RULES or op.name in LOOPS, op.name
    assert {op.batch for op in TABLE.values()} - {None} == {*batch.RULES}


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_a_batch_gives_what_a_loop_gives_without_one(op, monkeypatch):
    """For every op, case and choice of the arguments that have a batch."""
    looped, loop = [], batch.one_by_one
    monkeypatch.setattr(batch, "one_by_one", lambda op, *rest: looped.append(op.name) or loop(op, *rest))
    for tried in (*cases_of(op), *ODD.get(op.name, ())):
        check_batch(op, tried, "cpu")
    assert set(looped) <= {*LOOPS}


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
@pytest.mark.parametrize("device", ["torch", "strict:device1"])
def test_a_batch_gives_what_a_loop_gives_elsewhere(op, device):
    for tried in islice(cases_of(op), 2):
        check_batch(op, tried, device)


@pytest.mark.parametrize("op", [op for op in OPS if op.differentiable], ids=lambda op: op.name)
def test_derivatives_of_a_batch_and_batches_of_derivatives_are_loops(op, monkeypatch):
    """Both modes, with `vmap` inside and outside, also by an argument that the examples share."""
    monkeypatch.delattr(batch, "one_by_one")
    for tried in (*islice(cases_of(op), 3), *ODD.get(op.name, ())):
        draws = [draw(op, tried, "cpu", dtype_of(op), seed) for seed in range(SIZE)]
        active, rows = draws[0].active, [d.args for d in draws]
        for shared in (None, *active[len(active) == 1 :]):
            batched = [i for i, a in enumerate(rows[0]) if hasattr(a, "shape") and i != shared]
            if active and batched:
                check_derivatives(op, tried.params, rows, batched, active)


def check_derivatives(op, params, rows, batched, active):
    rows = [[row[i] if i in batched else a for i, a in enumerate(rows[0])] for row in rows]

    def put_together(parts, axes):
        return [
            np.stack(p) if axis == 0 else p[0] for p, axis in zip(zip(*parts, strict=True), axes, strict=True)
        ]

    def of_active(row):
        def alone(*xs):
            args = list(row)
            for i, x in zip(active, xs, strict=True):
                args[i] = x
            call = Call(op, args, params)
            y = call.told(invoke(op, call.prepared(args), params))
            return tuple(y) if isinstance(y, tuple | list) else (y,)

        return alone

    def pulled(row, xs, g):
        return pg.vjp(of_active(row), *xs)[1](g)

    def pushed(row, xs, ts):
        return pg.jvp(of_active(row), tuple(xs), tuple(ts))[1]

    axes = [0 if i in batched else None for i in range(len(rows[0]))]
    xs, x_axes = [[row[i] for i in active] for row in rows], tuple(axes[i] for i in active)
    ys = [of_active(row)(*x) for row, x in zip(rows, xs, strict=True)]
    if not any(y.dtype.kind in "fc" for y in ys[0]):
        return
    rng = np.random.default_rng(0)
    gs = [tuple(np.asarray(rng.standard_normal(y.shape), y.dtype) for y in its) for its in ys]
    ts = [[np.asarray(rng.standard_normal(x.shape), x.dtype) for x in xs[0]] for _ in rows]
    ts = [[t if axis == 0 else u for t, u, axis in zip(row, ts[0], x_axes, strict=True)] for row in ts]
    whole, x, t = (put_together(parts, its) for parts, its in ((rows, axes), (xs, x_axes), (ts, x_axes)))
    g = tuple(put_together(gs, [0] * len(gs[0])))

    def all_of(*x):
        args = list(whole)
        for i, part in zip(active, x, strict=True):
            args[i] = part
        return pg.vmap(lambda *row: of_active(row)(*[row[i] for i in active]), tuple(axes))(*args)

    pulls = [pulled(*given) for given in zip(rows, xs, gs, strict=True)]
    found = pg.vmap(pulled, (list(axes), list(x_axes), 0))(whole, x, g)
    outside = pg.vjp(all_of, *x)[1](g)
    for part, total, wanted, axis in zip(found, outside, zip(*pulls, strict=True), x_axes, strict=True):
        close(part, np.stack(wanted))
        close(total, np.stack(wanted) if axis == 0 else sum(wanted))
    pushes = zip(*[pushed(*given) for given in zip(rows, xs, ts, strict=True)], strict=True)
    found = pg.vmap(pushed, (list(axes), list(x_axes), list(x_axes)))(whole, x, t)
    outside = pg.jvp(all_of, tuple(x), tuple(t))[1]
    for part, moved, wanted in zip(found, outside, pushes, strict=True):
        close(part, np.stack(wanted))
        close(moved, np.stack(wanted))


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("side", ["left", "right"])
def test_each_example_searches_where_its_own_values_are(side):
    """Also among equal values and NaNs, and by a sorter."""
    nan = np.nan
    values = I([[1.0, 1.0, 2.0, nan], [0.0, 3.0, nan, nan], [-1.0, 0.0, 0.0, 0.0]])
    wanted = I([[1.0, nan, 5.0], [3.0, 0.0, -2.0], [0.0, 0.0, -1.0]])
    order = I([[3, 1, 0, 2], [0, 2, 1, 3], [1, 0, 3, 2]])
    shuffled = np.take_along_axis(values, np.argsort(order, axis=1), axis=1)
    expected = [np.searchsorted(v, w, side=side) for v, w in zip(values, wanted, strict=True)]
    for axes in ((0, 0), (0, None), (None, 0)):
        given = [a if axis == 0 else a[0] for a, axis in zip((values, wanted), axes, strict=True)]
        rows = zip(*[a if axis == 0 else [a] * 3 for a, axis in zip(given, axes, strict=True)], strict=True)
        found = pg.vmap(lambda v, w: pg.searchsorted(v, w, side=side), axes)(*given)
        np.testing.assert_array_equal(found, [np.searchsorted(v, w, side=side) for v, w in rows])
    found = pg.vmap(lambda v, w, s: pg.searchsorted(v, w, side=side, sorter=s))(shuffled, wanted, order)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("op", sorted(ELSEWHERE))
def test_casts_moves_and_random_words_of_a_batch(op, monkeypatch):
    monkeypatch.delattr(batch, "one_by_one")
    x, words = np.linspace(0.5, 2.5, 6).reshape(3, 2), np.arange(6, dtype=np.int32).reshape(3, 2)
    xp = pg.namespace()
    f, args = {
        "astype": (lambda x: xp.astype(x, np.float32), (x,)),
        "cross_entropy_and_slope": (xp.cross_entropy_and_slope, (x, I([0, 1, 0]))),
        "one_hot": (lambda i: xp.one_hot(i, like=np.float64, classes=6), (words,)),
        "threefry": (lambda a, b: xp.threefry(1, 2, a, b), (words, words)),
        "to_device": (lambda x: pg.to_device(x, "torch"), (x,)),
    }[op]
    expected = [host(f(*[xp.asarray(a[i]) for a in args])) for i in range(3)]
    for k, part in enumerate(host(pg.vmap(f)(*args))):
        np.testing.assert_array_equal(part, np.stack([e[k] for e in expected]))


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


def clipped_vjp():
    """The identity; of the gradient what is left after clipping, and a number that the rule kept."""
    f = pg.custom_vjp(lambda x, y: {"z": x * y, "name": "kept"})
    f.defvjp(
        lambda x, y: ({"z": x * y, "name": "kept"}, (y, "static", 2.0)),
        lambda kept, g: (pg.clip(g["z"], -1.0, 1.0) * kept[0] * kept[2], None),
    )
    return lambda x, y: f(x, y)["z"], lambda x, y: 2 * y


def tripled_jvp():
    f = pg.custom_jvp(lambda x, y: x * y)
    f.defjvp(lambda xs, ts: (f(*xs), 3 * ts[0] * xs[1]))
    return f, lambda x, y: 3 * y


def tripled_by_numbers():
    """A function that is another library's."""
    f = pg.custom_jvp(
        lambda x, y: x.__array_namespace__().asarray(np.asarray(x) * np.asarray(y)), one_by_one=True
    )
    f.defjvp(lambda xs, ts: (f(*xs), 3 * ts[0] * xs[1]))
    return f, lambda x, y: 3 * y


@pytest.mark.parametrize("make", [clipped_vjp, tripled_jvp, tripled_by_numbers])
@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)])
def test_rules_of_ones_own_hold_for_a_batch(make, axes):
    """Inside and outside of `vmap`, nested, and for arguments that the examples share."""
    f, slope = make()
    x, y = (a if axis == 0 else a[0] for a, axis in zip((I([1.0, 2.0]), I([-3.0, 0.5])), axes, strict=True))
    g = pg.grad(lambda x, y: pg.sum(pg.vmap(f, axes)(x, y)))(x, y)
    expected = np.broadcast_to(slope(x, y), (2,))
    np.testing.assert_allclose(g, expected if axes[0] == 0 else np.sum(expected))
    inner = pg.vmap(pg.grad(f), axes)
    np.testing.assert_allclose(inner(x, y), expected)
    twice = pg.grad(lambda x: pg.sum(pg.vmap(pg.vmap(f, axes), (0, None))(x, y)))
    np.testing.assert_allclose(twice(np.stack([x, x])), np.stack([g, g]))


X = np.random.default_rng(3).standard_normal((3, 4, 2))
READS = {
    "an integer": (lambda x, i: x[i], I([2, 0, -1])),
    "an integer of a later axis": (lambda x, i: x[1:, i], I([1, 0, -1])),
    "several": (lambda x, i: x[i, :], I([[0, 0, 1], [2, 3, 2], [-1, 1, -1]])),
    "a pair": (lambda x, i: x[i, i % 2], I([[0, 0], [2, 3], [-1, 1]])),
    "a pair from the end": (lambda x, i: x[i, -1 - i % 2], I([[0, 0], [2, 3], [-1, 1]])),
    "apart": (lambda x, i: x[i, None, i % 2], I([[0, 0], [2, 3], [-1, 1]])),
    "an integer apart": (lambda x, i: x[i, None, 1], I([[0, 0], [2, 3], [-1, 1]])),
    "take": (lambda x, i: pg.take(x, i, axis=0), I([[0, 0], [2, 3], [1, 1]])),
}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("axes", [(0, 0), (None, 0), (0, None)])
def test_each_example_reads_where_it_says_and_its_gradient_adds_up_there(name, axes):
    read, index = READS[name]
    x, i = X if axes[0] == 0 else X[0], index if axes[1] == 0 else index[0]
    x, i = (I(a) for a in (x, i))

    def total(x, i):
        y = pg.vmap(read, axes)(x, i)
        return pg.sum(y * np.linspace(1.0, 2.0, y.size).reshape(y.shape)), y

    gradient, y = pg.grad(total, has_aux=True)(x, i)
    expected, weights = np.zeros_like(x), np.linspace(1.0, 2.0, y.size).reshape(y.shape)
    for k in range(3):
        one, own = x[k] if axes[0] == 0 else x, i[k] if axes[1] == 0 else i
        np.testing.assert_array_equal(y[k], read(one, own))
        by_k = pg.grad(lambda x, own=own, k=k: pg.sum(read(x, own) * weights[k]))(one)
        expected[k if axes[0] == 0 else ...] += by_k
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)


def test_each_example_writes_where_it_says():
    values, where = I([10.0, 20.0, 30.0]), I([[0, 0], [2, 3], [-1, 1]])

    def put(x, i, v):
        y = x * 1.0
        y[i, 1] = v
        y[y > 15.0] = 0.0
        np.add.at(y, i, v)
        return y * y

    found, pullback = pg.vjp(lambda x, v: pg.vmap(put)(x, where, v), X, values)
    for k in range(3):
        y, back = pg.vjp(lambda x, v, k=k: put(x, where[k], v), X[k], values[k])
        np.testing.assert_allclose(found[k], y, rtol=1e-14)
        for part, wanted in zip(pullback(np.ones((3, 4, 2))), back(np.ones((4, 2))), strict=True):
            np.testing.assert_allclose(part[k], wanted, rtol=1e-14)
    hessians = pg.vmap(pg.hessian(lambda v, x, i: pg.sum(put(x, i, v))))(values, X, where)
    for k in range(3):
        x = pg.namespace().asarray(X[k])
        alone = pg.hessian(lambda v, x=x, k=k: pg.sum(put(x, where[k], v)))(values[k])
        np.testing.assert_allclose(hessians[k], alone, rtol=1e-14)


def test_indices_of_a_batch_on_every_library(xp_device):
    """An embedding: rows of a shared table; and the largest of each row, by an index that is computed."""
    table, words = (pg.to_device(a, xp_device) for a in (X[0], I([[0, 3, 3], [1, 3, 0]])))
    g = pg.grad(lambda t: pg.sum(pg.vmap(lambda i: t[i] ** 2)(words)))(table)
    np.testing.assert_allclose(host(g)[0], 2 * X[0] * I([2, 1, 0, 3])[:, None], rtol=1e-12)
    g = pg.vmap(pg.grad(lambda row: row[pg.argmax(row)] ** 2))(table)
    np.testing.assert_allclose(host(g)[0], 2 * X[0] * (X[0] == X[0].max(axis=1)[:, None]), rtol=1e-12)


def test_an_index_out_of_range_is_no_other_examples_element():
    for read, i in ((lambda x, i: x[i], I([0, 1, 4])), (lambda x, i: x[i, i], I([0, 1, 2]))):
        with pytest.raises(IndexError):
            pg.vmap(read)(X, i)

    def put(x, i):
        y = x * 1.0
        y[i] = 0.0
        return y

    with pytest.raises(IndexError):
        pg.vmap(put)(X, I([4, 0, 0]))


def test_a_value_kept_past_its_batch_has_leaked():
    kept = []
    pg.vmap(lambda x: kept.append(x) or x * 2)(X)
    with pytest.raises(
        pg.LeakedTraceError, match="multiply: an argument belongs to a BatchTrace that has ended"
    ):
        kept[0] * 2


def test_stop_gradient_keeps_the_batch(problem):
    x = problem[2]
    found = pg.vmap(pg.grad(lambda x: pg.sum(pg.stop_gradient(x) * x)))(x)
    np.testing.assert_array_equal(found, x)


@pytest.mark.parametrize(
    ("f", "axes", "message"),
    [
        (lambda x: x if x[0] > 0 else -x, 0, r"bool: a batched value has one answer per example"),
        (lambda x: float(x[0]), 0, r"float: the value .* holds one number for each example of a vmap"),
        (lambda x: np.zeros(3)[pg.argmax(x)], 0, r"holds one number for each example of a vmap"),
        (lambda x: pg.nonzero(x), 0, r"nonzero: the shape of its result depends .* use xp.where"),
        (lambda x: pg.unique_values(x), 0, r"unique_values: the shape .* in a loop over the examples"),
        (lambda x: pg.unique_counts(x), 0, r"unique_counts: the shape of its result depends"),
        (lambda x: pg.unique_inverse(x), 0, r"unique_inverse: the shape of its result depends"),
        (lambda x: pg.unique_all(x), 0, r"unique_all: the shape of its result depends"),
        (lambda x: x[x > 0], 0, r"indexing by a mask: .*depends on the numbers.* x\[mask\] = 0.0, works"),
        (
            lambda x: pg.repeat(x, pg.astype(x, np.int64)),
            0,
            r"repeat, repeats= \(the shape of the result depends on it: the same for all\): the value",
        ),
        (lambda x: pg.linalg.pinv(x * np.eye(4), rtol=x[0]), 0, r"pinv, rtol= \(a setting"),
    ],
)
def test_what_python_must_not_see(problem, f, axes, message):
    with pytest.raises(pg.ConcretizationError, match=message):
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
