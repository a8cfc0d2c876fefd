"""Training steps written by hand: NumPy in place, and CuPy in place with fused kernels and a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import libraries
from benchmarks.case import Running
from benchmarks.training import ADAMW, RATE, Training

Arrays = list[Any]


class SGD:
    """``p -= rate * g``; the gradients are used up."""

    def __init__(self, params: Arrays) -> None:
        pass

    def update(self, params: Arrays, grads: Arrays) -> None:
        for p, g in zip(params, grads, strict=True):
            g *= RATE
            p -= g


class AdamW:
    """Loshchilov and Hutter (2019), algorithm 2, in place; the gradients are used up."""

    def __init__(self, params: Arrays) -> None:
        self.count = 0
        self.means = [np.zeros_like(p) for p in params]
        self.squares = [np.zeros_like(p) for p in params]
        self.work = [np.empty_like(p) for p in params]

    def update(self, params: Arrays, grads: Arrays) -> None:
        lr, b1, b2, eps, decay = ADAMW
        self.count += 1
        rate = lr / (1 - b1**self.count)
        root = (1 - b2**self.count) ** -0.5
        for p, g, m, v, t in zip(params, grads, self.means, self.squares, self.work, strict=True):
            m *= b1
            np.multiply(g, 1 - b1, out=t)
            m += t
            v *= b2
            g *= g
            g *= 1 - b2
            v += g
            np.sqrt(v, out=t)
            t *= root
            t += eps
            np.divide(m, t, out=t)
            t *= rate
            p *= 1 - lr * decay
            p -= t


IN_PLACE: dict[str, Callable[[Arrays], Any]] = {"sgd": SGD, "adamw": AdamW}


def numpy_step(training: Training) -> Running:
    """NumPy with in-place operations wherever they are possible."""
    ws, bs = training.weights()
    x, labels = training.data()
    rows = np.arange(training.batch)
    last = len(ws) - 1
    optimizer = IN_PLACE[training.optimizer]([*ws, *bs])
    # One block of memory for each matrix product, used again in every step.
    hs = [np.empty((training.batch, n), np.float32) for n in training.sizes[1:]]
    ds = [np.empty_like(h) for h in hs]
    gws = [np.empty_like(w) for w in ws]

    def step() -> float:
        h = x
        for i, (w, b) in enumerate(zip(ws, bs, strict=True)):
            h = np.matmul(h, w, out=hs[i])
            h += b
            if i < last:
                np.maximum(h, 0, out=h)
        d = h
        d -= d.max(axis=1, keepdims=True)
        picked = d[rows, labels]
        np.exp(d, out=d)
        total = d.sum(axis=1, keepdims=True)
        loss = float(np.mean(np.log(total[:, 0]) - picked))
        d /= total
        d[rows, labels] -= 1
        d /= training.batch
        gbs = [d.sum(axis=0)]
        for i in range(last, -1, -1):
            h = hs[i - 1] if i else x
            np.matmul(h.T, d, out=gws[i])
            if i:
                d = np.matmul(d, ws[i].T, out=ds[i - 1])
                d *= h > 0
                gbs.append(d.sum(axis=0))
        optimizer.update([*ws, *bs], [*gws, *gbs[::-1]])
        return loss

    return Running(step, wait=libraries.nothing, read=float)


def cupy_step(training: Training, device: str) -> Running:
    """CuPy with fused kernels and fixed buffers, the whole step one CUDA graph."""
    cupy = libraries.cupy(device)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        step, state = _on_device(training, cupy)
        start = [a.copy() for a in state]
        for _ in range(2):  # compiles the kernels and fills the stream's pool: capturing may not allocate
            loss = step()
        launch, loss = captured(step, stream)
        for a, saved in zip(state, start, strict=True):
            a[...] = saved
    stream.synchronize()

    def run() -> Any:
        launch()
        return loss

    def wait(loss: Any) -> None:
        stream.synchronize()

    def read(loss: Any) -> Any:
        stream.synchronize()
        return cupy.asnumpy(loss)

    return Running(run, wait, read)


def captured(step: Callable[[], Any], stream: Any) -> tuple[Callable[[], None], Any]:
    """What launches a step as a graph on a stream, and the array of its result."""
    stream.begin_capture()
    loss = step()
    graph = stream.end_capture()
    return lambda: graph.launch(stream), loss


def _on_device(training: Training, xp: Any) -> tuple[Callable[[], Any], Arrays]:
    """A step in CuPy that waits for nothing and allocates the same in each call, and what it changes."""
    lr, b1, b2, eps, decay = ADAMW
    given, labels = training.data()
    x = xp.asarray(given)
    hot = xp.asarray(np.eye(training.sizes[-1], dtype=np.float32)[labels])
    ws, bs = ([xp.asarray(a) for a in arrays] for arrays in training.weights())
    params = [*ws, *bs]
    last = len(ws) - 1
    hs = [xp.empty((training.batch, n), np.float32) for n in training.sizes[1:]]
    ds = [xp.empty_like(h) for h in hs]
    grads = [xp.empty_like(p) for p in params]
    count = xp.zeros((), np.float32)
    means, squares = ([xp.zeros_like(p) for p in params] for _ in range(2))

    @xp.fuse()
    def relu(h: Any, b: Any) -> None:
        h += b
        xp.maximum(h, 0, out=h)

    @xp.fuse()
    def mask(d: Any, h: Any) -> None:
        d *= h > 0

    @xp.fuse()
    def slope(d: Any, total: Any, hot: Any) -> None:
        d /= total
        d -= hot
        d *= 1 / training.batch

    @xp.fuse()
    def sgd(p: Any, g: Any) -> None:
        p -= RATE * g

    @xp.fuse()
    def adamw(p: Any, g: Any, m: Any, v: Any, rate: Any, root: Any) -> None:
        m *= b1
        m += (1 - b1) * g
        v *= b2
        v += (1 - b2) * g * g
        p *= 1 - lr * decay
        p -= rate * m / (xp.sqrt(v) * root + eps)

    def step() -> Any:
        h = x
        for i, (w, b) in enumerate(zip(ws, bs, strict=True)):
            h = xp.matmul(h, w, out=hs[i])
            if i < last:
                relu(h, b)
            else:
                h += b
        d = h
        d -= d.max(axis=1, keepdims=True)
        picked = (d * hot).sum(axis=1)
        xp.exp(d, out=d)
        total = d.sum(axis=1, keepdims=True)
        loss = (xp.log(total[:, 0]) - picked).mean()
        slope(d, total, hot)
        for i in range(last, -1, -1):
            h = hs[i - 1] if i else x
            xp.matmul(h.T, d, out=grads[i])
            d.sum(axis=0, out=grads[len(ws) + i])
            if i:
                d = xp.matmul(d, ws[i].T, out=ds[i - 1])
                mask(d, h)
        if training.optimizer == "sgd":
            for p, g in zip(params, grads, strict=True):
                sgd(p, g)
        else:
            xp.add(count, 1, out=count)
            rate = lr / (1 - b1**count)
            root = (1 - b2**count) ** -0.5
            for each in zip(params, grads, means, squares, strict=True):
                adamw(*each, rate, root)
        return loss

    return step, [*params, count, *means, *squares]
