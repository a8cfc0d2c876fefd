"""Data sets larger than a machine: Dask's arrays on a real cluster of two worker processes."""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counted_rows import load, load_or_die, loads, peak_memory, rows, uniform
from required import lacking

import portagrad as pg

if importlib.util.find_spec("distributed") is None:
    told = "distributed is not installed: pip install 'portagrad[distributed]'"
    lacking("distributed", told, whole_module=True)

import dask
import dask.array as da
from dask.distributed import Client, KilledWorker, LocalCluster

SIZES = (500, 120, 400, 1)  # rows of each chunk
FEATURES = 5
LIMIT = 320 * 2**20  # bytes of memory for a worker; one has taken about 130 MB before it sees data


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        # conftest.py asks for Dask's synchronous scheduler, in the environment
        dask.config.set({"scheduler": "distributed", "distributed.worker.memory.terminate": 0.98}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            memory_limit=LIMIT,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path)


def chunked(folder: str, function: Any = load, *more: Any) -> tuple[Any, Any]:
    """Features and classes, in chunks that are loaded on the workers."""
    made = [
        da.from_delayed(
            dask.delayed(function, pure=True)(folder, i, n, FEATURES, *more), (n, FEATURES + 1), float
        )
        for i, n in enumerate(SIZES)
    ]
    table = da.concatenate(made)
    return table[:, :-1], table[:, -1]


def whole() -> tuple[Any, Any]:
    """The same on the client, for NumPy."""
    table = np.concatenate([rows(i, n, FEATURES) for i, n in enumerate(SIZES)])
    return table[:, :-1], table[:, -1]


def negative_log_likelihood(p: Any, x: Any, y: Any) -> Any:
    """Of logistic regression, a mean over the rows, with a small penalty on the weights."""
    z = x @ p["weights"] + p["bias"]
    return pg.nn.binary_cross_entropy(z, y) + 0.5e-3 * pg.sum(p["weights"] ** 2)


def parameters(device: str, values: Any = None) -> Any:
    start = {"weights": np.linspace(0.1, -0.3, FEATURES), "bias": np.asarray(0.2)}
    return pg.to_device(start if values is None else values, device)


def transitions(client: Client) -> int:
    """How many changes of state of tasks the scheduler has seen: it grows with whatever is computed."""
    return int(client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_counter))


def workers(client: Client) -> set[int]:
    return set(client.run(os.getpid).values())


