"""Special functions agree with SciPy's, far out as well."""

import numpy as np
import pytest
from scipy import special

import portagrad as pg
from portagrad.testing.arrays import host

X = np.concatenate([np.linspace(-30.0, 30.0, 601), [-37.5, -1e-300, 0.0, 1e-300, 1e5, -1e5, np.inf, -np.inf]])


@pytest.mark.filterwarnings("ignore:divide by zero")  # the logarithm of 0, at minus infinity
@pytest.mark.parametrize("name", ["erf", "erfc", "expit", "ndtr", "log_ndtr"])
def test_values_are_scipys_wherever_they_are_normal_numbers(name, xp_device):
    y = host(getattr(pg.special, name)(pg.to_device(X, xp_device)))
    expected = getattr(special, name)(X)
    normal = np.abs(expected) > 1e-300
    # A rounding error of x / sqrt(2) counts x * x / 2 times, 450 at the most before 1e-300.
    np.testing.assert_allclose(y[normal], expected[normal], rtol=5e-13)
    np.testing.assert_allclose(y[~normal], expected[~normal], atol=1e-300)


def test_the_logarithm_of_the_odds(xp_device):
    p = np.asarray([0.0, 1e-300, 1e-5, 0.3, 0.5, 0.9, 1.0])
    with np.errstate(divide="ignore"):
        y = host(pg.special.logit(pg.to_device(p, xp_device)))
    np.testing.assert_allclose(y, special.logit(p), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", ["erf", "erfc", "expit", "ndtr", "log_ndtr", "logit"])
def test_a_nan_stays_one(name, xp_device):
    assert np.isnan(host(getattr(pg.special, name)(pg.to_device(np.asarray([np.nan]), xp_device)))[0])


def test_the_tail_of_a_likelihood_has_a_gradient():
    x = np.asarray([-30.0, -10.0, 0.0, 10.0])
    g = pg.grad(lambda x: pg.sum(pg.special.log_ndtr(x)))(x)
    expected = np.exp(-x * x / 2 - special.log_ndtr(x)) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(g, expected, rtol=1e-11)
