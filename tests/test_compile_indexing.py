"""Indices that are inputs of a compiled function, or computed in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portagrad as pg
import portagrad_numpy.loops as loops

DEVICES = [name for name in ("numpy", "torch", "jax") if name in {d.backend.name for d in pg.devices()}]


@pytest.fixture(autouse=True)
def _no_machine_code(monkeypatch: Any) -> None:
    """It takes seconds, and no index is part of it."""
    monkeypatch.setattr(loops, "AVAILABLE", False)


def embedded(table: Any, tokens: Any) -> Any:
    """Rows looked up, some of them twice."""
    return pg.sum(table[tokens] ** 2)


def picked(scores: Any, labels: Any) -> Any:
    """The score of each row's label, after an op that makes the index a computed one."""
    xp = scores.__array_namespace__()
    rows = xp.arange(labels.shape[0])
    return -pg.sum(scores[rows, (labels + 1) % scores.shape[1]] ** 3)


def assigned(x: Any, places: Any) -> Any:
    """Rows replaced, the last assignment to one staying."""
    xp = x.__array_namespace__()
    y = x * 2.0
    y[places] = xp.reshape(xp.sum(x, axis=0), (1, -1)) * xp.ones((places.shape[0], 1), dtype=x.dtype)
    return pg.sum(y**2)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("f", [embedded, picked, assigned], ids=lambda f: f.__name__)
def test_an_integer_index_is_an_argument_of_the_graph(device: str, f: Any) -> None:
    rng = np.random.default_rng(0)
    x = pg.asarray(rng.uniform(-1, 1, (4, 3)).astype(np.float32), device=device)
    compiled = pg.compile(pg.grad(f))
    for index in ([0, 2, 2, 1], [1, 1, 0, 0]):
        i = pg.asarray(np.asarray(index), device=device)
        expected = np.asarray(pg.to_device(pg.grad(f)(x, i), "numpy"))
        np.testing.assert_allclose(pg.to_device(compiled(x, i), "numpy"), expected, rtol=1e-5)
    assert compiled.traces == 1


def test_derivatives_of_higher_order_and_forward_mode_see_the_index() -> None:
    x, i = np.random.default_rng(0).uniform(-1, 1, (4, 3)), np.asarray([0, 2, 2, 1])
    np.testing.assert_allclose(pg.compile(pg.hessian(picked))(x, i), pg.hessian(picked)(x, i))
    push = pg.compile(lambda x, i: pg.jvp(lambda x: assigned(x, i), (x,), (x,)))
    np.testing.assert_allclose(push(x, i), pg.jvp(lambda x: assigned(x, i), (x,), (x,)))


def test_an_index_of_each_example_of_a_batch() -> None:
    table = pg.namespace("numpy").asarray(np.arange(12.0).reshape(4, 3))
    tokens = np.asarray([[0, 1], [3, 3]])
    assert (pg.vmap(lambda t: table[t])(tokens) == np.arange(12.0).reshape(4, 3)[tokens]).all()


@pytest.mark.parametrize("value", [0.5, np.asarray([1.0, 2.0, 3.0])], ids=["scalar", "row"])
def test_a_mask_may_say_where_to_assign(value: Any) -> None:
    def f(x: Any, mask: Any) -> Any:
        y = x * 2.0
        y[mask] = value
        return pg.sum(y**3)

    x = np.random.default_rng(0).uniform(-1, 1, (4, 3))
    mask = x > 0 if isinstance(value, float) else x[:, 0] > 0
    compiled = pg.compile(pg.value_and_grad(f))
    for given in (mask, ~mask):
        for mine, its in zip(compiled(x, given), pg.value_and_grad(f)(x, given), strict=True):
            np.testing.assert_allclose(mine, its)


def test_what_a_mask_selects_has_no_shape_beforehand() -> None:
    x = np.ones((4, 3))
    with pytest.raises(pg.ConcretizationError, match="another number in each run"):
        pg.compile(lambda x, mask: x[mask])(x, x > 0)


def test_an_index_out_of_bounds_is_an_error_in_each_run() -> None:
    compiled = pg.compile(embedded)
    compiled(np.ones((4, 3)), np.asarray([0, 3]))
    with pytest.raises(IndexError, match="out of bounds"):
        compiled(np.ones((4, 3)), np.asarray([0, 4]))


def test_rows_are_read_and_added_to_in_memory_of_the_plan() -> None:
    table, tokens = np.random.default_rng(0).uniform(-1, 1, (5, 3)), np.asarray([[0, -1], [4, 4]])
    compiled = pg.compile(lambda t, i: pg.sum(pg.tanh(t[i]) ** 2) + pg.grad(embedded)(t, i)[0, 0])
    for i in (tokens, tokens[::-1], tokens * 0):
        expected = np.sum(np.tanh(table[i]) ** 2) + 2 * table[0, 0] * np.sum(i == 0)
        np.testing.assert_allclose(compiled(table, i), expected)
    (program,) = compiled.programs.values()
    assert not any(line.lstrip().startswith("v") for line in program.plan.source.splitlines()), "new arrays"


def test_numpy_adds_at_indices_of_a_graph() -> None:
    def f(x: Any, i: Any) -> Any:
        y = x * 0.0
        np.add.at(y, i, x)
        return pg.sum(y**2)

    x, i = np.asarray([1.0, 2.0, 3.0]), np.asarray([0, 0, 2])
    np.testing.assert_allclose(pg.compile(pg.grad(f))(x, i), pg.grad(f)(x, i))
