"""A Hessian-vector product of the loss of an MLP with 10,000 parameters, in float32."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import portagrad as pg
from benchmarks import libraries
from benchmarks.case import Case, Make, Running
from portagrad import nn

SIZES = (63, 135, 10)
BATCH = 128


def problem() -> tuple[list[Any], list[Any], Any, Any]:
    """Weights and biases, a vector like them, inputs and labels."""
    rng = np.random.default_rng(0)
    shapes = [shape for n, m in itertools.pairwise(SIZES) for shape in ((n, m), (m,))]
    params = [(rng.standard_normal(shape) * shape[0] ** -0.5).astype(np.float32) for shape in shapes]
    along = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    x = rng.standard_normal((BATCH, SIZES[0])).astype(np.float32)
    return params, along, x, rng.integers(0, SIZES[-1], BATCH).astype(np.int32)


def logits(params: Any, x: Any, tanh: Callable[[Any], Any]) -> Any:
    w1, b1, w2, b2 = params
    return tanh(x @ w1 + b1) @ w2 + b2


def _read(product: Any, read: Callable[[Any], Any]) -> Any:
    return np.concatenate([read(p).ravel() for p in product])


def portagrad(device: str, library: str = "", compiled: bool = False) -> Running:
    params, along, x, labels = pg.to_device(problem(), libraries.pg_device(library, device))

    def product(params: Any, along: Any, x: Any, labels: Any) -> Any:
        return pg.hvp(lambda p: nn.cross_entropy(logits(p, x, pg.tanh), labels), (params,), (along,))[0]

    run = pg.compile(product) if compiled else product
    return Running(
        lambda: run(params, along, x, labels),
        libraries.pg_wait(library, device),
        lambda found: _read(found, libraries.pg_read),
    )


def torch(device: str) -> Running:
    """Forward over reverse by torch.func."""
    library = libraries.torch()
    params, along, x, labels = problem()
    places = [libraries.torch_arrays(device, each) for each in (params, along, [x, labels.astype(np.int64)])]
    ps, vs, (inputs, targets) = tuple(places[0]), tuple(places[1]), places[2]

    def loss(params: Any) -> Any:
        return library.nn.functional.cross_entropy(logits(params, inputs, library.tanh), targets)

    return Running(
        lambda: library.func.jvp(library.func.grad(loss), (ps,), (vs,))[1],
        libraries.torch_wait(device),
        lambda found: _read(found, libraries.torch_read),
    )


def torch_twice(device: str) -> Running:
    """Reverse over reverse by torch.autograd, the older and the faster way on a CPU."""
    library = libraries.torch()
    params, along, x, labels = problem()
    ps = [p.requires_grad_() for p in libraries.torch_arrays(device, params)]
    vs = libraries.torch_arrays(device, along)
    inputs, targets = libraries.torch_arrays(device, [x, labels.astype(np.int64)])

    def step() -> Any:
        loss = library.nn.functional.cross_entropy(logits(ps, inputs, library.tanh), targets)
        grads = library.autograd.grad(loss, ps, create_graph=True)
        return library.autograd.grad(grads, ps, vs)

    return Running(step, libraries.torch_wait(device), lambda found: _read(found, libraries.torch_read))


def jax(device: str) -> Running:
    import jax

    params, along, x, labels = problem()
    ps, vs = (libraries.jax_arrays(device, each) for each in (params, along))
    inputs, targets = libraries.jax_arrays(device, [x, labels])

    def product(ps: Any, vs: Any, x: Any, labels: Any) -> Any:
        def loss(params: Any) -> Any:
            logs = jax.nn.log_softmax(logits(params, x, jax.numpy.tanh))
            return -jax.numpy.mean(jax.numpy.take_along_axis(logs, labels[:, None], axis=1))

        return jax.jvp(jax.grad(loss), (ps,), (vs,))[1]

    run = jax.jit(product)
    return Running(
        lambda: run(ps, vs, inputs, targets),
        jax.block_until_ready,
        lambda found: _read(found, np.asarray),
    )


def autograd(device: str) -> Running:
    """Reverse over reverse: the gradient of the gradient's product with the vector."""
    import autograd.numpy as anp
    from autograd import grad
    from autograd.scipy.special import logsumexp

    libraries.on_a_cpu(device)
    params, along, x, labels = problem()
    rows = np.arange(BATCH)

    def loss(params: Any) -> Any:
        found = logits(params, x, anp.tanh)
        return anp.mean(logsumexp(found, axis=1) - found[rows, labels])

    gradient = grad(loss)
    product = grad(lambda ps: sum(anp.sum(g * v) for g, v in zip(gradient(ps), along, strict=True)))
    return Running(lambda: product(params), libraries.nothing, lambda found: _read(found, np.asarray))


def cases(device: str, quick: bool = False) -> list[Case]:
    contenders: dict[str, Make] = {
        "portagrad": partial(portagrad, device),
        "portagrad compiled": partial(portagrad, device, compiled=True),
        "portagrad compiled on jax": partial(portagrad, device, "jax", compiled=True),
        "torch": partial(torch, device),
        "torch, reverse twice": partial(torch_twice, device),
        "jax.jit": partial(jax, device),
        "autograd": partial(autograd, device),
    }
    return [
        Case(
            group="Hessian-vector product",
            title="MLP of 10,000 parameters",
            contenders=contenders,
            baseline="jax.jit",
            rtol=1e-3,
            atol=1e-5,
        )
    ]
