"""Products by MKL: right, reproducible, and nobody else's affair."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import portagrad as pg
from portagrad_numpy import jobs, mkl, threads
from tests.required import lacking


@pytest.fixture
def team(monkeypatch):
    """A team of two, whatever this process may use."""
    if mkl.functions() is None:
        lacking("mkl", "MKL is not installed (pip install 'portagrad[mkl]'), or this is no Linux on x86-64")
    monkeypatch.setattr(mkl, "LEAST", 0)
    monkeypatch.setattr(mkl, "SPLIT", 0)
    monkeypatch.setattr(mkl, "WAKING", 0)
    monkeypatch.setattr(jobs, "WORTH", 1e-3)
    monkeypatch.setattr(jobs, "WAKING", 0)
    made = threads.Team(2)
    monkeypatch.setattr(threads, "team", lambda: made)
    mkl._product.cache_clear()
    yield made
    mkl._product.cache_clear()


def numbers(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("m, k, n", [(32, 16, 16), (33, 100, 257), (300, 17, 41), (2, 3, 700), (64, 50, 2)])
def test_products_are_those_of_numpy_in_any_order_of_the_elements(m, k, n, dtype, team):
    a, b = numbers(m, k, dtype=dtype), numbers(k, n, dtype=dtype, seed=1)
    expected = a.astype("float64") @ b.astype("float64")
    for x in (a, np.asfortranarray(a)):
        for y in (b, np.asfortranarray(b)):
            np.testing.assert_allclose(mkl.dot(x, y), expected, atol=k * 20 * np.finfo(dtype).eps)
    assert team.started  # a helper, that is


def test_what_mkl_cannot_multiply_numpy_does(team, monkeypatch):
    taken = []
    monkeypatch.setattr(team, "perform", lambda *args, wake: taken.append(1))
    a, b = numbers(32, 32), numbers(32, 32, seed=1)
    mkl.dot(a, b.T)
    assert len(taken) == 1
    others = [
        (a[::2], b),
        (a, np.broadcast_to(b[0], (32, 32))),
        (a.astype("float64"), b),
        (a.astype("complex64"), b.astype("complex64")),
        (a[:1], b),
        (a.view(np.memmap), b),
    ]
    for x, y in others:
        np.testing.assert_array_equal(mkl.dot(x, y), np.dot(x, y))
    assert len(taken) == 1
    with pytest.raises(ValueError, match="aligned"):
        mkl.dot(a, b[:20])


def test_bits_depend_on_neither_memory_nor_who_helps(team):
    a, b = numbers(128, 100), numbers(100, 70, seed=1)
    expected = mkl.dot(a, b)
    for offset in (1, 3, 8):
        x, y = (np.empty(v.size + 16, v.dtype)[offset:][: v.size].reshape(v.shape) for v in (a, b))
        x[...], y[...] = a, b
        np.testing.assert_array_equal(mkl.dot(x, y), expected)
    team.wake = lambda: None  # nobody comes: the caller does all of it
    np.testing.assert_array_equal(mkl.dot(a, b), expected)


def test_products_of_several_threads_do_not_mix(team):
    pairs = [(numbers(64, 48, seed=i), numbers(48, 64, seed=i + 9)) for i in range(4)]
    expected = [mkl.dot(*pair) for pair in pairs]
    wrong = []

    def work(i):
        for _ in range(200):
            if not np.array_equal(mkl.dot(*pairs[i]), expected[i]):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_a_child_process_gathers_helpers_of_its_own(team):
    a = numbers(64, 64)
    expected = mkl.dot(a, a)
    child = os.fork()
    if not child:
        os._exit(not np.array_equal(mkl.dot(a, a), expected))
    assert os.waitpid(child, 0)[1] == 0


def test_gradients_eager_and_compiled_take_it(team, monkeypatch):
    taken, takes = [], mkl.takes
    monkeypatch.setattr(mkl, "takes", lambda a, b: taken.append(1) or takes(a, b))
    w, x = numbers(48, 32), numbers(64, 48, seed=1)

    def loss(w):
        return pg.sum(pg.tanh(x @ w) ** 2)

    eager = pg.grad(loss)(w)
    assert len(taken) == 2
    compiled = pg.compile(pg.grad(loss))
    for _ in range(2):
        np.testing.assert_allclose(compiled(w), eager, rtol=1e-4, atol=1e-4)
    assert "products: 2 by MKL, on 2 threads" in compiled.report()


def test_a_library_that_cannot_be_loaded_is_done_without(tmp_path):
    """Such as another system's: NumPy multiplies."""
    for part in mkl._PARTS:
        (tmp_path / f"{part}.so").write_bytes(b"no library")
    code = (
        "import importlib.metadata, pathlib, numpy as np\n"
        "from portagrad_numpy import mkl\n"
        "class File(type(pathlib.Path())):\n"
        "    def locate(self): return self\n"
        f"importlib.metadata.files = lambda name: list(File({str(tmp_path)!r}).iterdir())\n"
        "print(mkl.functions(), mkl.dot(np.ones((300, 300)), np.ones((300, 300)))[0, 0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "None 300.0", done.stderr


def test_no_symbol_of_it_is_seen_by_others():
    """torch has an MKL of its own, which would run on this one."""
    if mkl.functions() is None:
        lacking("mkl", "MKL is not installed")
    code = (
        "import ctypes, numpy as np\n"
        "from portagrad_numpy import mkl\n"
        "mkl.dot(np.ones((256, 256)), np.ones((256, 256)))\n"
        "assert any('libmkl_core' in line for line in open('/proc/self/maps'))\n"
        "everything = ctypes.CDLL(None)\n"
        "print([name for name in ('cblas_sgemm', 'mkl_serv_get_max_threads') if hasattr(everything, name)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
