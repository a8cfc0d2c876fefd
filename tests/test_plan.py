"""Plans for NumPy: memory, donation, blocks, threads and reports, with generated loops and without."""

from __future__ import annotations

import re
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import portagrad as pg
import portagrad_numpy.blocks as blocks
import portagrad_numpy.loops as loops
import portagrad_numpy.threads as threads
from portagrad_numpy.plan import plan

N = 1 << 17


@pytest.fixture(params=[True, False], ids=["numba", "numpy"])
def numba(request: Any, monkeypatch: Any) -> bool:
    monkeypatch.setattr(loops, "AVAILABLE", request.param)
    return bool(request.param)


@pytest.fixture
def two_threads(monkeypatch: Any) -> None:
    monkeypatch.setattr(threads, "count", lambda: 2)
    monkeypatch.setattr(blocks, "WORK", 1 << 14)
    team = threads.Team(2)
    monkeypatch.setattr(threads, "team", lambda: team)


def only(compiled: Any) -> Any:
    """The plan of the one trace."""
    (program,) = compiled.programs.values()
    return program.plan


def wave(x: Any) -> Any:
    return pg.tanh(x * 2.0) * pg.exp(-x * x) + pg.special.erf(x)


def chain(x: Any) -> Any:
    """Twelve products, each the last use of the one before."""
    for _ in range(12):
        x = x @ x * 0.5
    return x


@pytest.mark.parametrize("shape", [(1, 8), (8, 1), (1, 1), (3, 1, 4), (1, 3, 1), (1,)], ids=str)
def test_sums_over_axes_of_length_one(numba: bool, shape: tuple[int, ...]) -> None:
    """A batch of one example is what the last step of an epoch may have."""
    x = np.random.default_rng(0).standard_normal(shape)

    def reductions(x: Any) -> Any:
        y = pg.exp(x) * 2.0  # so that there is a loop to be part of
        axes = [*range(x.ndim), tuple(range(x.ndim)), *([(0, 1)] if x.ndim > 1 else [])]
        return y, [f(y, axis=a) for f in (pg.sum, pg.mean, pg.max, pg.min, pg.prod) for a in axes]

    whole, expected = reductions(x)
    y, found = pg.compile(reductions)(x)
    np.testing.assert_allclose(y, whole, rtol=1e-15)
    for mine, its in zip(found, expected, strict=True):
        assert mine.shape == its.shape
        np.testing.assert_allclose(mine, its, rtol=1e-14)


def test_memory_is_used_again_when_a_value_is_dead(numba: bool) -> None:
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (6, 6))
    compiled = pg.compile(chain)
    np.testing.assert_allclose(compiled(x), chain(x))
    assert only(compiled).report["memory"] == "2 buffers, 640 bytes for 3,456 bytes of values"


def test_what_is_still_read_keeps_its_memory(numba: bool) -> None:
    def f(x: Any) -> Any:
        kept = [x @ x]
        for _ in range(4):
            kept.append(kept[-1] @ x)
        return sum(a @ b for a, b in zip(kept, kept[::-1], strict=True))

    x = np.random.default_rng(0).uniform(-0.5, 0.5, (6, 6))
    compiled = pg.compile(f)
    for _ in range(2):
        np.testing.assert_allclose(compiled(x), f(x))


def test_one_element_of_memory_that_is_used_again_is_read_in_each_run(numba: bool) -> None:
    compiled = pg.compile(lambda x: pg.exp((x @ x)[0, 0] + 1))
    for k in range(3):
        np.testing.assert_allclose(compiled(k * np.eye(3)), np.exp(k * k + 1))


@pytest.mark.usefixtures("two_threads")
def test_blocks_need_little_memory_and_allocate_nothing(numba: bool) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, N)
    compiled = pg.compile(lambda x: (wave(x), wave(x + 1.0)), donate=0)
    expected = wave(x), wave(x + 1.0)
    out = compiled(x.copy())
    for mine, its in zip(out, expected, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-13, atol=1e-14)
    (run,) = only(compiled).blocks
    assert len(run.scratch) == 2 and run.nbytes < N * 8, "less than one value of the whole array"
    assert "1 loops over blocks, on 2 threads at most" in compiled.report()
    out = compiled(out[0])
    given = out[0]
    del out
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        compiled(given)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < N * 8 + 20_000, "one result; the other is in donated memory"


@pytest.mark.usefixtures("two_threads")
def test_a_large_update_runs_on_several_threads(numba: bool) -> None:
    def update(w: Any, m: Any, g: Any) -> Any:
        m = 0.9 * m + 0.1 * g
        return w - 0.01 * m / (pg.sqrt(pg.abs(m)) + 1e-8), m

    rng = np.random.default_rng(0)
    state = theirs = (rng.standard_normal(N), rng.standard_normal(N))
    g = rng.standard_normal(N)
    state = tuple([a.copy() for a in state])
    memory = [a.ctypes.data for a in state]
    compiled = pg.compile(update, donate=(0, 1))
    for _ in range(2):
        state, theirs = compiled(*state, g), update(*theirs, g)
    for mine, its in zip(state, theirs, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-12, atol=1e-13)
    assert [a.ctypes.data for a in state] == memory
    assert "on 2 threads" in compiled.report()


