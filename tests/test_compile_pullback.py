"""A compiled function under reverse mode: two compiled passes, and the same derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portagrad as pg
import portagrad_numpy.loops as loops
from portagrad import nn

X = np.asarray([0.3, 0.5, 2.0])


@pytest.fixture(autouse=True)
def _no_machine_code(monkeypatch: Any) -> None:
    """It takes seconds, and the passes are what is tried here."""
    monkeypatch.setattr(loops, "AVAILABLE", False)


class Counted:
    """A function that counts how often Python runs it."""

    def __init__(self, f: Any) -> None:
        self.f, self.runs = f, 0

    def __call__(self, *args: Any) -> Any:
        self.runs += 1
        return self.f(*args)


def test_both_passes_run_without_the_function() -> None:
    f = Counted(lambda x: pg.sum(pg.sin(x) ** 2))
    compiled = pg.compile(f)
    for scale in (1.0, 2.0, 3.0):
        np.testing.assert_allclose(pg.grad(compiled)(scale * X), np.sin(2 * scale * X))
    assert f.runs == 1
    (both,) = compiled.differentiated.values()
    names = [[eq.op.name for eq in half.equations] for half in (both.forward, both.backward)]
    assert f"{len(names[0])} ops forward, {len(names[1])} back, which read" in compiled.report()
    assert "sin" in names[0] and "sin" not in names[1], "the backward pass reads what the forward pass left"


@pytest.mark.parametrize(
    "device", [d for d in ("numpy", "torch", "jax") if d in {x.backend.name for x in pg.devices()}]
)
def test_a_compiled_model_inside_a_differentiated_loss(device: str) -> None:
    model = nn.MLP.init(pg.random.key(0), (3, 2), dtype="float32")
    x = np.ones((5, 3), np.float32)
    compiled = pg.compile(lambda model, x: model(x))
    there, its_x = pg.to_device((model, x), device)
    mine = pg.to_device(pg.grad(lambda m: pg.sum(compiled(m, its_x) ** 2))(there), "numpy")
    its = pg.grad(lambda m: pg.sum(m(x) ** 2))(model)
    np.testing.assert_allclose(mine.layers[0].weight, its.layers[0].weight, rtol=1e-5)
    np.testing.assert_allclose(mine.layers[0].bias, its.layers[0].bias, rtol=1e-5)
    assert len(compiled.differentiated) == 1


def test_results_of_every_kind_and_arguments_that_are_not_differentiated() -> None:
    def f(x: Any, factor: float, i: Any, unused: Any) -> Any:
        return {"y": pg.sin(x) * factor, "i": i + 1, "label": "plain", "k": [pg.sum(x[i]), 2.0 * unused]}

    compiled = pg.compile(f)
    i, unused = np.asarray([0, 0, 2]), np.ones(2)

    def loss(x: Any, unused: Any, f: Any) -> Any:
        out = f(x, 2.0, i, unused)
        assert out["label"] == "plain" and not isinstance(out["i"], float)
        return pg.sum(out["y"]) * out["k"][0] + pg.sum(out["i"])

    for argnums in (0, 1, (0, 1)):
        for mine, its in zip(
            *[pg.grad(loss, argnums)(X, unused, g) for g in (compiled, f)],
            strict=True,
        ):
            np.testing.assert_allclose(mine, its)
    assert len(compiled.differentiated) == 3, (
        "another set of differentiated arguments is another pair of passes"
    )


def test_the_tape_may_go_back_twice() -> None:
    compiled = pg.compile(lambda x: pg.sum(x**3))
    x = pg.tensor(X, requires_grad=True)
    y = compiled(x)
    y.backward(keep_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad, 6 * X**2)
    assert compiled.differentiated


def test_a_pullback_is_linear_and_differentiable_in_its_cotangent() -> None:
    _, pullback = pg.vjp(pg.compile(lambda x: pg.sin(x)), X)
    np.testing.assert_allclose(pg.grad(lambda c: pg.sum(pullback(c * X)[0]))(1.0), np.sum(X * np.cos(X)))


@pytest.mark.parametrize(
    "transform",
    [
        lambda f: pg.hessian(f)(X),
        lambda f: pg.vmap(pg.grad(f))(np.stack([X, 2 * X])),
        lambda f: pg.grad(lambda x: pg.sum(pg.vmap(f)(pg.stack([x, 2 * x]))))(X),
        lambda f: pg.jvp(f, (X,), (X,))[1],
        lambda f: pg.hvp(f, (X,), (X,)),
        lambda f: pg.linearize(f, X)[1](X),
        lambda f: pg.grad(pg.checkpoint(f))(X),
        lambda f: pg.compile(pg.grad(f))(X),
    ],
)
def test_every_other_transform_sees_the_ops(transform: Any) -> None:
    def f(x: Any) -> Any:
        return pg.sum(pg.exp(x) * pg.sin(x))

    np.testing.assert_allclose(transform(pg.compile(f)), transform(f))


def test_no_gradient_is_lost_of_what_a_compiled_function_closes_over() -> None:
    def loss(w: Any) -> Any:
        return pg.sum(pg.compile(lambda x: x * w)(X)) + pg.sum(pg.compile(lambda x: x * w)(w))

    w = np.ones(3)
    np.testing.assert_allclose(pg.grad(loss)(w), X + 2 * w)
    np.testing.assert_allclose(pg.jvp(loss, (w,), (w,))[1], np.sum(X + 2 * w))


def test_what_is_not_differentiated_is_not_recorded() -> None:
    compiled = pg.compile(lambda x: pg.sum(x**2))
    with pg.no_grad():
        y = compiled(pg.tensor(X, requires_grad=True))
    assert not y.requires_grad and float(y) == np.sum(X**2)
