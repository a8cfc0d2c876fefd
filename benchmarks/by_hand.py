"""Training steps written by hand: NumPy in place, and CuPy in place with fused kernels and a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.case import NotHere, Running
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

    return Running(step, wait=_nothing, read=float)


def _nothing(result: Any) -> None:
    """NumPy's results are there when it returns."""
