"""Each pass alone: what it takes out, what it leaves, and that the graph computes what it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import portagrad as pg
from portagrad import nn
from portagrad.compile import passes

X = np.random.default_rng(0).uniform(0.5, 1.5, (3, 3))


def ops(graph: Any) -> Counter[str]:
    return Counter(eq.op.name for eq in graph.equations)


def changed(apply_pass: Callable[[Any], Any], f: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
    """The ops of a function's graph before and after; its results are the same, bit for bit."""
    graph = pg.graph(f, *args)
    equations = graph.equations
    better = apply_pass(graph)
    assert graph.equations is equations, "a pass returns another graph"
    leaves = [a for a in args if isinstance(a, np.ndarray)]
    for mine, its in zip(better.run(leaves), graph.run(leaves), strict=True):
        np.testing.assert_array_equal(mine, its)
        assert np.asarray(mine).dtype == np.asarray(its).dtype
    return ops(graph), ops(better)


def test_dead_code() -> None:
    def f(x: Any) -> Any:
        unused = pg.exp(pg.sin(x))
        return pg.sin(x) + unused.shape[0]

    before, after = changed(passes.dead_code, f, X)
    assert before == {"sin": 2, "exp": 1, "add": 1} and after == {"sin": 1, "add": 1}


def test_common_subexpressions() -> None:
    def f(x: Any) -> Any:
        return pg.sum(pg.sin(x), axis=0) + pg.sum(pg.sin(x), axis=0) * pg.sum(pg.sin(x), axis=1)

    before, after = changed(passes.common_subexpressions, f, X)
    assert before["sin"] == 3 and after["sin"] == 1
    assert after["sum"] == 2, "along another axis it is another sum"


def test_what_a_checkpoint_computes_again_is_computed_again() -> None:
    f = pg.grad(lambda x: pg.sum(pg.checkpoint(lambda x: pg.sin(pg.exp(x)))(x)))
    _, after = changed(passes.common_subexpressions, f, X)
    assert after["exp"] == 2


def test_constants_are_folded() -> None:
    k = pg.namespace("numpy").asarray(np.arange(3.0))
    before, after = changed(passes.fold_constants, lambda x: x * pg.exp(pg.sum(k * 0 + X[0])), X)
    assert after == {"multiply": 1}, before


def test_large_constants_are_left_to_each_run(monkeypatch: Any) -> None:
    monkeypatch.setattr(passes, "FOLDED_SIZE", 2)
    graph = pg.graph(lambda x: x * (pg.namespace("numpy").asarray(X) + x[0, 0] * 0), X)
    assert ops(passes.fold_constants(graph)) == ops(graph)


def test_a_constant_that_is_one_number_is_that_number() -> None:
    ones = pg.namespace("numpy").ones((3, 3))

    def f(x: Any) -> Any:
        return x * ones, (-ones) * x, ones * pg.sum(x)

    graph = passes.fold_constants(pg.graph(f, X))
    better = passes.simplify(passes.spread_constants(graph))
    assert ops(better) == {"negative": 1, "sum": 1, "multiply": 1}, (
        "the last takes its shape from the constant"
    )
    for mine, its in zip(better.run([X]), graph.run([X]), strict=True):
        np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize(
    ("f", "left"),
    [
        (lambda x: x * 1, {}),
        (lambda x: 1.0 * x, {}),
        (lambda x: x / 1, {}),
        (lambda x: x**1, {}),
        (lambda x: x - 0, {}),
        (lambda x: pg.negative(-x), {}),
        (lambda x: x.T.T, {}),
        (lambda x: pg.reshape(pg.reshape(x, (9,)), (3, 3)), {"reshape": 1}),
        (
            lambda x: pg.permute_dims(pg.permute_dims(x[None, :, :], (1, 2, 0)), (2, 0, 1)),
            {"getitem": 1},
        ),
        # Not exact: -0.0 + 0 is 0.0, and inf * 0 is no 0.
        (lambda x: x + 0, {"add": 1}),
        (lambda x: x * 0, {"multiply": 1}),
        (lambda x: x - x, {"subtract": 1}),
        (lambda x: (x + 1.0) - 1.0, {"add": 1, "subtract": 1}),
    ],
)
def test_algebra_is_exact(f: Any, left: Any) -> None:
    x = X.copy()
    x[0] = -0.0, np.inf, np.nan
    with np.errstate(invalid="ignore"):
        _, after = changed(lambda graph: passes.dead_code(passes.simplify(graph)), f, x)
    assert after == left


def test_what_one_kernel_gives_together_is_one_op() -> None:
    labels = np.asarray([0, 2, 1])
    f = pg.value_and_grad(lambda x: nn.cross_entropy(x, labels))
    graph = pg.graph(f, X)
    assert {"cross_entropy", "cross_entropy_slope"} <= ops(graph).keys()
    joint = ops(passes.with_byproducts(graph))
    assert joint["cross_entropy_and_slope"] == 1 and "cross_entropy_slope" not in joint


def test_all_of_them_end_with_nothing_left_to_do() -> None:
    f = pg.grad(lambda x: pg.sum(pg.tanh(x @ x.T) ** 2))
    better = passes.improved(pg.graph(f, X))
    assert passes.improved(better).equations == better.equations
