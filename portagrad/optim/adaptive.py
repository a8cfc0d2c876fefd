"""RMSprop and Adagrad. A leaf's whole step is one function."""

from __future__ import annotations

from typing import Any, NamedTuple

from portagrad.optim.leaves import built, each, leaves, parameters, square, zeros
from portagrad.optim.optimizer import Optimizer
from portagrad.optim.schedules import Schedule, rate, schedule_of
from portagrad.transforms.tree import Varying


class RMSPropState(NamedTuple):
    """Of `rmsprop`: steps so far, the mean of the squared gradient, and the velocity."""

    count: Any
    square: tuple[Any, ...]
    velocity: tuple[Any, ...]


class AdagradState(NamedTuple):
    """Of `adagrad`: steps so far, and the sum of the squared gradients."""

    count: Any
    total: tuple[Any, ...]


def rmsprop(
    lr: float | Schedule,
    decay: float = 0.9,
    eps: float = 1e-8,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> Optimizer:
    """RMSprop (Tieleman and Hinton, 2012, "Lecture 6.5: Divide the gradient by a running average").

    ``p -= lr * g / (sqrt(s) + eps)`` with the running mean s of the squared gradient. torch's `decay` (there
    `alpha`) is 0.99.

    Parameters
    ----------
    lr : float or schedule
        Learning rate.
    decay : float
        What the mean keeps at each step, from 0 to below 1.
    eps : float
        Added to the root.
    momentum : float
        From 0 to below 1: of the scaled gradient.
    weight_decay : float
        Times the parameter added to the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> opt = rmsprop(0.1, decay=0.75)
    >>> opt.update(np.asarray([1.0, -20.0]), opt.init(np.zeros(2)))[0]
    array([-0.2,  0.2])
    """
    at = schedule_of("rmsprop", "lr", lr)
    momentum = rate("rmsprop", "momentum", momentum, 1)
    weight_decay = rate("rmsprop", "weight_decay", weight_decay)
    known = {
        "decay": rate("rmsprop", "decay", decay, 1),
        "eps": rate("rmsprop", "eps", eps),
        "momentum": momentum,
        "weight_decay": weight_decay,
    }

    def init(params: Any) -> RMSPropState:
        velocity = zeros("rmsprop", params) if momentum else ()
        return RMSPropState(Varying(0), zeros("rmsprop", params, real=True), velocity)

    def update(grads: Any, state: RMSPropState, params: Any = None) -> tuple[Any, RMSPropState]:
        gs, structure = leaves(grads)
        nothing = (None,) * len(gs)
        ps = parameters("rmsprop", params, structure) if weight_decay else nothing
        vs = state.velocity if momentum else nothing
        us, ss, vs = each("rmsprop", _rmsprop_leaf, 3, gs, state.square, vs, ps, lr=at(state.count), **known)
        return built(structure, us), RMSPropState(state.count + 1, ss, vs if momentum else ())

    return Optimizer(init, update)


def _rmsprop_leaf(
    g: Any,
    s: Any,
    v: Any,
    p: Any,
    *,
    lr: Any,
    decay: float,
    eps: float,
    momentum: float,
    weight_decay: float,
    xp: Any,
) -> tuple[Any, Any, Any]:
    if weight_decay:
        g = g + weight_decay * p
    s = decay * s + (1 - decay) * square(g, xp)
    u = g / (xp.sqrt(s) + eps)
    if momentum:
        u = v = momentum * v + u
    return u * -lr, s, v


def adagrad(
    lr: float | Schedule, eps: float = 1e-10, initial: float = 0.0, weight_decay: float = 0.0
) -> Optimizer:
    """Adagrad (Duchi et al., 2011, "Adaptive subgradient methods for online learning").

    ``p -= lr * g / (sqrt(s) + eps)`` with the sum s of all squared gradients.

    Parameters
    ----------
    lr : float or schedule
        Learning rate.
    eps : float
        Added to the root.
    initial : float
        Where the sum starts.
    weight_decay : float
        Times the parameter added to the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> opt = adagrad(0.1)
    >>> opt.update(np.asarray([1.0, -20.0]), opt.init(np.zeros(2)))[0]
    array([-0.1,  0.1])
    """
    at = schedule_of("adagrad", "lr", lr)
    weight_decay = rate("adagrad", "weight_decay", weight_decay)
    initial = rate("adagrad", "initial", initial)
    known = {"eps": rate("adagrad", "eps", eps), "weight_decay": weight_decay}

    def init(params: Any) -> AdagradState:
        totals = zeros("adagrad", params, real=True)
        if initial:
            totals = each("adagrad", lambda s, *, xp: (s + initial,), 1, totals)[0]
        return AdagradState(Varying(0), totals)

    def update(grads: Any, state: AdagradState, params: Any = None) -> tuple[Any, AdagradState]:
        gs, structure = leaves(grads)
        ps = parameters("adagrad", params, structure) if weight_decay else (None,) * len(gs)
        us, ss = each("adagrad", _adagrad_leaf, 2, gs, state.total, ps, lr=at(state.count), **known)
        return built(structure, us), AdagradState(state.count + 1, ss)

    return Optimizer(init, update)


def _adagrad_leaf(
    g: Any, s: Any, p: Any, *, lr: Any, eps: float, weight_decay: float, xp: Any
) -> tuple[Any, Any]:
    if weight_decay:
        g = g + weight_decay * p
    s = s + square(g, xp)
    return g * -lr / (xp.sqrt(s) + eps), s
