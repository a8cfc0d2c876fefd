"""Initial weights: their variances, and the same bits on every device."""

import math
import pickle

import numpy as np
import pytest
from scipy import stats

from portagrad import random
from portagrad.backend import get_backend
from portagrad.device import device_of, devices, use
from portagrad.nn import initializers

KEY = random.key(7)

VARIANCE = {  # of weights (inputs, outputs)
    "glorot_normal": lambda n, m: 2 / (n + m),
    "glorot_uniform": lambda n, m: 2 / (n + m),
    "he_normal": lambda n, m: 2 / n,
    "he_uniform": lambda n, m: 2 / n,
    "lecun_normal": lambda n, m: 1 / n,
    "lecun_uniform": lambda n, m: 1 / n,
}
ALL = [*VARIANCE, "orthogonal", "normal", "uniform", "zeros", "ones"]


def spread(name, variance):
    std = math.sqrt(variance)
    return (
        stats.norm(scale=std)
        if "normal" in name
        else stats.uniform(-math.sqrt(3) * std, 2 * math.sqrt(3) * std)
    )


@pytest.mark.parametrize("name", VARIANCE)
@pytest.mark.parametrize("shape", [(300, 200), (50, 700), (3, 5, 20, 90)])
def test_variances_and_distributions(name, shape):
    w = getattr(initializers, name)()(KEY, shape)
    window = math.prod(shape[:-2])
    variance = VARIANCE[name](window * shape[-2], window * shape[-1])
    assert w.shape == shape and w.dtype == np.float32
    assert w.var() == pytest.approx(variance, rel=4 * math.sqrt(2 / w.size))
    assert abs(w.mean()) < 4 * math.sqrt(variance / w.size)
    assert stats.kstest(w.astype(float).ravel(), spread(name, variance).cdf).pvalue > 0.01


def test_gains():
    for kind in ("normal", "uniform"):
        glorot, he = (getattr(initializers, f"{name}_{kind}") for name in ("glorot", "he"))
        w = glorot()(KEY, (30, 20), dtype="float64")
        np.testing.assert_allclose(glorot(gain=5 / 3)(KEY, (30, 20), dtype="float64"), w * 5 / 3, atol=1e-15)
        w = he()(KEY, (30, 20), dtype="float64")
        leaky = he(negative_slope=0.5)(KEY, (30, 20), dtype="float64")
        np.testing.assert_allclose(leaky, w / math.sqrt(1.25), atol=1e-15)


def test_he_keeps_the_scale_of_a_relu_network_and_glorot_that_of_a_linear_one():
    x = random.normal(random.key(1), (200, 256))
    for init, activation in [
        (initializers.he_normal(), lambda a: np.maximum(a, 0)),
        (initializers.glorot_uniform(), lambda a: a),
    ]:
        y = x
        for key in random.split(KEY, 10):
            y = activation(y @ init(key, (256, 256)))
        assert 0.4 < (y**2).mean() / (x**2).mean() < 2.5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (25, 25), (1, 4), (3, 3, 2, 8), (0, 3)])
def test_orthogonal(shape, dtype):
    w = initializers.orthogonal(gain=2)(KEY, shape, dtype=dtype)
    assert w.shape == shape and w.dtype == dtype
    w = w.reshape(-1, shape[-1]) / 2
    gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-6 if dtype == "float32" else 1e-14)


def test_orthogonal_matrices_are_uniformly_distributed():
    """Without the signs of R's diagonal, the diagonal of Q would lean to one side."""
    make = initializers.orthogonal()
    heads = [make(key, (2, 2), dtype="float64") for key in random.split(KEY, 1000)]
    angles = [math.atan2(q[1, 0], q[0, 0]) for q in heads]
    assert stats.kstest(angles, stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 0.01
    assert abs(sum(np.sign(np.linalg.det(q)) for q in heads)) < 4 * math.sqrt(1000)


def test_plain_ones():
    at = {"dtype": "float64"}
    np.testing.assert_array_equal(
        initializers.normal(std=0.3, mean=2)(KEY, 5, **at), random.normal(KEY, 5, std=0.3, mean=2, **at)
    )
    np.testing.assert_array_equal(
        initializers.uniform(-3, 4)(KEY, 5, **at), random.uniform(KEY, 5, minval=-3, maxval=4, **at)
    )
    for make, value in [
        (initializers.zeros(), 0),
        (initializers.ones(), 1),
        (initializers.constant(0.1), 0.1),
    ]:
        filled = make(KEY, (2, 3), **at)
        assert filled.dtype == np.float64 and np.all(filled == value)
        assert make(KEY, 3).dtype == np.float32


@pytest.mark.parametrize("device", devices(), ids=str)
@pytest.mark.parametrize("name", ALL)
def test_the_same_bits_on_every_device(name, device):
    init = getattr(initializers, name)()
    w = init(KEY, (13, 7), device=device)
    assert device_of(w) == device
    np.testing.assert_array_equal(device.backend.to_numpy(w), init(KEY, (13, 7), device="cpu"))


def test_weights_are_made_on_the_device_in_force():
    with use("strict:device2"):
        for name in ALL:
            w = getattr(initializers, name)()(KEY, (2, 3))
            assert isinstance(w, get_backend("strict").array_types)
            assert device_of(w).name == "strict:device2"


@pytest.mark.parametrize("name", ALL)
def test_an_initialiser_can_be_pickled(name):
    init = getattr(initializers, name)()
    again = pickle.loads(pickle.dumps(init))
    np.testing.assert_array_equal(again(KEY, (3, 4)), init(KEY, (3, 4)))


@pytest.mark.parametrize("name", [*VARIANCE, "orthogonal"])
@pytest.mark.parametrize("shape", [5, (), (5,)])
def test_weights_of_a_vector_have_no_fan(name, shape):
    with pytest.raises(ValueError, match=rf"{name}: weights have at least two axes.*use zeros\(\)"):
        getattr(initializers, name)()(KEY, shape)


@pytest.mark.parametrize("name", ALL)
def test_bad_input(name):
    init = getattr(initializers, name)()
    with pytest.raises(TypeError, match=r"make one with pg.random.key\(seed\)"):
        init(0, (2, 3))
    with pytest.raises(TypeError, match="draws float32 or float64, not int64"):
        init(KEY, (2, 3), dtype="int64")
