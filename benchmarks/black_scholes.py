"""Delta, theta, rho and vega of 10,000,000 European call options: elementwise work on large arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import portagrad as pg
from benchmarks import libraries
from benchmarks.case import Bar, Case, Make, Running

OPTIONS = 10_000_000
COMPARED = 1000
"""Of how many options the greeks are compared."""


def price(spot: Any, years: Any, rate: Any, vol: Any, strike: Any, xp: Any, cdf: Callable[[Any], Any]) -> Any:
    """Black and Scholes (1973), "The pricing of options and corporate liabilities", eq. 13."""
    spread = vol * xp.sqrt(years)
    d1 = (xp.log(spot / strike) + (rate + 0.5 * vol * vol) * years) / spread
    return spot * cdf(d1) - strike * xp.exp(-rate * years) * cdf(d1 - spread)


def options(count: int) -> list[Any]:
    """Spot, years, rate and volatility, by which the price is differentiated, and the strike.

    Strikes are near the spot, as traded ones are: far from it the greeks are subnormal numbers, whose slow
    arithmetic would be all that is measured.
    """
    rng = np.random.default_rng(0)
    ranges = ((50, 150), (0.25, 2), (0.0, 0.06), (0.15, 0.5), (0.8, 1.25))
    spot, years, rate, vol, near = (rng.uniform(*r, count).astype(np.float32) for r in ranges)
    return [spot, years, rate, vol, spot * near]


def _sample(greeks: Any, read: Callable[[Any], Any]) -> Any:
    return np.stack([read(g[:: max(1, g.shape[0] // COMPARED)]) for g in greeks])


def by_hand(count: int, xp: Any, ndtr: Callable[..., Any], put: Callable[[Any], Any]) -> Callable[[], Any]:
    """The formulas of the greeks, with in-place operations, in NumPy or CuPy."""
    spot, years, rate, vol, strike = map(put, options(count))

    def step() -> Any:
        root = xp.sqrt(years)
        spread = vol * root
        d1 = spot / strike
        xp.log(d1, out=d1)
        t = vol * vol
        t *= 0.5
        t += rate
        t *= years
        d1 += t
        d1 /= spread
        xp.subtract(d1, spread, out=t)
        bond = ndtr(t)
        xp.multiply(rate, years, out=t)
        xp.negative(t, out=t)
        xp.exp(t, out=t)
        bond *= t
        bond *= strike
        delta = ndtr(d1)
        vega = d1
        vega *= vega
        vega *= -0.5
        xp.exp(vega, out=vega)
        vega *= spot
        vega *= (2 * np.pi) ** -0.5
        theta = spread
        xp.divide(vol, root, out=theta)
        theta *= 0.5
        theta *= vega
        vega *= root
        xp.multiply(rate, bond, out=t)
        theta += t
        bond *= years
        return delta, theta, bond, vega

    return step


def numpy_by_hand(count: int) -> Running:
    from scipy.special import ndtr

    step = by_hand(count, np, ndtr, np.asarray)
    return Running(step, libraries.nothing, lambda greeks: _sample(greeks, np.asarray))


def cupy_by_hand(count: int, device: str) -> Running:
    cupy = libraries.cupy(device)
    from cupyx.scipy.special import ndtr

    step = by_hand(count, cupy, ndtr, cupy.asarray)
    return Running(
        step, lambda _: cupy.cuda.Device().synchronize(), lambda greeks: _sample(greeks, cupy.asnumpy)
    )


def portagrad(count: int, device: str, library: str = "", compiled: bool = False) -> Running:
    arrays = pg.to_device(options(count), libraries.pg_device(library, device))

    def greeks(*args: Any) -> Any:
        return pg.grad(lambda *args: pg.sum(price(*args, pg, pg.special.ndtr)), (0, 1, 2, 3))(*args)

    run = pg.compile(greeks) if compiled else greeks
    return Running(
        lambda: run(*arrays),
        libraries.pg_wait(library, device),
        lambda found: _sample(found, libraries.pg_read),
    )


def torch(count: int, device: str, mode: str = "") -> Running:
    library = libraries.torch()
    arrays = libraries.torch_arrays(device, options(count))
    inputs = [a.requires_grad_() for a in arrays[:4]]

    def value(*args: Any) -> Any:
        return price(*args, library, library.special.ndtr).sum()

    run = library.compile(value, mode=mode) if mode else value
    return Running(
        lambda: library.autograd.grad(run(*arrays), inputs),
        libraries.torch_wait(device),
        lambda found: _sample(found, libraries.torch_read),
    )


def jax(count: int, device: str) -> Running:
    import jax

    arrays = libraries.jax_arrays(device, options(count))

    def value(*args: Any) -> Any:
        return jax.numpy.sum(price(*args, jax.numpy, jax.scipy.special.ndtr))

    run = jax.jit(jax.grad(value, (0, 1, 2, 3)))
    return Running(lambda: run(*arrays), jax.block_until_ready, lambda found: _sample(found, np.asarray))


def autograd(count: int, device: str) -> Running:
    import autograd.numpy as anp
    from autograd import grad
    from autograd.scipy.special import erfc

    libraries.on_a_cpu(device)
    arrays = options(count)

    def value(*args: Any) -> Any:
        return anp.sum(price(*args, anp, lambda x: 0.5 * erfc(x * -(0.5**0.5))))

    gradient = grad(value, (0, 1, 2, 3))
    return Running(lambda: gradient(*arrays), libraries.nothing, lambda found: _sample(found, np.asarray))


def cases(device: str, quick: bool = False) -> list[Case]:
    count = OPTIONS // 10 if quick else OPTIONS
    hand = "NumPy by hand" if device == "cpu" else "CuPy by hand"
    mode = "default" if device == "cpu" else "reduce-overhead"
    contenders: dict[str, Make] = {
        "portagrad": partial(portagrad, count, device),
        "portagrad compiled": partial(portagrad, count, device, compiled=True),
        hand: partial(numpy_by_hand, count) if device == "cpu" else partial(cupy_by_hand, count, device),
        "torch": partial(torch, count, device),
        "torch.compile": partial(torch, count, device, mode),
        "jax.jit": partial(jax, count, device),
        "autograd": partial(autograd, count, device),
    }
    return [
        Case(
            group="Black-Scholes greeks",
            title=f"{count:,} options",
            contenders=contenders,
            baseline=hand,
            bars=[
                Bar("portagrad compiled", ("jax.jit",), 1.0),
                Bar("portagrad compiled", ("NumPy by hand",), 0.5),
            ]
            if device == "cpu"
            else (),
            rtol=2e-3,
            atol=1e-3,
            seconds=60.0,
        )
    ]
