"""The team: who computes and when changes no bit, and whoever asks is served."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import portagrad as pg
import portagrad_numpy.jobs as jobs
import portagrad_numpy.threads as threads
from tests.required import lacking

SHAPE = (96, 160)


@pytest.fixture
def in_pieces(monkeypatch: Any) -> None:
    """Every loop is cut, and every helper called."""
    if importlib.util.find_spec("numba") is None:
        lacking("numba", "numba is not installed (pip install 'portagrad[numba]')")
    monkeypatch.setattr(jobs, "WORTH", 1e-3)
    monkeypatch.setattr(jobs, "ASIDE", 1e-3)
    monkeypatch.setattr(jobs, "WAKING", 0)


@pytest.fixture(params=[1, 2, 5])
def team(request: Any, monkeypatch: Any, in_pieces: None) -> Iterator[threads.Team]:
    """Of more threads than there are cores, too."""
    made = threads.Team(request.param)
    monkeypatch.setattr(threads, "team", lambda: made)
    yield made


def loops(x: Any, y: Any) -> Any:
    """Loops that are cut along columns, along rows and not at all; parts that share no memory."""
    z = pg.maximum(x * 2.0 + y, 0.0)
    rows, whole = x[:90] * y[:90], x[:80] - y[:80]
    return z, pg.sum(z * y, axis=0), pg.mean(rows, axis=1), pg.sum(whole), pg.sqrt(pg.abs(whole))


def given(seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(SHAPE).astype("float32") for _ in range(2)]


def bits(results: Any) -> list[bytes]:
    return [np.asarray(y).tobytes() for y in results]


def test_bits_do_not_depend_on_the_number_of_threads(team: threads.Team, monkeypatch: Any) -> None:
    compiled = pg.compile(loops)
    found = [bits(compiled(*given())) for _ in range(20)]
    assert ("loops in pieces" in compiled.report()) is (team.count > 1)
    monkeypatch.setattr(threads, "team", lambda: threads.Team(1))
    expected = bits(pg.compile(loops)(*given()))
    assert all(one == expected for one in found)
    for mine, its in zip(compiled(*given()), loops(*given()), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-5)


def test_threads_that_call_at_once_share_a_team(team: threads.Team) -> None:
    functions = [pg.compile(loops) for _ in range(4)]
    expected = [bits(functions[0](*given(i))) for i in range(4)]

    def work(i: int) -> bool:
        return all(bits(functions[i](*given(i))) == expected[i] for _ in range(50))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    assert not team.lock.locked()


def test_a_child_process_has_helpers_of_its_own(team: threads.Team) -> None:
    compiled = pg.compile(loops)
    expected = bits(compiled(*given()))
    child = os.fork()
    if not child:
        os._exit(bits(compiled(*given())) != expected or team.started is not (team.count > 1))
    assert os.waitpid(child, 0)[1] == 0


def test_a_helper_that_went_to_sleep_is_woken(in_pieces: None, monkeypatch: Any) -> None:
    team = threads.Team(2)
    monkeypatch.setattr(threads, "team", lambda: team)
    compiled = pg.compile(loops)
    ((asleep, _),) = team.bells
    for _ in range(3):
        expected = bits(compiled(*given()))
        until = time.monotonic() + 10
        while not team.words[asleep] and time.monotonic() < until:
            time.sleep(0.001)
        assert team.words[asleep] == 1
    assert bits(compiled(*given())) == expected


@pytest.mark.parametrize("numba", [True, False])
def test_workers_share_the_pieces_and_an_error_waits_for_all(numba: bool, monkeypatch: Any) -> None:
    team = threads.Team(2)
    if not numba:  # as where it is not installed
        team.native = None
    monkeypatch.setattr(threads, "team", lambda: team)
    done: list[tuple[int, int]] = []
    begun = threading.Event()

    def here(lo: int, hi: int) -> None:
        assert begun.wait(10), "the other worker takes a piece of its own"
        done.append((lo, hi))

    def there(lo: int, hi: int) -> None:
        begun.set()
        done.append((lo, hi))
        raise ValueError("there")

    pieces = [(0, 2), (2, 4), (4, 5)]
    for _ in range(2):
        with pytest.raises(ValueError, match="there"):
            threads.each([here, there], pieces)
        assert sorted(done) == pieces
        done.clear()
        begun.clear()


@pytest.mark.parametrize("count", [1, 2])
def test_a_thread_that_comes_late_is_not_waited_for(count: int, monkeypatch: Any) -> None:
    team = threads.Team(count)
    monkeypatch.setattr(threads, "team", lambda: team)
    begun, busy = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        busy.wait(10)

    blocker = team.call(block)
    assert count == 1 or begun.wait(10)
    done: list[int] = []
    threads.each([lambda lo, hi: done.append(lo), lambda lo, hi: done.append(-1)], [(0, 1), (1, 2)])
    assert done == [0, 1] and not blocker.done()
    busy.set()


def test_a_process_ends_while_its_helpers_look_for_work(in_pieces: None) -> None:
    code = (
        "import numpy as np, portagrad as pg\n"
        "from portagrad_numpy import jobs, native, threads\n"
        "native.SPINS = 1 << 40\n"
        "jobs.WORTH = jobs.ASIDE = 1e-3; jobs.WAKING = 0\n"
        "team = threads.Team(3); threads.team = lambda: team\n"
        "pg.compile(lambda x: x * 2.0)(np.ones(1000)); print(team.started)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
