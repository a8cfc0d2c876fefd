"""Machine code on disk: taken again by the next process, and never for something else."""

import importlib.util
import time

import numpy as np
import pytest

from portagrad_numpy import kept
from tests.required import lacking

SOURCE = "def step(x):\n    for i in range(x.size):\n        x[i] = x[i] * c"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    if importlib.util.find_spec("numba") is None:
        lacking("numba", "numba is not installed (pip install 'portagrad[numba]')")
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "portagrad" / "loops"


def step(factor, **options):
    import numba

    double = numba.types.Array(numba.float64, 1, "C")
    return kept.compiled(SOURCE, "step", {"c": np.float64(factor)}, {}, numba.void(double), **options)


def run(function):
    x = np.ones(3)
    function(x)
    return x.tolist()


def test_what_has_been_compiled_is_taken_again(folder):
    assert run(step(2.0)) == [2.0] * 3
    again = step(2.0)
    assert sum(again.stats.cache_hits.values()) == 1
    assert run(again) == [2.0] * 3


def test_code_with_other_numbers_or_options_is_other_code(folder):
    assert run(step(2.0)) == [2.0] * 3
    for other in (step(3.0), step(2.0, fastmath=True)):
        assert not other.stats.cache_hits
    assert run(step(3.0)) == [3.0] * 3
    assert len(list(folder.glob("*.py"))) == 3


def test_without_a_folder_to_write_to_nothing_is_kept(folder, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert run(step(2.0)) == [2.0] * 3
    assert not folder.exists()


def test_broken_machine_code_is_made_anew(folder):
    step(2.0)
    for path in folder.glob("__pycache__/*"):
        path.write_bytes(b"broken")
    assert run(step(2.0)) == [2.0] * 3


def test_of_too_many_the_older_half_is_forgotten(folder, monkeypatch):
    monkeypatch.setattr(kept, "MOST", 4)
    for factor in range(5):
        step(float(factor))
        time.sleep(0.01)  # times of files are coarse
    assert len(list(folder.glob("*.py"))) == 3
    assert len(list(folder.glob("__pycache__/*.nbi"))) == 3
    assert run(step(4.0)) == [4.0] * 3
