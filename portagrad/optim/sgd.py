"""Stochastic gradient descent. A leaf's whole step is one function."""

from __future__ import annotations

from typing import Any, NamedTuple

from portagrad.optim.leaves import built, each, guarded, leaves, parameters, zeros
from portagrad.optim.optimizer import Optimizer
from portagrad.optim.schedules import Schedule, rate, schedule_of
from portagrad.transforms.tree import Varying


class SGDState(NamedTuple):
    """Of `sgd`: steps so far, and the velocity of each parameter (empty without momentum)."""

    count: Any
    velocity: tuple[Any, ...]


def sgd(
    lr: float | Schedule, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
) -> Optimizer:
    """Stochastic gradient descent, with momentum on demand.

    ``v = momentum * v + g`` and ``p -= lr * v``, or with Nesterov's momentum ``p -= lr * (g + momentum * v)``
    (Sutskever et al., 2013, "On the importance of initialization and momentum in deep learning").

    Parameters
    ----------
    lr : float or schedule
        Learning rate.
    momentum : float
        From 0 to below 1.
    nesterov : bool
        Whether to step from where the momentum leads.
    weight_decay : float
        Times the parameter added to the gradient: the derivative of an L2 penalty.

    Examples
    --------
    >>> import numpy as np
    >>> opt = sgd(0.5)
    >>> opt.update(np.asarray([1.0, -2.0]), opt.init(np.zeros(2)))
    (array([-0.5,  1. ]), ())
    """
    momentum = rate("sgd", "momentum", momentum, 1)
    weight_decay = rate("sgd", "weight_decay", weight_decay)
    if nesterov and not momentum:
        raise ValueError("sgd: nesterov needs a momentum above 0, for example momentum=0.9")
    at = schedule_of("sgd", "lr", lr)
    if not callable(lr) and not momentum and not weight_decay:
        return _plain_sgd(rate("sgd", "lr", lr))
    known = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}

    def init(params: Any) -> SGDState:
        return SGDState(Varying(0), zeros("sgd", params) if momentum else ())

    def update(grads: Any, state: SGDState, params: Any = None) -> tuple[Any, SGDState]:
        gs, structure = leaves(grads)
        nothing = (None,) * len(gs)
        ps = parameters("sgd", params, structure) if weight_decay else nothing
        vs = state.velocity if momentum else nothing
        us, vs = each("sgd", _sgd_leaf, 2, gs, vs, ps, lr=at(state.count), **known)
        return built(structure, us), SGDState(state.count + 1, vs if momentum else ())

    return Optimizer(init, update)


def _plain_sgd(lr: float) -> Optimizer:
    """Without momentum, decay or schedule there is nothing to remember: the step costs one multiplication."""

    def update(grads: Any, state: tuple[()], params: Any = None) -> tuple[Any, tuple[()]]:
        gs, structure = leaves(grads)
        if guarded(gs):
            nothing = (None,) * len(gs)
            us, _ = each("sgd", _sgd_leaf, 2, gs, nothing, nothing, lr=lr, momentum=0.0)
            return built(structure, us), ()
        return built(structure, [None if g is None else g * -lr for g in gs]), ()

    return Optimizer(lambda params: (), update)


def _sgd_leaf(
    g: Any,
    v: Any,
    p: Any,
    *,
    lr: Any,
    momentum: float,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    xp: Any,
) -> tuple[Any, Any]:
    if weight_decay:
        g = g + weight_decay * p
    if momentum:
        v = momentum * v + g
        g = g + momentum * v if nesterov else v
    return g * -lr, v
