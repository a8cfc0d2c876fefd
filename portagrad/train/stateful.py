"""Models that take and return a state, such as the running statistics of `nn.BatchNorm`."""

from __future__ import annotations

from typing import Any

from portagrad import random
from portagrad.nn.containers import takes
from portagrad.nn.module import Module


class Stateful(Module):
    """A model and its state as one pytree, called as it predicts.

    Attributes
    ----------
    network : callable pytree
        Called as ``network(x, state, train=True)``, or with a key too; returns what it makes of `x`, and the
        next state.
    state : pytree of arrays
        By ``network.initial_state()`` at first.
    """

    network: Any
    state: Any

    def __call__(self, x: Any) -> Any:
        """What is predicted, by the state as it is."""
        return self.network(x, self.state, train=False)[0]


def with_state(model: Any) -> Any:
    """A model with the state that it begins with, where it takes one."""
    return Stateful(model, model.initial_state()) if takes(model, "state") else model


def trained_part(model: Any) -> Any:
    """What the optimizer updates: a model without its state."""
    return model.network if isinstance(model, Stateful) else model


def state_of(model: Any) -> Any:
    """The state of a model; None of one that has none."""
    return model.state if isinstance(model, Stateful) else None


def joined(weights: Any, state: Any) -> Any:
    """A model of what `trained_part` and `state_of` gave."""
    return weights if state is None else Stateful(weights, state)


def in_training(weights: Any, state: Any, x: Any, key: random.Key | None) -> tuple[Any, Any]:
    """What a model makes of a batch that it is trained on, and its next state."""
    keyed = {"key": key} if key is not None and takes(weights, "key") else {}
    if state is None:
        return weights(x, **keyed), None
    outputs, after = weights(x, state, train=True, **keyed)
    return outputs, after