@pytest.mark.usefixtures("two_threads")
def test_threads_of_the_caller_may_share_functions_and_the_pool(monkeypatch: Any) -> None:
    monkeypatch.setattr(loops, "AVAILABLE", False)
    functions = [pg.compile(wave), pg.compile(lambda x: wave(x) * 2.0)]

    def work(seed: int) -> bool:
        x = np.random.default_rng(seed).uniform(-1, 1, N)
        expected = wave(x)
        runs = [functions[(seed + i) % 2](x) / ((seed + i) % 2 + 1) for i in range(6)]
        return all(np.allclose(y, expected, rtol=1e-13) for y in runs)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))


@pytest.mark.usefixtures("two_threads")
def test_the_callers_error_state_holds_on_every_thread(monkeypatch: Any) -> None:
    monkeypatch.setattr(loops, "AVAILABLE", False)
    x = np.full(N, -1.0)
    compiled = pg.compile(lambda x: pg.log(x) + pg.sqrt(x))
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("error")
        assert np.isnan(compiled(x)).all()
    x[:] = 1.0
    x[-1] = -1.0  # in the second thread's part
    with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
        compiled(x)


def test_an_error_after_the_first_write_says_that_donated_arrays_may_be_overwritten(numba: bool) -> None:
    def step(w: Any, i: Any) -> Any:
        new = w * 0.5
        return new, new[i] @ new

    compiled = pg.compile(step, donate=0)
    w = np.ones((3, 3))
    w, _ = compiled(w, np.asarray([0, 1]))
    with pytest.raises(IndexError) as caught:
        compiled(w, np.asarray([0, 5]))
    assert "may be overwritten in part: start from a copy" in caught.value.__notes__[0]
    _, y = compiled(np.ones((3, 3)), np.asarray([0, 1]))
    assert (y == 0.75).all(), "the next run is whole again"


def test_a_report_tells_calls_loops_memory_and_what_is_in_place(numba: bool) -> None:
    compiled = pg.compile(lambda w, x: (w - 0.1 * (x.T @ pg.maximum(x @ w, 0.0)), 1.0), donate=0)
    compiled(np.ones((3, 3)), np.ones((4, 3)))
    told = compiled.report()
    assert "1 traces kept of 1" in told
    assert "float64[3,3], float64[4,3]: 6 ops, 6 after the passes" in told
    assert "1 results in donated memory" in told
    assert f"{'2 calls of NumPy, 2' if numba else '5 calls of NumPy, 0'} generated loops" in told
    assert ("numba is not installed" in told) is not numba
    buffers, size, asked = re.findall(r"\d+", only(compiled).report["memory"])
    assert int(buffers) >= 1
    assert 4 * 3 * 8 <= int(size) <= 512 and int(asked) >= 4 * 3 * 8 + 3 * 3 * 8


def test_loops_that_differ_in_their_memories_alone_are_compiled_once(monkeypatch: Any) -> None:
    monkeypatch.setattr(loops, "AVAILABLE", True)
    compiled = pg.compile(lambda w, g: [a - 0.1 * b / (1.0 + b) for a, b in zip(w, g, strict=True)], donate=0)
    w, g = ([np.full(n, k + 1.0) for n in (5, 5, 5, 6)] for k in range(2))
    for y in compiled([a.copy() for a in w], g):
        np.testing.assert_allclose(y, 1 - 0.2 / 3)
    (source,) = only(compiled).loops
    assert source.count("for j in") == 1 and "4 generated loops in 1 functions" in compiled.report()


def test_a_plan_is_made_of_a_graph_alone() -> None:
    graph = pg.graph(chain, np.ones((2, 2)))
    (y,) = plan(graph, graph.run, ())(np.eye(2))
    np.testing.assert_allclose(y, chain(np.eye(2)))


def test_scalars_of_numpy_are_arguments_too(numba: bool) -> None:
    compiled = pg.compile(lambda x, s, n: (x * s + 1.0, n + 1), donate=2)
    for scale in (np.float64(2), np.asarray(3.0), np.float64(4)):
        y, n = compiled(np.ones((2, 3)), scale, np.int64(scale))
        np.testing.assert_array_equal(y, np.ones((2, 3)) * scale + 1)
        assert n == int(scale) + 1


def test_what_cannot_be_written_or_lies_otherwise_is_read_all_the_same(numba: bool) -> None:
    x = np.arange(24.0).reshape(4, 6)
    w = np.asfortranarray(np.arange(18.0).reshape(6, 3))
    fixed = x.copy()
    fixed.flags.writeable = False
    compiled = pg.compile(lambda x, w: pg.maximum(x @ w, 1.0) * 2.0)
    for given in (x, fixed, np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x.view(np.memmap)):
        np.testing.assert_array_equal(compiled(given, w), np.maximum(x @ w, 1.0) * 2.0)
