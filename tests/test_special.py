"""Special functions agree with SciPy's, far out as well, and so do their derivatives of three orders."""

import importlib
import importlib.util

import numpy as np
import pytest
from scipy import special

import portagrad as pg
import portagrad_dask.special
import portagrad_numpy.special
from portagrad.testing.arrays import host

inf, nan = np.inf, np.nan
pytestmark = [
    pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning"),
]

WIDE = np.concatenate([np.linspace(-30.0, 30.0, 601), [-37.5, -1e-300, 0.0, 1e-300, 1e5, -1e5, inf, -inf]])
TINY = 10.0 ** -np.arange(1.0, 300.0, 7.0)
# Between the poles, and on the seams of the plain forwards.
GAMMA = np.concatenate(
    [np.linspace(-9.87, 12.13, 221), [0.5, 1.0, 1.5, 2.0, 2.5, 8.0, 1e-300, 1e3, 1e15, 1e300, inf]]
)
BESSEL = np.concatenate([np.linspace(-29.0, 29.0, 117), [0.0, 1e-300, 100.0, -700.0]])

VALUES = {
    **dict.fromkeys(("erf", "erfc", "expit", "ndtr", "log_ndtr"), WIDE),
    "erfinv": np.concatenate([np.linspace(-1.0, 1.0, 201), TINY, -TINY, 1 - TINY[:3]]),
    "ndtri": np.concatenate([np.linspace(0.0, 1.0, 201), TINY]),
    "logit": np.concatenate([np.linspace(0.0, 1.0, 201), TINY]),
    "gammaln": GAMMA,
    "digamma": GAMMA,
    "i0": BESSEL,
    "i1": BESSEL,
}


def agree(y, expected, scale=1e-13):
    """To 13 digits of what is a normal number, or of `scale` where functions cross zero."""
    y = host(y)
    small = np.abs(expected) < 1e-300
    # A rounding error of x / sqrt(2) counts x * x / 2 times in the tails, 450 at the most before 1e-300.
    np.testing.assert_allclose(y[~small], expected[~small], rtol=5e-13, atol=scale)
    np.testing.assert_allclose(y[small], expected[small], atol=max(scale, 1e-300))


@pytest.mark.parametrize("name", VALUES)
def test_values_are_scipys(name, xp_device):
    x = VALUES[name]
    scale = 3e-13 if name in ("gammaln", "digamma") else 1e-15 if name == "logit" else 0.0
    agree(getattr(pg.special, name)(pg.to_device(x, xp_device)), getattr(special, name)(x), scale)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_values_of_an_order_are_scipys(n, xp_device):
    x = pg.to_device(GAMMA[:-1], xp_device)
    expected = special.polygamma(n, GAMMA[:-1])
    # Near their zeros, and for an error of an argument's rounding near the poles below 0.
    np.testing.assert_allclose(host(pg.special.polygamma(n, x)), expected, rtol=1e-11, atol=1e-13)
    agree(pg.special.iv(-n, pg.to_device(BESSEL, xp_device)), special.iv(n, BESSEL), 0.0)


def test_the_beta_function_keeps_its_digits_where_arguments_differ_by_far(xp_device):
    a = pg.to_device(np.asarray([888623.8162743407, 0.5, 1e-5, 1e8, 300.0, -0.5, 8.0]), xp_device)
    b = pg.to_device(np.asarray([0.1584893192461114, 0.5, 1e10, 2e8, 7.0, 1.25, 8.5]), xp_device)
    # From mpmath in 60 digits: of the first SciPy's own has nine.
    expected = [-0.4010939737078480, 1.1447298858494002, 11.512689434386527, -190954258.57711313]
    expected += [-33.416725930245229, 0.96395933563153686, -11.203325896674403]
    np.testing.assert_allclose(host(pg.special.betaln(a, b)), expected, rtol=1e-13)


@pytest.mark.parametrize("name", [*VALUES, "inverse_mills_ratio"])
def test_a_nan_stays_one(name, xp_device):
    assert np.isnan(host(getattr(pg.special, name)(pg.to_device(np.asarray([nan]), xp_device)))[0])


# Derivatives

POINTS = np.asarray([-3.7, -0.4, 1e-3, 1.4616321449683623, 2.0, 2.5, 7.9, 8.1, 50.0, 1e5])
LINE = np.asarray([-30.0, -7.0, -1.0, -0.3, 0.0, 0.2, 1.0, 5.0, 30.0])
UNIT = np.asarray([1e-9, 0.02, 0.3, 0.5, 0.7, 0.9999])


