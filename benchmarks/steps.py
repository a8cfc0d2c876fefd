"""The training steps of portagrad and its peers, each as its users write them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

import portagrad as pg
from benchmarks import libraries
from benchmarks.by_hand import IN_PLACE
from benchmarks.case import NotHere, Running
from benchmarks.training import ADAMW, RATE, Training
from portagrad import nn, optim
from portagrad_numpy import mkl


def portagrad(
    training: Training, device: str, library: str = "", compiled: bool = False, with_mkl: bool = True
) -> Running:
    """The public API, op by op or compiled with its optimizer, on any of its backends, with MKL or not."""
    where = libraries.pg_device(library, device)
    lr, b1, b2, eps, decay = ADAMW
    opt = optim.sgd(RATE) if training.optimizer == "sgd" else optim.adamw(lr, b1, b2, eps, decay)

    def train(model: Any, state: Any, x: Any, labels: Any) -> Any:
        loss, grads = pg.value_and_grad(lambda m: nn.cross_entropy(m(x), labels))(model)
        updates, state = opt.update(grads, state, model)
        return optim.apply_updates(model, updates, donate=True), state, loss

    run = pg.compile(train, donate=(0, 1)) if compiled else train
    model = pg.to_device(training.model(), where)
    state = opt.init(model)
    x, labels = training.data()
    if library == "jax":
        labels = labels.astype(np.int32)  # JAX's own default holds no 64-bit integers
    x, labels = pg.to_device((x, labels), where)

    def step() -> Any:
        nonlocal model, state
        model, state, loss = run(model, state, x, labels)
        return loss

    done = libraries.pg_wait(library, device)
    take = step if with_mkl else _without_mkl(step)
    return Running(take, wait=lambda loss: done((model, loss)), read=libraries.pg_read)


def _without_mkl(step: Callable[[], Any]) -> Callable[[], Any]:
    """A step of which NumPy's own BLAS computes the products: as where the extra is not installed."""
    functions = mkl.functions

    def take() -> Any:
        mkl.functions = lambda: None
        try:
            return step()
        finally:
            mkl.functions = functions

    return take


def torch(training: Training, device: str, mode: str = "") -> Running:
    """torch.nn with a fused optimizer; with a mode, the network and its loss under torch.compile."""
    torch = libraries.torch()
    x, labels = libraries.torch_arrays(device, training.data())
    layers: list[Any] = []
    for w, b in zip(*training.weights(), strict=True):
        layer = torch.nn.Linear(*w.shape)
        layer.weight.data = torch.from_numpy(np.ascontiguousarray(w.T))
        layer.bias.data = torch.from_numpy(b)
        layers += [layer, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1]).to(device)
    lr, b1, b2, eps, decay = ADAMW
    if training.optimizer == "sgd":
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE, fused=True)
    else:
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=lr, betas=(b1, b2), eps=eps, weight_decay=decay, fused=True
        )

    def objective(x: Any, labels: Any) -> Any:
        return torch.nn.functional.cross_entropy(model(x), labels)

    run = torch.compile(objective, mode=mode) if mode else objective

    def step() -> Any:
        optimizer.zero_grad()
        loss = run(x, labels)
        loss.backward()
        optimizer.step()
        return loss

    return Running(step, wait=libraries.torch_wait(device), read=libraries.torch_read)


