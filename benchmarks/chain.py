"""Overhead per op: chains of ops on three elements, forward and backward, of 1,000 to 1,000,000 ops."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import portagrad as pg
from benchmarks import libraries
from benchmarks.case import Bar, Case, Cost, NotHere, Running

LENGTHS = (1_000, 10_000, 100_000, 1_000_000)
START = (0.1, 0.2, 0.3)
OVER_TORCH, OVER_AUTOGRAD = 0.8, 0.25
LINEAR = 1.3
"""What an op of the longest chain may cost, over one of the shortest, whose nodes fit into a cache."""


def chain(x: Any, sin: Callable[[Any], Any], ops: int) -> Any:
    """A quarter each of products with and sums with a number, sines, and squares as products."""
    for _ in range(ops // 4):
        x = x * 1.0001
        x = x + 0.1
        x = sin(x)
        x = x * x
    return x


def portagrad(ops: int, device: str) -> Running:
    start = pg.to_device(np.asarray(START), libraries.pg_device("", device))
    gradient = pg.grad(lambda x: pg.sum(chain(x, pg.sin, ops)))
    return Running(lambda: gradient(start), libraries.pg_wait("", device), libraries.pg_read)


def torch(ops: int, device: str) -> Running:
    library = libraries.torch()
    (start,) = libraries.torch_arrays(device, [np.asarray(START)])

    def step() -> Any:
        x = start.detach().requires_grad_()
        chain(x, library.sin, ops).sum().backward()
        return x.grad

    return Running(step, libraries.torch_wait(device), libraries.torch_read)


def autograd(ops: int, device: str) -> Running:
    import autograd.numpy as anp
    from autograd import grad

    libraries.on_a_cpu(device)
    gradient = grad(lambda x: anp.sum(chain(x, anp.sin, ops)))
    return Running(lambda: gradient(np.asarray(START)), libraries.nothing, np.asarray)


def mygrad(ops: int, device: str) -> Running:
    import mygrad as mg

    libraries.on_a_cpu(device)
    if ops > 10_000:
        raise NotHere("its time grows faster than the chain")

    def step() -> Any:
        x = mg.tensor(START)
        chain(x, mg.sin, ops).sum().backward()
        return x.grad

    return Running(step, libraries.nothing, np.asarray)


def jax(ops: int, device: str) -> Running:
    """Op by op: a trace of a long chain takes XLA minutes."""
    import jax

    if ops > 1_000:
        raise NotHere("op by op it takes minutes")
    with jax.enable_x64(True):
        (start,) = libraries.jax_arrays(device, [np.asarray(START)])
    gradient = jax.grad(lambda x: jax.numpy.sum(chain(x, jax.numpy.sin, ops)))

    def step() -> Any:
        with jax.enable_x64(True):
            return gradient(start)

    return Running(step, jax.block_until_ready, np.asarray)


CONTENDERS = {"portagrad": portagrad, "torch": torch, "autograd": autograd, "MyGrad": mygrad, "JAX": jax}


def cases(device: str, quick: bool = False) -> list[Case]:
    """Each length against the peers, and the longest against the shortest."""
    lengths = LENGTHS[:-1] if quick else LENGTHS
    bars = [Bar("portagrad", ("torch",), OVER_TORCH), Bar("portagrad", ("autograd",), OVER_AUTOGRAD)]
    found = [
        Case(
            group="chain of ops",
            title=f"{ops:,} ops",
            contenders={name: partial(make, ops, device) for name, make in CONTENDERS.items()},
            baseline="torch",
            bars=bars if device == "cpu" else (),
            rtol=1e-6,
        )
        for ops in lengths
    ]
    growth = Case(
        group="cost of an op by length",
        title="portagrad",
        contenders={f"{ops:,} ops": partial(per_op, ops, device) for ops in lengths},
        baseline=f"{lengths[0]:,} ops",
        bars=[Bar(f"{lengths[-1]:,} ops", (f"{lengths[0]:,} ops",), LINEAR)],
    )
    return [*found, growth]


def per_op(ops: int, device: str) -> Cost:
    """Seconds per op of portagrad, over a hundred thousand ops at least."""
    running = portagrad(ops, device)

    def cost() -> float:
        start = time.perf_counter()
        for _ in range(max(1, LENGTHS[-2] // ops)):
            running.wait(running.step())
        return (time.perf_counter() - start) / max(ops, LENGTHS[-2])

    return cost