def density(x):
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def mills(x):
    return np.sqrt(2 / np.pi) / special.erfcx(-x / np.sqrt(2))


def of_error_function(x, sign=1):
    slope = sign * 2 / np.sqrt(np.pi) * np.exp(-x * x)
    return slope, -2 * x * slope, (4 * x * x - 2) * slope


def of_inverse(slope, y, c):
    """Of the inverse of a normal distribution function: the slope grows with y as exp(c y * y / 2)."""
    return slope, c * y * slope**2, (c + 2 * (c * y) ** 2) * slope**3


def of_expit(x):
    s, t = special.expit(x), special.expit(-x)
    return s * t, s * t * (t - s), s * t * (1 - 6 * s * t)


def of_log_ndtr(x):
    h = mills(x)
    return h, -h * (x + h), h * ((x + h) * (x + 2 * h) - 1)


def of_logit(x):
    v = x * (1 - x)
    return 1 / v, (2 * x - 1) / v**2, 2 * (1 - 3 * v) / v**3


def of_inverse_mills_ratio(x):
    h = mills(x)
    first, second = of_log_ndtr(x)[1:]
    return first, second, -second * (x + 3 * h) - first * (2 + 3 * first) + first


CLOSED = {
    "erf": (pg.special.erf, LINE, of_error_function),
    "erfc": (pg.special.erfc, LINE, lambda x: of_error_function(x, -1)),
    "erfinv": (
        pg.special.erfinv,
        2 * UNIT - 1,
        lambda x: of_inverse(np.sqrt(np.pi) / 2 * np.exp(special.erfinv(x) ** 2), special.erfinv(x), 2),
    ),
    "expit": (pg.special.expit, LINE, of_expit),
    "logit": (pg.special.logit, UNIT, of_logit),
    "ndtr": (pg.special.ndtr, LINE, lambda x: (density(x), -x * density(x), (x * x - 1) * density(x))),
    "log_ndtr": (pg.special.log_ndtr, LINE, of_log_ndtr),
    "ndtri": (
        pg.special.ndtri,
        UNIT,
        lambda x: of_inverse(1 / density(special.ndtri(x)), special.ndtri(x), 1),
    ),
    "gammaln": (pg.special.gammaln, POINTS, lambda x: [special.polygamma(n, x) for n in (0, 1, 2)]),
    "digamma": (pg.special.digamma, POINTS, lambda x: [special.polygamma(n, x) for n in (1, 2, 3)]),
    "polygamma": (
        lambda x: pg.special.polygamma(2, x),
        POINTS,
        lambda x: [special.polygamma(n, x) for n in (3, 4, 5)],
    ),
    "betaln": (
        lambda x: pg.special.betaln(x, 2.5),
        POINTS[2:],
        lambda x: [special.polygamma(n, x) - special.polygamma(n, x + 2.5) for n in (0, 1, 2)],
    ),
    "i0": (pg.special.i0, LINE, lambda x: [special.ivp(0, x, n) for n in (1, 2, 3)]),
    "i1": (pg.special.i1, LINE, lambda x: [special.ivp(1, x, n) for n in (1, 2, 3)]),
    "iv": (lambda x: pg.special.iv(3, x), LINE, lambda x: [special.ivp(3, x, n) for n in (1, 2, 3)]),
    "entr": (pg.special.entr, POINTS[2:], lambda x: (-1 - np.log(x), -1 / x, 1 / x**2)),
    "xlogy": (lambda x: pg.special.xlogy(3.0, x), POINTS[2:], lambda x: (3 / x, -3 / x**2, 6 / x**3)),
    "xlog1py": (
        lambda x: pg.special.xlog1py(3.0, x),
        POINTS[1:],
        lambda x: (3 / (1 + x), -3 / (1 + x) ** 2, 6 / (1 + x) ** 3),
    ),
}


def derivative(f):
    return lambda x: pg.grad(lambda x: pg.sum(f(x)))(x)