def jax(training: Training, device: str) -> Running:
    """A pure step under jax.jit, parameters and optimizer state donated."""
    import jax
    import jax.numpy as jnp

    lr, b1, b2, eps, decay = ADAMW

    def loss_of(params: Any, x: Any, labels: Any) -> Any:
        *inner, (w, b) = params
        for v, c in inner:
            x = jax.nn.relu(x @ v + c)
        logs = jax.nn.log_softmax(x @ w + b)
        return -jnp.mean(jnp.take_along_axis(logs, labels[:, None], axis=1))

    def sgd(params: Any, grads: Any, state: Any) -> Any:
        return jax.tree.map(lambda p, g: p - RATE * g, params, grads), state

    def adamw(params: Any, grads: Any, state: Any) -> Any:
        count, means, squares = state
        count += 1
        means = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, means, grads)
        squares = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, squares, grads)
        mean_weight, root = 1 - b1**count, jax.lax.rsqrt(1 - b2**count)

        def moved(p: Any, m: Any, v: Any) -> Any:
            return p - lr * (m / mean_weight / (jnp.sqrt(v) * root + eps) + decay * p)

        return jax.tree.map(moved, params, means, squares), (count, means, squares)

    update = sgd if training.optimizer == "sgd" else adamw

    def train(params: Any, state: Any, x: Any, labels: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(params, x, labels)
        params, state = update(params, grads, state)
        return params, state, loss

    run = jax.jit(train, donate_argnums=(0, 1))
    x, labels, *flat = libraries.jax_arrays(
        device, [*training.data(), *itertools.chain(*zip(*training.weights(), strict=True))]
    )
    params = list(zip(flat[::2], flat[1::2], strict=True))
    state: Any = ()
    if training.optimizer == "adamw":
        zeros = jax.tree.map(jnp.zeros_like, params)
        (count,) = libraries.jax_arrays(device, [np.float32(0)])
        state = (count, zeros, jax.tree.map(jnp.zeros_like, params))

    def step() -> Any:
        nonlocal params, state
        params, state, loss = run(params, state, x, labels)
        return loss

    return Running(step, wait=lambda loss: jax.block_until_ready((params, loss)), read=np.asarray)


def autograd(training: Training, device: str) -> Running:
    """HIPS/autograd, its parameters updated in place as by hand."""
    import autograd.numpy as anp
    from autograd import value_and_grad
    from autograd.scipy.special import logsumexp

    libraries.on_a_cpu(device)
    ws, bs = training.weights()
    x, labels = training.data()
    rows, count = np.arange(training.batch), len(ws)
    params = [*ws, *bs]
    optimizer = IN_PLACE[training.optimizer](params)

    def loss_of(params: Any) -> Any:
        h = x
        for i in range(count):
            h = anp.dot(h, params[i]) + params[count + i]
            if i < count - 1:
                h = anp.maximum(h, 0)
        return anp.mean(logsumexp(h, axis=1) - h[rows, labels])

    gradient = value_and_grad(loss_of)

    def step() -> Any:
        loss, grads = gradient(params)
        optimizer.update(params, grads)
        return loss

    return Running(step, wait=libraries.nothing, read=np.asarray)


def mygrad(training: Training, device: str) -> Running:
    """MyGrad, its parameters updated in place as by hand."""
    import mygrad as mg
    from mygrad.nnet.activations import relu
    from mygrad.nnet.losses import softmax_crossentropy

    libraries.on_a_cpu(device)
    ws, bs = ([mg.tensor(a) for a in arrays] for arrays in training.weights())
    x, labels = training.data()
    params = [*ws, *bs]
    optimizer = IN_PLACE[training.optimizer]([p.data for p in params])

    def step() -> Any:
        h: Any = x
        for i, (w, b) in enumerate(zip(ws, bs, strict=True)):
            h = mg.matmul(h, w) + b
            if i < len(ws) - 1:
                h = relu(h)
        loss = softmax_crossentropy(h, labels)
        loss.backward()
        optimizer.update([p.data for p in params], [p.grad for p in params])
        return loss.item()

    return Running(step, wait=libraries.nothing, read=np.asarray)


def tinygrad(training: Training, device: str) -> Running:
    """tinygrad with its own optimizers under TinyJit."""
    from tinygrad import Context, Device, Tensor, TinyJit
    from tinygrad import nn as tiny

    if device == "cpu" and (max(training.sizes) > 1024 or len(training.sizes) > 10):
        raise NotHere("its kernels take too long to compile or to run")
    x, labels = (Tensor(a) for a in training.data())
    ws, bs = ([Tensor(a) for a in arrays] for arrays in training.weights())
    lr, b1, b2, eps, decay = ADAMW
    params = [*ws, *bs]
    optimizer = (
        tiny.optim.SGD(params, lr=RATE)
        if training.optimizer == "sgd"
        else tiny.optim.AdamW(params, lr=lr, b1=b1, b2=b2, eps=eps, weight_decay=decay)
    )

    @TinyJit
    def step() -> Any:
        with Context(TRAINING=1):
            h = x
            for i, (w, b) in enumerate(zip(ws, bs, strict=True)):
                h = h @ w + b
                if i < len(ws) - 1:
                    h = h.relu()
            optimizer.zero_grad()
            loss = h.sparse_categorical_crossentropy(labels).backward()
            return loss.realize(*optimizer.schedule_step())

    return Running(
        step, wait=lambda loss: Device[Device.DEFAULT].synchronize(), read=lambda loss: loss.numpy()
    )
