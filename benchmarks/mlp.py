"""One eager SGD step of an MLP classifier, against the same step written by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

import portagrad as pg
from portagrad import nn, optim

RATE = 0.01


def data(sizes: tuple[int, ...], batch: int) -> tuple[Any, Any]:
    """A batch of inputs and labels."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, sizes[0])).astype(np.float32)
    return x, rng.integers(0, sizes[-1], batch)


def by_hand(sizes: tuple[int, ...], batch: int) -> Callable[[], Any]:
    """NumPy with in-place operations wherever they are possible."""
    model = nn.MLP.init(pg.random.key(0), sizes, dtype=np.float32)
    ws = [np.array(layer.weight) for layer in model.layers]
    bs = [np.array(layer.bias) for layer in model.layers]
    x, labels = data(sizes, batch)
    rows = np.arange(batch)
    last = len(ws) - 1

    def step() -> Any:
        hs = [x]
        for i, (w, b) in enumerate(zip(ws, bs, strict=True)):
            h = hs[-1] @ w
            h += b
            if i < last:
                np.maximum(h, 0, out=h)
            hs.append(h)
        d = hs.pop()
        d -= d.max(axis=1, keepdims=True)
        picked = d[rows, labels]
        np.exp(d, out=d)
        total = d.sum(axis=1, keepdims=True)
        loss = float(np.mean(np.log(total[:, 0]) - picked))
        d /= total
        d[rows, labels] -= 1
        d /= batch
        for i in range(last, -1, -1):
            h = hs[i]
            gw, gb = h.T @ d, d.sum(axis=0)
            if i:
                d = d @ ws[i].T
                d *= h > 0
            gw *= RATE
            ws[i] -= gw
            gb *= RATE
            bs[i] -= gb
        return loss

    return step


def portagrad(sizes: tuple[int, ...], batch: int) -> Callable[[], Any]:
    """The public API, eager."""
    state: dict[str, Any] = {"model": nn.MLP.init(pg.random.key(0), sizes, dtype=np.float32)}
    optimizer = optim.sgd(RATE)
    state["optimizer"] = optimizer.init(state["model"])
    x, labels = data(sizes, batch)
    step = pg.value_and_grad(lambda model, x, labels: nn.cross_entropy(model(x), labels))

    def one() -> Any:
        loss, grads = step(state["model"], x, labels)
        updates, state["optimizer"] = optimizer.update(grads, state["optimizer"], state["model"])
        state["model"] = optim.apply_updates(state["model"], updates)
        return float(loss)

    return one


def torch(sizes: tuple[int, ...], batch: int) -> Callable[[], Any]:
    """torch.nn and torch.optim, eager."""
    import torch

    first = nn.MLP.init(pg.random.key(0), sizes, dtype=np.float32)
    layers: list[Any] = []
    for i, (n, m) in enumerate(itertools.pairwise(sizes)):
        layer = torch.nn.Linear(n, m)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.array(first.layers[i].weight).T))
            layer.bias.copy_(torch.from_numpy(np.array(first.layers[i].bias)))
        layers += [layer, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    x, labels = map(torch.from_numpy, data(sizes, batch))

    def one() -> Any:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return one


CASES = {"64-32-10 at 32": ((64, 32, 10), 32), "784-512-256-10 at 128": ((784, 512, 256, 10), 128)}
CONTENDERS = {"by hand": by_hand, "portagrad": portagrad, "torch": torch}
