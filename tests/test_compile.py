"""pg.compile: the same results as eager, traced once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portagrad as pg
from portagrad import nn, optim

CPU = [name for name in ("numpy", "torch", "jax", "strict") if name in {d.backend.name for d in pg.devices()}]


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


@pytest.mark.parametrize("device", CPU)
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