def received(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each array that comes from the workers to the client from now on."""
    found: list[int] = []
    gather = Client.gather

    def counted(self: Client, futures: Any, *args: Any, **kwargs: Any) -> Any:
        got = gather(self, futures, *args, **kwargs)
        found.extend(getattr(each, "nbytes", 0) for each in dask.core.flatten(got, container=(list, tuple)))
        return got

    monkeypatch.setattr(Client, "gather", counted)
    return found


def test_a_gradient_is_lazy_and_takes_one_pass_over_the_data_on_the_workers(
    client: Client, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = chunked(folder)
    before, got = transitions(client), received(monkeypatch)
    value, gradient = pg.value_and_grad(negative_log_likelihood)(parameters("dask"), x, y)
    assert all(isinstance(a, da.Array) for a in (value, *gradient.values()))
    assert transitions(client) == before and not loads(folder) and not got

    value, gradient = dask.compute(value, gradient)
    seen = loads(folder)
    assert Counter(chunk for chunk, _ in seen) == dict.fromkeys(range(len(SIZES)), 1)
    # Which of the two has done most is the scheduler's affair, and under load one may have done all.
    assert {process for _, process in seen} <= workers(client) and os.getpid() not in workers(client)
    assert sum(got) == 8 * (1 + FEATURES + 1)  # the value and the gradient, and nothing else

    exact = pg.value_and_grad(negative_log_likelihood)(parameters("cpu"), *whole())
    np.testing.assert_allclose(value, exact[0], rtol=1e-12)
    for name, g in gradient.items():
        np.testing.assert_allclose(g, exact[1][name], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("method", ["L-BFGS-B", "Newton-CG"])
def test_a_fit_is_scikit_learns_with_one_pass_per_evaluation(
    client: Client, folder: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.linear_model import LogisticRegression

    x, y = chunked(folder)
    got = received(monkeypatch)
    options = {"ftol": 1e-12, "gtol": 1e-7} if method == "L-BFGS-B" else {"xtol": 1e-6}
    found = pg.scipy.minimize(
        negative_log_likelihood, parameters("dask"), (x, y), method=method, options=options
    )
    assert found.success, found.message
    passes = found.nfev + found.get("nhev", 0)
    assert found.get("nhev", 1) > 0
    assert Counter(chunk for chunk, _ in loads(folder)) == dict.fromkeys(range(len(SIZES)), passes)
    assert max(got) == 8 * (1 + FEATURES + 1)  # value and gradient as one vector

    theirs = LogisticRegression(C=1 / (1e-3 * sum(SIZES)), tol=1e-10, max_iter=1000).fit(*whole())
    np.testing.assert_allclose(found.x["weights"].compute(), theirs.coef_[0], atol=1e-4)
    np.testing.assert_allclose(found.x["bias"].compute(), theirs.intercept_[0], atol=1e-4)


def test_persisted_data_is_loaded_once_for_a_whole_fit(client: Client, folder: str) -> None:
    x, y = client.persist(chunked(folder))
    found = pg.scipy.minimize(negative_log_likelihood, parameters("dask"), (x, y), options={"maxiter": 2})
    assert found.nfev > 2
    assert sorted(chunk for chunk, _ in loads(folder)) == list(range(len(SIZES)))


def test_data_larger_than_the_workers_memory_streams_through_it(client: Client) -> None:
    def loss(w: Any, x: Any) -> Any:
        return pg.mean((1.0 - pg.sin(x @ w)) ** 2)

    n, d, chunks = 10_000, 125, 70  # 10 MB each
    x = da.concatenate(
        [da.from_delayed(dask.delayed(uniform, pure=True)(i, n, d), (n, d), float) for i in range(chunks)]
    )
    assert x.nbytes > 2 * LIMIT
    w = pg.to_device(np.linspace(-1.0, 1.0, d), "dask")
    value, gradient = dask.compute(*pg.value_and_grad(loss)(w, x))
    peak = client.run(peak_memory)
    assert len(peak) == 2 and max(peak.values()) < LIMIT

    total, exact = 0.0, np.zeros(d)
    for i in range(chunks):
        v, g = pg.value_and_grad(loss)(np.linspace(-1.0, 1.0, d), uniform(i, n, d))
        total, exact = total + float(v) / chunks, exact + g / chunks
    np.testing.assert_allclose(value, total, rtol=1e-10)
    np.testing.assert_allclose(gradient, exact, rtol=1e-8, atol=1e-12)


def test_the_work_of_a_worker_that_dies_is_done_again(client: Client, folder: str) -> None:
    before = workers(client)
    x, y = chunked(folder, load_or_die, 1)
    gradient = dask.compute(pg.grad(negative_log_likelihood)(parameters("dask"), x, y))[0]
    exact = pg.grad(negative_log_likelihood)(parameters("cpu"), *whole())
    for name, g in gradient.items():
        np.testing.assert_allclose(g, exact[name], rtol=1e-10, atol=1e-13)
    client.wait_for_workers(2, timeout=30)
    assert len(workers(client) - before) == 1


def test_data_that_kills_whoever_loads_it_is_an_error(client: Client, folder: str) -> None:
    allowed = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures)

    def allow(failures: int, dask_scheduler: Any = None) -> None:
        dask_scheduler.allowed_failures = failures

    client.run_on_scheduler(allow, 0)
    try:
        x, y = chunked(folder, load_or_die, 1)
        with pytest.raises(KilledWorker, match="died while running it"):
            dask.compute(pg.grad(negative_log_likelihood)(parameters("dask"), x, y))
    finally:
        client.run_on_scheduler(allow, allowed)
