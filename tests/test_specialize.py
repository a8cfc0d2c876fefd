"""Paths written out for an op and types of arguments: they do what the long way does, or leave it to it."""

import numpy as np
import pytest

import portagrad as pg
from portagrad import config
from portagrad.op import TABLE
from portagrad.testing.draws import draws
from portagrad.testing.trials import ELSEWHERE
from portagrad.transforms import record
from portagrad.transforms.tree import flatten, tree_map

OPS = [
    op
    for op in TABLE.values()
    if op.name not in ELSEWHERE and op.kind != "composite" and op.live and not op.several and not op.moves
]
x = np.asarray([0.5, 1.5])


def written(op):
    """The paths of an op, for the values of each type the one written last."""
    return [*TABLE[op].paths.values()]


@pytest.fixture
def forget(anew):
    return lambda: [anew(op) for op in TABLE.values()]


@pytest.fixture(autouse=True)
def no_paths(forget):
    forget()


def pulled(call):
    """The results of a call and the cotangents of its arguments, as bytes."""
    y, pullback = pg.vjp(call, *call.xs)
    gs = pullback(tree_map(lambda part: np.ones_like(part) * 0.7, y))
    return [(a.dtype, a.shape, np.asarray(a).tobytes()) for a in flatten((y, gs))[0]]


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_the_written_path_gives_the_same_bits(op):
    dtype = "complex128" if op.dtypes == "complex" else "float64"
    for call in draws(op, dtype=dtype):
        if call.active:
            first, second, third = pulled(call), pulled(call), pulled(call)
            assert first == second == third
    assert written(op.name)


def test_a_path_is_written_when_arguments_come_again():
    found = []
    for _ in range(3):
        pg.grad(lambda x: pg.sum(pg.sin(x)))(x)
        found.append(written("sin"))
    assert not found[0] and len(found[1]) == 1 and found[1] == found[2]


def test_what_came_before_keeps_no_path_from_being_written(monkeypatch):
    """A second derivative, NumPy's scalars and another library's arrays have the same types of arguments."""
    torch = pytest.importorskip("torch")
    for _ in range(3):
        pg.grad(lambda x: pg.grad(f)(x)[0])(x)
        pg.grad(lambda x: x * x * pg.sin(x * x))(2.0)
        pg.grad(f)(torch.asarray([0.5, 1.5]))
    pg.grad(f)(x)
    pg.grad(f)(x)
    monkeypatch.setattr(record.ReverseTrace, "process", None)  # the long way
    np.testing.assert_allclose(pg.grad(f)(x), np.cos(x) * x + np.sin(x))
    np.testing.assert_allclose(pg.grad(f)(torch.asarray([0.5, 1.5])), np.cos(x) * x + np.sin(x), rtol=1e-6)


def f(x):
    return pg.sum(pg.sin(x) * x)


@pytest.mark.parametrize(
    "g",
    [
        lambda: pg.grad(lambda x: pg.grad(f)(x)[0])(x),
        lambda: pg.jvp(pg.grad(f), (x,), (x,))[1],
        lambda: pg.vmap(pg.grad(f))(np.stack([x, x])),
        lambda: pg.grad(lambda z: pg.real(pg.sum(pg.sin(z) * z)))(x + 1j),
        lambda: pg.grad(f)(x.astype(np.float32)),
        lambda: pg.grad(lambda a: pg.sum(pg.sin(a) * x))(x.astype(np.float32)),
        lambda: pg.grad(lambda a, b: pg.sum(a * b), (0, 1))(x, x.astype(np.float32)),
        lambda: pg.grad(lambda a, b: pg.real(pg.sum(pg.sin(a) * b)))(x, x + 1j),
        lambda: pg.compile(pg.grad(f))(x),
        lambda: pg.grad(lambda x: pg.checkpoint(f)(x))(x),
    ],
)
def test_what_the_path_takes_for_granted_is_looked_at(g, forget):
    """Whatever came before in these types: the result is that of the long way."""
    expected = g()
    forget()
    for _ in range(3):
        pg.grad(f)(x)
        pg.grad(lambda a, b: pg.sum(a * b), (0, 1))(x, x)
    assert written("sin") and written("multiply")
    for _ in range(3):
        for ours, its in zip(flatten(g())[0], flatten(expected)[0], strict=True):
            assert ours.dtype == its.dtype
            np.testing.assert_array_equal(np.asarray(ours), np.asarray(its))


def test_tensors_of_another_library_go_the_long_way():
    torch = pytest.importorskip("torch")
    for _ in range(3):
        pg.grad(f)(x)
        g = pg.grad(f)(torch.asarray([0.5, 1.5], dtype=torch.float64))
        assert isinstance(g, torch.Tensor)
        np.testing.assert_allclose(g, pg.grad(f)(x))


def test_nothing_is_recorded_where_recording_is_off():
    def loss(x):
        with pg.no_grad():
            y = pg.sin(x)
        assert not y.requires_grad
        return pg.sum(y * x)

    for _ in range(3):
        pg.grad(f)(x)
        np.testing.assert_array_equal(pg.grad(loss)(x), np.sin(x))


def test_a_leaked_tensor_is_refused():
    for _ in range(3):
        pg.grad(f)(x)
    kept = []
    pg.grad(lambda x: kept.append(x) or pg.sum(x))(x)
    for _ in range(2):
        with pytest.raises(pg.LeakedTraceError, match="sin"):
            pg.sin(kept[0])


def test_two_traces_at_once_go_the_long_way():
    def outer(a):
        return pg.grad(lambda b: pg.sum(pg.sin(a * b) * a))(x)[0]

    expected = np.cos(x[0] * x[0]) * 2 * x[0] - x[0] ** 3 * np.sin(x[0] * x[0])
    for _ in range(3):
        np.testing.assert_allclose(pg.grad(outer)(x), [expected, 0.0])


def test_debug_mode_watches_all_the_same(monkeypatch):
    def spoiled(x):
        y = pg.sin(x * data)
        data[0] = 7.0
        return pg.sum(y)

    for _ in range(3):
        data = np.asarray([1.0, 2.0])
        pg.grad(spoiled)(x)
    monkeypatch.setenv("PORTAGRAD_DEBUG", "1")
    config.reload()
    try:
        with pytest.raises(pg.SavedValueMutatedError):
            data = np.asarray([1.0, 2.0])
            pg.grad(spoiled)(x)
    finally:
        monkeypatch.undo()
        config.reload()


def test_an_error_on_the_path_names_the_op():
    def wrong(x):
        return pg.sum(x + np.ones(3))

    for _ in range(3):
        pg.grad(lambda x: pg.sum(x + x))(x)
        pg.grad(lambda x: pg.sum(x + np.ones(2)))(x)
    with pytest.raises(ValueError, match="broadcast") as caught:
        pg.grad(wrong)(x)
    assert any("add" in note for note in caught.value.__notes__)


def test_constants_beside_a_tensor_are_no_part_of_the_gradient():
    for _ in range(3):
        g = pg.grad(lambda w, data: pg.sum(data @ w))(x, np.ones((3, 2)))
        np.testing.assert_array_equal(g, [3.0, 3.0])
        g = pg.grad(lambda w, data: pg.sum(w @ data))(np.ones((3, 2)), x)
        np.testing.assert_array_equal(g, np.stack([x, x, x]))
