"""pg.compile: the same results as eager, traced once."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import portagrad as pg
from portagrad import nn, optim

USABLE = [
    name
    for name in ("numpy", "torch", "jax", "strict", "cupy")
    if name in {d.backend.name for d in pg.devices()}
]


def trainer(opt: Any) -> Any:
    """One training step of a classifier."""
    loss_and_grad = pg.value_and_grad(lambda model, x, labels: nn.cross_entropy(model(x), labels))

    def step(model: Any, state: Any, x: Any, labels: Any) -> Any:
        loss, grads = loss_and_grad(model, x, labels)
        updates, state = opt.update(grads, state, model)
        return optim.apply_updates(model, updates), state, loss

    return step


def batch(device: Any, n: int = 8) -> Any:
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((n, 5)).astype(np.float32), rng.integers(0, 3, n).astype(np.int32)
    return pg.asarray(x, device=device), pg.asarray(labels, device=device)


@pytest.mark.parametrize("device", USABLE)
@pytest.mark.parametrize("opt", [optim.sgd(0.1), optim.adamw(0.05)], ids=["sgd", "adamw"])
def test_a_compiled_training_step_does_what_the_eager_one_does(device: str, opt: Any) -> None:
    model = nn.MLP.init(pg.random.key(0), (5, 4, 3), dtype="float32", device=device)
    x, labels = batch(device)
    step = trainer(opt)
    compiled = pg.compile(step)
    ours = theirs = (model, opt.init(model))
    for _ in range(3):
        *ours, loss = compiled(*ours, x, labels)
        *theirs, expected = step(*theirs, x, labels)
        assert abs(float(loss) - float(expected)) < 1e-6
    assert compiled.traces == 1
    for a, b in zip(ours[0].layers, theirs[0].layers, strict=True):
        np.testing.assert_allclose(_host(a.weight), _host(b.weight), rtol=1e-5, atol=1e-7)


def _host(x: Any) -> Any:
    return np.asarray(pg.to_device(x, "numpy"))


def test_a_branch_on_a_value_says_where_and_what_to_do_instead() -> None:
    @pg.compile
    def f(x: Any) -> Any:
        return x if x > 0 else -x

    with pytest.raises(pg.ConcretizationError, match=r"test_compile.py:\d+.*xp.where"):
        f(np.asarray(1.0))


@pytest.mark.parametrize("take", [float, int, complex, np.asarray], ids=lambda f: f.__name__)
def test_a_python_number_of_a_value_is_refused(take: Any) -> None:
    with pytest.raises(pg.ConcretizationError, match="another number in each run"):
        pg.compile(lambda x: x * take(x))(np.asarray(1.0))


def test_what_is_no_array_is_static() -> None:
    compiled = pg.compile(lambda x, options: x * options["factor"] if options["on"] else x)
    x = np.asarray([1.0, 2.0])
    for factor in (2.0, 3.0, 2.0):
        assert (compiled(x, {"factor": factor, "on": True}) == factor * x).all()
    assert compiled.traces == 2
    assert (compiled(x, {"factor": 2.0, "on": False}) == x).all()


def test_keys_and_keyword_arguments() -> None:
    compiled = pg.compile(lambda x, *, key: nn.dropout(x, 0.5, key=key))
    x = np.ones(16)
    for seed in range(4):
        key = pg.random.key(seed)
        assert (compiled(x, key=key) == nn.dropout(x, 0.5, key=key)).all()
    assert "1 traces" in repr(compiled.named)


def test_thrashing_says_what_changes() -> None:
    compiled = pg.compile(lambda x: x + 1)
    with pytest.warns(RuntimeWarning, match=r"compiled 8 times; what changed last is leaf 0.*\(8,\).*pad"):
        for n in range(1, 9):
            compiled(np.ones(n))


def test_under_other_transforms_a_compiled_function_is_the_function() -> None:
    compiled = pg.compile(lambda x: pg.sum(pg.sin(x) ** 2))
    x = np.asarray([0.3, 0.5])
    expected = 2 * np.sin(x) * np.cos(x)
    np.testing.assert_allclose(pg.grad(compiled)(x), expected)
    np.testing.assert_allclose(pg.compile(pg.grad(compiled))(x), expected)
    np.testing.assert_allclose(pg.vmap(pg.grad(compiled))(np.stack([x, x])), np.stack([expected] * 2))
    np.testing.assert_allclose(pg.compile(pg.hessian(compiled))(x), np.diag(2 * np.cos(2 * x)), atol=1e-15)


def test_a_donated_array_is_overwritten_and_says_so_when_it_is_used() -> None:
    compiled = pg.compile(lambda x, g: x - 0.5 * g, donate=0)
    x, g = np.ones((4, 3)), np.ones((4, 3))
    memory = x.ctypes.data
    y = compiled(x, g)
    assert y.ctypes.data == memory and (y == 0.5).all()
    for use in (lambda: x + 1, lambda: pg.sum(x), lambda: compiled(x, g)):
        with pytest.raises((TypeError, pg.Error), match="donated"):
            use()
    for _ in range(3):
        y = compiled(y, g)
    assert y.ctypes.data == memory and (y == -1).all()


def test_an_array_cannot_be_donated_and_read_as_another_argument() -> None:
    x = np.ones(3)
    with pytest.raises(ValueError, match="donated and is an argument a second time"):
        pg.compile(lambda x, y: x + y, donate=0)(x, x)


def test_what_cannot_be_overwritten_is_copied() -> None:
    compiled = pg.compile(lambda x: x + 1, donate=0)
    x = np.broadcast_to(np.ones(3), (2, 3))
    assert (compiled(x) == 2).all() and (x == 1).all()


@pytest.mark.parametrize("device", USABLE)
def test_each_call_gives_arrays_of_its_own(device: str) -> None:
    """Also where a result does not depend on the arguments: it may be donated to the next call."""
    zeros = pg.compile(lambda x: (x + 1, x.__array_namespace__().zeros_like(x)))
    x = pg.asarray(np.ones(3, dtype=np.float32), device=device)
    first, second = zeros(x)[1], zeros(x)[1]
    assert first is not second
    pg.compile(lambda a, b: a + b, donate=0)(first, second + 1)
    assert float(pg.sum(zeros(x)[1])) == 0


def test_an_error_says_whether_donated_arrays_are_whole() -> None:
    def step(w: Any, x: Any, labels: Any) -> Any:
        loss, g = pg.value_and_grad(lambda w: nn.cross_entropy(x @ w, labels))(w)
        return w - g, loss

    compiled = pg.compile(step, donate=0)
    w, x, labels = np.zeros((5, 3), np.float32), *batch("cpu")
    w, _ = compiled(w, x, labels)
    before = w.copy()
    with pytest.raises(IndexError, match="labels must lie") as caught:
        compiled(w, x, labels + 3)
    assert "unchanged" in caught.value.__notes__[0]
    np.testing.assert_array_equal(w, before)
    assert np.isfinite(compiled(w, x, labels)[1])


@pytest.mark.parametrize("numba", [True, False])
def test_no_call_allocates_after_the_first(numba: bool, monkeypatch: Any) -> None:
    import portagrad_numpy.loops as loops

    monkeypatch.setattr(loops, "AVAILABLE", numba)
    model = nn.MLP.init(pg.random.key(0), (64, 256, 10), dtype="float32")
    opt = optim.adamw(1e-3)
    compiled = pg.compile(trainer(opt), donate=(0, 1))
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((512, 64)).astype(np.float32), rng.integers(0, 10, 512)
    state: Any = (model, opt.init(model))
    for _ in range(3):
        *state, _ = compiled(*state, x, labels)
    tracemalloc.start()
    try:
        *state, _ = compiled(*state, x, labels)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        *state, _ = compiled(*state, x, labels)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # One hidden layer alone is 524,288 bytes; NumPy's own buffer for a sum with a row is 32,768.
    assert peak - before < (8_000 if numba else 50_000)


def test_threads_may_share_a_compiled_function() -> None:
    compiled = pg.compile(lambda x: pg.sum(pg.tanh(x) * x))

    def work(seed: int) -> bool:
        x = np.random.default_rng(seed).standard_normal((50, 40))
        expected = np.sum(np.tanh(x) * x)
        return all(abs(float(compiled(x)) - expected) < 1e-9 for _ in range(50))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))


def test_a_report_tells_what_became_of_the_function() -> None:
    compiled = pg.compile(lambda x, y: (pg.tanh(x @ y) * 1.0, pg.tanh(x @ y)))
    compiled(np.ones((3, 3)), np.ones((3, 3)))
    assert "5 ops, 3 after the passes" in compiled.report()
    assert "1 buffers, 128 bytes" in compiled.report()
    assert [eq.op.name for eq in compiled.graph(np.ones((3, 3)), np.ones((3, 3))).equations] == [
        "matmul",
        "tanh",
        "astype",  # a copy, as the results are two arrays
    ]


def test_randomness_with_a_seed_from_outside_is_part_of_the_trace() -> None:
    key = pg.random.key(0)
    compiled = pg.compile(lambda x: x + pg.random.uniform(key, 3, dtype="float64"))
    for _ in range(2):
        assert (compiled(np.zeros(3)) == pg.random.uniform(key, 3, dtype="float64")).all()


def test_results_that_are_arguments_or_constants_are_copies() -> None:
    k = np.arange(3.0)
    compiled = pg.compile(lambda x: (x, k, x))
    x = np.ones(3)
    first, second, third = compiled(x)
    for y in (first, second, third):
        y += 1
    assert (x == 1).all() and (k == np.arange(3.0)).all()
    assert (compiled(x)[1] == k).all()


SIMPLER = {
    "a permutation and its inverse": (lambda x: pg.permute_dims(pg.permute_dims(x, (1, 2, 0)), (2, 0, 1)), 1),
    "two permutations": (lambda x: pg.permute_dims(pg.permute_dims(x, (1, 2, 0)), (0, 2, 1)), 1),
    "two shapes": (lambda x: pg.reshape(pg.reshape(x, (6, 4)), (3, 8)), 1),
    # A result that is an argument is a copy of it.
    "there and back": (lambda x: pg.negative(pg.negative(x)), 1),
    "times 1": (lambda x: 1.0 * (x * 1), 1),
    "over 1": (lambda x: (x / 1) ** 1.0, 1),
    "less 0": (lambda x: x - 0.0, 1),
    "there and back, and on": (lambda x: pg.sin(pg.negative(pg.negative(x))), 1),
    "times 1, and on": (lambda x: pg.sin(1.0 * (x * 1)), 1),
    "over 1, and on": (lambda x: pg.sin((x / 1) ** 1.0), 1),
    "less 0, and on": (lambda x: pg.sin(x - 0.0), 1),
    "over 2": (lambda x: x / 2, 1),
    "to the power 2": (lambda x: x**2, 1),
    "0 less": (lambda x: 0.0 - x, 1),
    "plus 0, which changes a negative zero": (lambda x: x + 0.0, 1),
    "the same twice": (lambda x: pg.sin(x) * pg.sin(x), 2),
    "other parameters": (lambda x: pg.flip(x, axis=0) * pg.flip(x, axis=1), 3),
    "other types of number": (lambda x: (pg.astype(x, np.int64) * 2, pg.astype(x, np.int64) * 2.0), 3),
    "what nobody wants": (lambda x: (pg.exp(x), x * 3)[1], 1),
    "constants": (lambda x: x * pg.sum(pg.asarray(np.ones(3)) * 2.0), 1),
}


def results(y: Any) -> tuple[Any, ...]:
    return y if isinstance(y, tuple) else (y,)


@pytest.mark.parametrize("name", SIMPLER)
def test_passes_leave_fewer_ops_and_the_same_bits(name: str) -> None:
    f, left = SIMPLER[name]
    x = np.arange(-12.0, 12.0).reshape(2, 3, 4)
    x[0, 0, 0] = -0.0
    compiled = pg.compile(f)
    for mine, its in zip(results(compiled(x)), results(f(x)), strict=True):
        assert (mine.dtype, mine.shape, mine.tobytes()) == (its.dtype, its.shape, its.tobytes())
    assert len(compiled.graph(x).equations) == left


def test_what_a_checkpoint_computes_again_is_computed_again_in_a_graph() -> None:
    def exponentials(wrap: Any) -> int:
        both = pg.compile(pg.value_and_grad(lambda x: pg.sum(wrap(lambda x: pg.sin(pg.exp(x)))(x))))
        return sum(eq.op.name == "exp" for eq in both.graph(np.ones(3)).equations)

    assert exponentials(lambda f: f) == 1
    assert exponentials(pg.checkpoint) == 2


@pytest.mark.parametrize(
    "f", [pg.nonzero, pg.unique_values, lambda x: x[x > 0], lambda x: pg.repeat(x, pg.astype(x, np.int64))]
)
def test_a_shape_that_depends_on_numbers_is_refused_in_a_graph(f: Any) -> None:
    with pytest.raises(pg.ConcretizationError, match=r"depends on numbers|another number in each"):
        pg.compile(f)(np.asarray([1.0, 2.0]))