@pytest.mark.parametrize("name", CLOSED)
def test_derivatives_are_what_their_formulas_say(name, xp_device):
    f, points, formulas = CLOSED[name]
    orders = 1 if xp_device.backend.name in ("jax", "dask") else 3  # those build or compile every step
    x = pg.to_device(points, xp_device)
    for expected in formulas(points)[:orders]:
        f = derivative(f)
        np.testing.assert_allclose(host(f(x)), expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", [name for name in CLOSED if name not in ("betaln", "iv", "log_ndtr")])
def test_derivatives_are_torchs(name):
    """Where torch has the function, and differentiates it to its last digits."""
    torch = pytest.importorskip("torch")
    f, points, _ = CLOSED[name]
    others = {
        "polygamma": lambda x: torch.special.polygamma(2, x),
        "xlogy": lambda x: torch.special.xlogy(3.0, x),
        "xlog1py": lambda x: torch.special.xlog1py(3.0, x),
    }
    g = others.get(name) or getattr(torch.special, name)
    points = points[(points != 0) & (np.abs(points) < 20)]
    x = torch.tensor(points, requires_grad=True)
    y = g(x)
    for _ in range(3):
        f = derivative(f)
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        # torch's trigamma has nine digits.
        np.testing.assert_allclose(f(points), y.detach().numpy(), rtol=1e-8, atol=1e-9)


def test_the_tail_of_a_likelihood_has_curvature(xp_device):
    """Far out, where density and probability underflow."""
    x = pg.to_device(np.asarray([-1e3, -200.0, 40.0]), xp_device)
    first = derivative(pg.special.log_ndtr)
    np.testing.assert_allclose(host(first(x)), [1000.000999998, 200.0049997501, 0.0], rtol=1e-12, atol=1e-200)
    np.testing.assert_allclose(host(derivative(first)(x)), [-0.999999, -0.999975003749, 0.0], rtol=1e-8)


# Singular points


def test_no_entropy_where_there_is_no_mass(xp_device):
    """At (0, 0) the value and the slope along y are 0, the slope along x infinite; so is the mixed one."""
    zero, one = (pg.to_device(np.asarray(v), xp_device) for v in (0.0, 1.0))
    for f, y in ((pg.special.xlogy, zero), (pg.special.xlog1py, -one)):
        found = [f(zero, y), pg.grad(f, 0)(zero, y), pg.grad(f, 1)(zero, y)]
        found += [pg.grad(pg.grad(f, i), j)(zero, y) for i in (0, 1) for j in (0, 1)]
        assert [float(host(v)) for v in found] == [0.0, -inf, 0.0, 0.0, inf, inf, 0.0]
        assert np.isnan(host(f(zero, y * nan)))
    assert float(host(pg.special.xdivy(zero, zero))) == 0.0
    assert float(host(pg.special.xdivy(one, zero))) == inf


@pytest.mark.parametrize(
    ("name", "ends"), [("erfinv", [-1.0, 1.0]), ("ndtri", [0.0, 1.0]), ("logit", [0.0, 1.0])]
)
def test_inverses_are_infinite_at_the_ends(name, ends, xp_device):
    f, x = getattr(pg.special, name), pg.to_device(np.asarray(ends), xp_device)
    np.testing.assert_array_equal(host(f(x)), [-inf, inf])
    np.testing.assert_array_equal(host(derivative(f)(x)), [inf, inf])
    np.testing.assert_array_equal(host(derivative(derivative(f))(x)), [-inf, inf])
    assert np.all(np.isnan(host(f(x * 3 + 1 - x))[1:]))  # beyond 1


def test_poles_of_the_gamma_function(xp_device):
    x = pg.to_device(np.asarray([0.0, -1.0, -2.0]), xp_device)
    np.testing.assert_array_equal(host(pg.special.gammaln(x)), [inf, inf, inf])
    assert not np.any(np.isfinite(host(derivative(pg.special.gammaln)(x))))
    np.testing.assert_array_equal(host(pg.special.polygamma(1, x)), [inf, inf, inf])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: pg.special.polygamma(-1, x),
            ValueError,
            "polygamma: the order n must be 0 or more, not -1",
        ),
        (
            lambda x: pg.special.polygamma(1.5, x),
            TypeError,
            r"polygamma: the order n must be one integer, not 1.5",
        ),
        (lambda x: pg.special.iv(x, x), TypeError, r"iv: the order n must be one integer, not "),
        (lambda x: pg.special.erf(1.0), TypeError, "erf: no argument is an array"),
        (lambda x: pg.special.xlogy(x, "a"), TypeError, "xlogy: x2 is a str"),
    ],
)
def test_bad_input(call, error, message, xp_device):
    x = pg.to_device(np.asarray([1.0, 2.0]), xp_device)
    with pytest.raises(error, match=message):
        call(x)
    if "order" in message:
        with pytest.raises(error, match=message):
            derivative(call)(x)


@pytest.mark.parametrize("module", [portagrad_numpy.special, portagrad_dask.special])
def test_without_scipy_the_plain_forwards_serve(module, monkeypatch):
    assert "special.erf" in module.kernels
    with monkeypatch.context() as patched:
        patched.setattr(importlib.util, "find_spec", lambda name: None)
        assert importlib.reload(module).kernels == {}
    importlib.reload(module)
