"""Norms of the weights and gradients of each layer, once an epoch and apart from the step of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from portagrad.compile.compiled import compile
from portagrad.namespace import function
from portagrad.train.feed import on_host
from portagrad.train.stateful import trained_part
from portagrad.train.step import Step
from portagrad.train.weights import named_leaves
from portagrad.transforms.tree import flatten

_sqrt, _stack, _sum = map(function, ("sqrt", "stack", "sum"))

Watch = Callable[[Any, Any, Any], tuple[Any, Any]]
"""``watch(model, x, y) -> norms, gradients``"""


def make_watch(step: Step, compiled: bool) -> Watch:
    """What is looked at once an epoch: a function of the model and a batch, computed on its device.

    Returns
    -------
    callable
        ``watch(model, x, y) -> norms, gradients``: the norms are one array, of the weights and then of the
        gradients, each in the order of the model's arrays.
    """

    def norms(*trees: Any) -> Any:
        return _stack([_sqrt(_sum(leaf * leaf)) for tree in trees for leaf in flatten(tree)[0]])

    computed = compile(norms) if compiled else norms

    def watch(model: Any, x: Any, y: Any) -> tuple[Any, Any]:
        grads = step.gradient(model, x, y)
        return computed(trained_part(model), grads), grads

    return watch


def read_norms(model: Any, norms: Any) -> dict[str, dict[str, float]]:
    """The norms by kind and array, in one transfer from the device; for a line of ``metrics.jsonl``."""
    names = list(named_leaves(trained_part(model)))
    values = [float(f"{value:.6g}") for value in on_host(norms).tolist()]
    return {
        "weights": dict(zip(names, values[: len(names)], strict=True)),
        "gradients": dict(zip(names, values[len(names) :], strict=True)),
    }
