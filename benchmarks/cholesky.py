"""The gradient of a batch of Gaussian log-likelihoods by Cholesky factors, in float32."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import portagrad as pg
from benchmarks import libraries
from benchmarks.case import Case, Make, Running

PROCESSES, POINTS = 64, 64


def problem() -> list[Any]:
    """Of Gaussian processes: length scales, amplitudes, noises, squared distances and observations."""
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0, 10, (PROCESSES, POINTS)), axis=1)
    parts = (
        rng.uniform(0.5, 2, (PROCESSES, 1, 1)),
        rng.uniform(0.5, 2, (PROCESSES, 1, 1)),
        rng.uniform(0.5, 1, (PROCESSES, 1, 1)),
        (times[:, :, None] - times[:, None, :]) ** 2,
        rng.standard_normal((PROCESSES, POINTS, 1)),
        np.eye(POINTS),
    )
    return [part.astype(np.float32) for part in parts]


def likelihood(
    length: Any,
    amplitude: Any,
    noise: Any,
    squares: Any,
    y: Any,
    eye: Any,
    xp: Any,
    solve: Callable[..., Any],
) -> Any:
    """Rasmussen and Williams (2006), "Gaussian processes for machine learning", eq. 2.30, but for a constant.

    With K = L L^T the quadratic term is ``|L^-1 y|²`` and the log of the determinant twice the sum of the
    logs of L's diagonal.
    """
    kernel = amplitude**2 * xp.exp(-0.5 * squares / length**2) + noise**2 * eye
    factor = xp.linalg.cholesky(kernel)
    whitened = solve(factor, y)
    return -0.5 * xp.sum(whitened**2) - xp.sum(xp.log(xp.sum(factor * eye, -1)))


def _read(gradient: Any, read: Callable[[Any], Any]) -> Any:
    return np.concatenate([read(g).ravel() for g in gradient])


def portagrad(device: str, library: str = "", compiled: bool = False) -> Running:
    arrays = pg.to_device(problem(), libraries.pg_device(library, device))

    def value(*args: Any) -> Any:
        return likelihood(*args, _Standard, pg.linalg.solve_triangular)

    gradient = pg.grad(value, (0, 1, 2))
    run = pg.compile(gradient) if compiled else gradient
    return Running(
        lambda: run(*arrays),
        libraries.pg_wait(library, device),
        lambda found: _read(found, libraries.pg_read),
    )


class _Standard:
    """The functions of the standard, whose axes have names."""

    exp, log, linalg = pg.exp, pg.log, pg.linalg

    @staticmethod
    def sum(x: Any, axis: int | None = None) -> Any:
        return pg.sum(x, axis=axis)


def torch(device: str, mode: str = "") -> Running:
    library = libraries.torch()
    arrays = libraries.torch_arrays(device, problem())
    inputs = [a.requires_grad_() for a in arrays[:3]]

    def value(*args: Any) -> Any:
        return likelihood(*args, library, partial(library.linalg.solve_triangular, upper=False))

    run = library.compile(value, mode=mode) if mode else value
    return Running(
        lambda: library.autograd.grad(run(*arrays), inputs),
        libraries.torch_wait(device),
        lambda found: _read(found, libraries.torch_read),
    )


def jax(device: str) -> Running:
    import jax
    from jax.scipy.linalg import solve_triangular

    arrays = libraries.jax_arrays(device, problem())
    solve = jax.vmap(partial(solve_triangular, lower=True))

    def value(*args: Any) -> Any:
        return likelihood(*args, jax.numpy, solve)

    run = jax.jit(jax.grad(value, (0, 1, 2)))
    return Running(lambda: run(*arrays), jax.block_until_ready, lambda found: _read(found, np.asarray))


def autograd(device: str) -> Running:
    import autograd.numpy as anp
    from autograd import grad

    libraries.on_a_cpu(device)
    arrays = problem()
    gradient = grad(lambda *args: likelihood(*args, anp, anp.linalg.solve), (0, 1, 2))
    return Running(lambda: gradient(*arrays), libraries.nothing, lambda found: _read(found, np.asarray))


def cases(device: str, quick: bool = False) -> list[Case]:
    contenders: dict[str, Make] = {
        "portagrad": partial(portagrad, device),
        "portagrad compiled": partial(portagrad, device, compiled=True),
        "torch": partial(torch, device),
        "torch.compile": partial(torch, device, "default"),
        "jax.jit": partial(jax, device),
        "autograd": partial(autograd, device),
    }
    return [
        Case(
            group="Cholesky log-likelihood gradient",
            title=f"{PROCESSES} matrices of {POINTS} × {POINTS}",
            contenders=contenders,
            baseline="torch",
            rtol=1e-2,
            atol=1e-2,
        )
    ]
