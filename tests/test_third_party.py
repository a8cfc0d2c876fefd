"""A stranger's array library, registered by an entry point only, with the same rights as ours."""

import sys
from pathlib import Path

import numpy as np
import pytest

import portagrad as pg
from portagrad.backend import BY_TYPE, _loaded, backend_of, registered
from portagrad.device import _known, device, device_of, report, transfer


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A library and its adapter on the path, registered by an entry point: what installing them does."""
    info = tmp_path / "portagrad_toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: portagrad-toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[portagrad.backends]\ntoy = portagrad_toy:backend\n")
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "toy"))
    monkeypatch.syspath_prepend(str(tmp_path))
    registered.cache_clear()
    import toyarrays

    yield toyarrays
    _loaded.pop("toy", None)
    for table in (BY_TYPE, _known):
        for key in [key for key in table if key is toyarrays.ToyArray or "toy" in str(key)]:
            del table[key]
    for name in ("toyarrays", "portagrad_toy"):
        sys.modules.pop(name, None)
    registered.cache_clear()


def test_a_strangers_backend_needs_an_entry_point_only(toy):
    x = toy.ToyArray([1.0, 2.0])
    assert backend_of(x).name == "toy"
    assert str(device_of(x)) == "toy:toybox"
    assert device("toy") == device("toy:toybox") == device(x)
    assert "toy" in [line.name for line in report() if line.usable]
    there = transfer(np.asarray([3.0]), device("toy"))
    assert isinstance(there, toy.ToyArray)
    np.testing.assert_array_equal(transfer(there, device("cpu")), [3.0])


def test_gradients_on_a_strangers_backend(toy):
    def loss(x):
        xp = x.__array_namespace__()
        twice = xp.concat([x, x[::-1]])
        return xp.sum(twice[1:] ** 2 * xp.exp(twice[:-1])) / xp.max(x)

    host = np.asarray([0.5, 1.5, -0.5])
    x = toy.ToyArray(host)
    for transform in (pg.grad, pg.hessian, lambda f: lambda x: pg.jvp(f, (x,), (x,))[1], pg.jacfwd):
        found, expected = transform(loss)(x), transform(loss)(host)
        assert isinstance(found, toy.ToyArray)
        np.testing.assert_allclose(found.held, expected, rtol=1e-12)

    def across(a):
        return pg.sum(pg.to_device(pg.to_device(a, "toy") ** 2, "cpu"))

    np.testing.assert_allclose(pg.grad(across)(host), 2 * host)
    with pg.use("toy"):
        assert isinstance(pg.zeros((2,)), toy.ToyArray)


def test_errors_on_a_strangers_backend(toy):
    x = toy.ToyArray([1.0, 2.0])
    with pytest.raises(pg.DeviceMismatchError) as caught:
        pg.grad(lambda x: pg.sum(x * np.ones(2)))(x)
    assert str(caught.value) == (
        "multiply: arguments live on different devices\n"
        "  x1: toy float64 (2,) on toy:toybox\n"
        "  x2: numpy float64 (2,) on cpu\n"
        'move one of them, for example pg.to_device(x2, "toy:toybox")'
    )
    with pytest.raises(pg.OutOfMemoryError, match=r"^broadcast_to: out of memory on toy:toybox"):
        pg.grad(lambda x: pg.sum(pg.broadcast_to(x, (1000, 2))))(x)
