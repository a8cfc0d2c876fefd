"""Optimizers in optax's convention: pairs of `init` and `update` that chain.

``opt = optim.adamw(1e-3)`` and ``state = opt.init(params)``; then at each step ``updates, state =
opt.update(grads, state, params)`` and ``params = optim.apply_updates(params, updates)``. Parameters are any
pytree of arrays. A learning rate is a number, or a schedule:
``optim.adamw(optim.schedules.cosine(1e-3, steps=1000))``.
"""

from portagrad.optim import schedules
from portagrad.optim.adam import adam, adamw, lion
from portagrad.optim.adaptive import adagrad, rmsprop
from portagrad.optim.optimizer import Optimizer, apply_updates, chain
from portagrad.optim.scaling import (
    add_decayed_weights,
    clip,
    clip_by_global_norm,
    global_norm,
    scale,
    scale_by_schedule,
)
from portagrad.optim.sgd import sgd

__all__ = [
    "Optimizer",
    "adagrad",
    "adam",
    "adamw",
    "add_decayed_weights",
    "apply_updates",
    "chain",
    "clip",
    "clip_by_global_norm",
    "global_norm",
    "lion",
    "rmsprop",
    "scale",
    "scale_by_schedule",
    "schedules",
    "sgd",
]
