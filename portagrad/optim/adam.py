"""Adam, AdamW and Lion. A leaf's whole step is one function."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from portagrad.optim.leaves import built, each, leaves, parameters, square, zeros
from portagrad.optim.optimizer import Optimizer
from portagrad.optim.schedules import Schedule, rate, schedule_of
from portagrad.transforms.tree import Varying


class AdamState(NamedTuple):
    """Of `adam` and `adamw`: steps so far, and the means of the gradient and of its square."""

    count: Any
    mean: tuple[Any, ...]
    square: tuple[Any, ...]


class LionState(NamedTuple):
    """Of `lion`: steps so far, and the mean of the gradient."""

    count: Any
    mean: tuple[Any, ...]


def adam(
    lr: float | Schedule, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.0
) -> Optimizer:
    """Adam (Kingma and Ba, 2015, "Adam: A method for stochastic optimization", algorithm 1).

    ``p -= lr * m / (sqrt(v) + eps)`` with the running means m of the gradient and v of its square, both
    corrected for their start at zero.

    Parameters
    ----------
    lr : float or schedule
        Learning rate.
    b1, b2 : float
        What the means keep at each step, from 0 to below 1.
    eps : float
        Added to the root.
    weight_decay : float
        Times the parameter added to the gradient; `adamw` decays the parameter itself, which works better.

    Examples
    --------
    >>> import numpy as np
    >>> opt = adam(0.1)
    >>> opt.update(np.asarray([1.0, -20.0]), opt.init(np.zeros(2)))[0]
    array([-0.1,  0.1])
    """
    return _adam("adam", lr, b1, b2, eps, l2=weight_decay)


def adamw(
    lr: float | Schedule, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, weight_decay: float = 1e-2
) -> Optimizer:
    """Adam with decoupled weight decay.

    Loshchilov and Hutter (2019), "Decoupled weight decay regularization", algorithm 2.

    Parameters
    ----------
    lr, b1, b2, eps
        As for `adam`.
    weight_decay : float
        Each step takes ``lr * weight_decay`` times the parameter off it.

    Examples
    --------
    >>> import numpy as np
    >>> opt = adamw(0.1, weight_decay=0.5)
    >>> params = np.ones(2)
    >>> opt.update(np.asarray([1.0, -20.0]), opt.init(params), params)[0]
    array([-0.15,  0.05])
    """
    return _adam("adamw", lr, b1, b2, eps, weight_decay=weight_decay)


def _adam(
    what: str,
    lr: float | Schedule,
    b1: float,
    b2: float,
    eps: float,
    l2: float = 0.0,
    weight_decay: float = 0.0,
) -> Optimizer:
    at = schedule_of(what, "lr", lr)
    l2, weight_decay = rate(what, "weight_decay", l2), rate(what, "weight_decay", weight_decay)
    known = {
        "b1": rate(what, "b1", b1, 1),
        "b2": rate(what, "b2", b2, 1),
        "eps": rate(what, "eps", eps),
        "l2": l2,
        "weight_decay": weight_decay,
    }

    def init(params: Any) -> AdamState:
        return AdamState(Varying(0), zeros(what, params), zeros(what, params, real=True))

    def update(grads: Any, state: AdamState, params: Any = None) -> tuple[Any, AdamState]:
        gs, structure = leaves(grads)
        ps = parameters(what, params, structure) if l2 or weight_decay else (None,) * len(gs)
        count = state.count + 1
        us, ms, vs = each(
            what, _adam_leaf, 3, gs, state.mean, state.square, ps, lr=at(state.count), count=count, **known
        )
        return built(structure, us), AdamState(count, ms, vs)

    return Optimizer(init, update)


def _adam_leaf(
    g: Any,
    m: Any,
    v: Any,
    p: Any,
    *,
    lr: Any,
    count: Any,
    b1: float,
    b2: float,
    eps: float,
    l2: float,
    weight_decay: float,
    xp: Any,
) -> tuple[Any, Any, Any]:
    if l2:
        g = g + l2 * p
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * square(g, xp)
    root = xp.sqrt(v) * _weight(b2, count, xp) ** -0.5
    u = m * (lr / -_weight(b1, count, xp)) / (root + eps)
    if weight_decay:
        u = u - p * (lr * weight_decay)
    return u, m, v


def _weight(b: float, count: Any, xp: Any) -> Any:
    """``1 - b**count``, the weight of all gradients so far in a running mean; accurate in float32 too."""
    if isinstance(count, int):
        return 1 - b**count
    return -xp.expm1(count * math.log(b)) if b else 1.0


def lion(lr: float | Schedule, b1: float = 0.9, b2: float = 0.99, weight_decay: float = 0.0) -> Optimizer:
    """Lion (Chen et al., 2023, "Symbolic discovery of optimization algorithms").

    Each parameter moves by the learning rate, against the sign of a mean of the gradient; a learning rate
    three to ten times below that of `adamw` goes with it.

    Parameters
    ----------
    lr : float or schedule
        Learning rate.
    b1 : float
        The part of the mean in what the sign is taken of, from 0 to below 1.
    b2 : float
        What the mean keeps at each step, from 0 to below 1.
    weight_decay : float
        Each step takes ``lr * weight_decay`` times the parameter off it.

    Examples
    --------
    >>> import numpy as np
    >>> opt = lion(0.1)
    >>> opt.update(np.asarray([1.0, -20.0]), opt.init(np.zeros(2)))[0]
    array([-0.1,  0.1])
    """
    at = schedule_of("lion", "lr", lr)
    weight_decay = rate("lion", "weight_decay", weight_decay)
    known = {
        "b1": rate("lion", "b1", b1, 1),
        "b2": rate("lion", "b2", b2, 1),
        "weight_decay": weight_decay,
    }

    def init(params: Any) -> LionState:
        return LionState(Varying(0), zeros("lion", params))

    def update(grads: Any, state: LionState, params: Any = None) -> tuple[Any, LionState]:
        gs, structure = leaves(grads)
        ps = parameters("lion", params, structure) if weight_decay else (None,) * len(gs)
        us, ms = each("lion", _lion_leaf, 2, gs, state.mean, ps, lr=at(state.count), **known)
        return built(structure, us), LionState(state.count + 1, ms)

    return Optimizer(init, update)


def _lion_leaf(
    g: Any, m: Any, p: Any, *, lr: Any, b1: float, b2: float, weight_decay: float, xp: Any
) -> tuple[Any, Any]:
    u = xp.sign(b1 * m + (1 - b1) * g) * -lr
    if weight_decay:
        u = u - p * (lr * weight_decay)
    return u, b2 * m + (1 - b2) * g
