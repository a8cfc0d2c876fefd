"""Fourier transforms beyond the laws of the table: every norm, lengths, defaults, and the frequencies."""

import itertools

import numpy as np
import pytest

import portagrad as pg
from portagrad.op import TABLE, Case
from portagrad.testing import check_grads
from portagrad.testing.arrays import dtype_name, host
from portagrad.testing.draws import draw
from portagrad.testing.gradients import check_pullback
from portagrad.testing.ops import check_values

NORMS = ("backward", "ortho", "forward")
ONE = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
SEVERAL = ("fftn", "ifftn", "rfftn", "irfftn")


def try_out(name, place, shape, **params):
    """The result is NumPy's, the pullback the transpose of the pushforward, which is the function itself."""
    op = TABLE[f"fft.{name}"]
    call = draw(op, Case((shape,), params), place, "complex128" if op.dtypes == "complex" else "float64")
    check_values(call)
    check_pullback(call, call.xs)


@pytest.mark.parametrize("place", ["cpu", "torch"])
@pytest.mark.parametrize("name", ONE)
def test_every_norm_and_length_of_one_axis(name, place):
    if place != "cpu":
        pytest.importorskip(place)
    for norm, n, length in itertools.product(NORMS, (None, 1, 4, 5), (2, 3, 4)):
        try_out(name, place, (length,), n=n, norm=norm)


@pytest.mark.parametrize("place", ["cpu", "torch"])
@pytest.mark.parametrize("name", SEVERAL)
def test_every_norm_and_the_lengths_of_several_axes(name, place):
    if place != "cpu":
        pytest.importorskip(place)
    for norm, s in itertools.product(NORMS, (None, (3, 4), (5, 2))):
        for axes in ((0, 2), (2, 1), (-1, 0)):
            try_out(name, place, (2, 3, 4), s=s, axes=axes, norm=norm)


@pytest.mark.parametrize("name", ["fft", "rfft", "irfft", "hfft", "rfftn"])
def test_a_loss_of_a_spectrum_is_differentiated_twice(name, xp_device):
    """Real numbers in, complex ones between, a real one out."""
    x = np.random.default_rng(0).standard_normal(5)

    def loss(x):
        xp = x.__array_namespace__()
        wave = x if name.startswith("rfft") else xp.astype(x, xp.complex128) * (1 + 0.5j)
        spectrum = getattr(xp.fft, name)(wave)
        return xp.sum(xp.abs(spectrum) ** 4)

    check_grads(loss, (pg.to_device(x, xp_device),), order=2)


def test_a_power_spectrum_by_hand():
    """Parseval: the sum of |fft(x)|^2 is n times that of x^2, so its gradient is 2 n x."""
    x = np.asarray([1.0, -2.0, 0.5, 3.0])
    power = pg.grad(lambda x: pg.sum(pg.abs(pg.fft.fft(pg.astype(x, np.complex128))) ** 2))(x)
    np.testing.assert_allclose(power, 8 * x, rtol=1e-14)
    assert power.dtype == np.float64


@pytest.mark.parametrize("name", ["fftfreq", "rfftfreq"])
def test_frequencies_are_constants(name, xp_device):
    expected = getattr(np.fft, name)(5, d=0.5)
    xp = pg.namespace(xp_device)
    made = getattr(xp.fft, name)(5, d=0.5, dtype=xp.float64, device=xp_device)
    assert isinstance(made, pg.Tensor) and not made.requires_grad
    assert pg.device(pg.stop_gradient(made).value) == xp_device
    np.testing.assert_allclose(host(made), expected, rtol=1e-15)
    plain = getattr(pg.fft, name)(5, d=0.5, dtype=xp.float32, device=xp_device)
    assert dtype_name(plain) == "float32" and pg.device(plain) == xp_device
    assert name in dir(pg.fft) and name in dir(xp.fft)


def test_the_derivative_of_a_wave_by_its_spectrum():
    """Multiplying by the frequencies differentiates, and the whole is linear in the wave."""
    n = 16
    t = np.arange(n) * (2 * np.pi / n)

    def derivative(y):
        xp = y.__array_namespace__()
        k = xp.fft.rfftfreq(n, d=1 / n, dtype=xp.float64)
        return xp.fft.irfft(1j * k * xp.fft.rfft(y), n=n)

    y, moved = pg.jvp(derivative, (np.sin(t),), (np.cos(3 * t),))
    np.testing.assert_allclose(y, np.cos(t), atol=1e-13)
    np.testing.assert_allclose(moved, -3 * np.sin(3 * t), atol=1e-12)
    check_grads(derivative, (np.sin(t),), order=1)
