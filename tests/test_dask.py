"""Derivatives of functions of chunked arrays: one pass over the data, in chunks, whatever the function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optree
import pytest

import portagrad as pg

pytest.importorskip("dask.array", reason="dask is not installed: pip install 'portagrad[dask]'")

import dask
import dask.array as da
from dask.callbacks import Callback

ROWS, FEATURES, CLASSES = 60, 6, 3
CHUNKS = ((25, 8, 1, 26), (FEATURES,))


class Source:
    """Rows that count how often they are read."""

    def __init__(self) -> None:
        self.rows = np.random.default_rng(3).normal(size=(ROWS, FEATURES))
        self.shape, self.dtype, self.ndim = self.rows.shape, self.rows.dtype, 2
        self.reads: list[Any] = []

    def __getitem__(self, key: Any) -> Any:
        self.reads.append(key)
        return self.rows[key]


class Watch(Callback):  # type: ignore[misc]
    """Counts computations, and the size of the largest array that a task made."""

    def __init__(self) -> None:
        self.computed, self.largest = 0, 0
        super().__init__()

    def _start(self, dsk: Any) -> None:
        self.computed += 1

    def _posttask(self, key: Any, result: Any, dsk: Any, state: Any, worker: Any) -> None:
        self.largest = max(self.largest, getattr(result, "nbytes", 0))


def network(p: Any, x: Any) -> Any:
    labels = pg.astype(pg.abs(x[:, 0]) * 1.3, np.int64) % CLASSES
    return pg.nn.cross_entropy(pg.tanh(x @ p["w"]) @ p["v"] + p["b"], labels)


def variance(p: Any, x: Any) -> Any:
    return pg.sum(pg.var(x * p["b"][0] + pg.exp(x @ p["w"]) @ p["v"][:, :1], axis=0))


def differences(p: Any, x: Any) -> Any:
    z = x @ p["w"]
    return pg.mean((z[1:] - z[:-1]) ** 2) - pg.mean(z[:, 1] - 2.0) + pg.mean(z[::3, 0])


def largest(p: Any, x: Any) -> Any:
    return pg.max(x @ p["w"]) + pg.sum(pg.linalg.vector_norm(x @ p["w"], axis=1)) + pg.logsumexp(x @ p["v"])


def stacked(p: Any, x: Any) -> Any:
    z = pg.concat([x @ p["w"], pg.sin(x) @ p["v"]], axis=1)
    return pg.mean(pg.where(z > 0, z, 0.1 * z)) + pg.sum(pg.reshape(z, (-1,))[:5] ** 2)


LOSSES = (network, variance, differences, largest, stacked)


def parameters() -> dict[str, Any]:
    draw = np.random.default_rng(4).normal
    return {
        "w": draw(size=(FEATURES, FEATURES)),
        "v": draw(size=(FEATURES, CLASSES)),
        "b": draw(size=CLASSES),
    }


def product(f: Callable[..., Any]) -> Callable[..., Any]:
    """The product of the Hessian of a function with its own argument."""
    return lambda p, x: pg.hvp(lambda q: f(q, x), (p,), (p,))


@pytest.mark.parametrize("transform", [pg.value_and_grad, product])
@pytest.mark.parametrize("f", LOSSES)
def test_a_derivative_is_lazy_and_reads_each_chunk_of_the_data_once(f: Any, transform: Any) -> None:
    source = Source()
    x = da.from_array(source, chunks=CHUNKS, meta=np.empty((0, 0)))
    with dask.config.set(scheduler="synchronous"), Watch() as watch:
        found = transform(f)(pg.to_device(parameters(), "dask"), x)
        assert watch.computed == 0 and not source.reads
        (found,) = dask.compute(found)
    assert watch.computed == 1 and len(source.reads) == len(CHUNKS[0])
    exact = transform(f)(parameters(), source.rows)
    for ours, theirs in zip(optree.tree_leaves(found), optree.tree_leaves(exact), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


def test_no_chunk_of_a_cotangent_is_larger_than_dask_was_told() -> None:
    """The cotangent of a sum is as large as the data, though it is made from one number."""
    limit = 16_000
    x = da.random.default_rng(5).random((20_000, 4), chunks=(500, 4))
    w = pg.to_device(np.linspace(0.0, 1.0, 4), "dask")
    with (
        dask.config.set({"scheduler": "synchronous", "array.chunk-size": limit}),
        Watch() as watch,
    ):
        pg.grad(lambda w: pg.mean(1.0 - pg.sin(x * w)))(w).compute()
    assert 0 < watch.largest <= limit


def test_the_graph_of_a_slices_gradient_holds_no_array_as_long_as_the_data() -> None:
    x = da.random.default_rng(6).random((1_000_000, 2), chunks=(250_000, 2))
    w = pg.to_device(np.ones(2), "dask")
    gradient = pg.grad(lambda w: pg.mean(((x @ w)[1:] - (x @ w)[:-1]) ** 2))(w)
    held = [
        part.nbytes
        for task in dict(gradient.__dask_graph__()).values()
        for part in dask.core.flatten(getattr(task, "args", [task]), container=(list, tuple))
        if isinstance(part, np.ndarray)
    ]
    assert held and max(held) < 1000


@pytest.mark.parametrize("reduced", [pg.sum, pg.mean])
def test_rows_of_unknown_number_are_an_error_that_says_what_to_do(reduced: Any) -> None:
    source = Source()
    x = da.from_array(source, chunks=CHUNKS, meta=np.empty((0, 0)))
    chosen, w = x[x[:, 0] > 0], pg.to_device(np.ones(FEATURES), "dask")
    with pytest.raises(ValueError, match=r"unknown length.*compute_chunk_sizes\(\)"):
        pg.grad(lambda w: reduced(pg.sin(chosen @ w)))(w)
    chosen.compute_chunk_sizes()
    rows = source.rows[source.rows[:, 0] > 0]
    np.testing.assert_allclose(
        pg.grad(lambda w: reduced(pg.sin(chosen @ w)))(w).compute(),
        pg.grad(lambda w: reduced(pg.sin(rows @ w)))(np.ones(FEATURES)),
    )
