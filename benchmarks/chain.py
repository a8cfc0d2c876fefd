"""Overhead per op: a long chain of ops on three elements, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import portagrad as pg

OPS = 20_000
START = [0.1, 0.2, 0.3]


def chain(x: Any, sin: Callable[[Any], Any], ops: int = OPS) -> Any:
    """A quarter each of products with and sums with a number, sines, and squares as products."""
    for _ in range(ops // 4):
        x = x * 1.0001
        x = x + 0.1
        x = sin(x)
        x = x * x
    return x


def portagrad() -> Any:
    return pg.grad(lambda x: pg.sum(chain(x, pg.sin)))(np.asarray(START))


def torch() -> Any:
    import torch

    x = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    chain(x, torch.sin).sum().backward()
    return x.grad


def autograd() -> Any:
    import autograd.numpy as anp
    from autograd import grad

    return grad(lambda x: anp.sum(chain(x, anp.sin)))(np.asarray(START))


CONTENDERS = {"portagrad": portagrad, "torch": torch, "autograd": autograd}
