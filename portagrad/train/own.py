"""A model of one's own, checked before anything is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from portagrad import random
from portagrad.backend import KIND
from portagrad.data import (
    slices,
)
from portagrad.device import device_of, transfer
from portagrad.errors import ConfigError
from portagrad.nn.containers import takes
from portagrad.train.examples import as_inputs
from portagrad.train.feed import on_host
from portagrad.train.own_data import listed
from portagrad.train.run import Run
from portagrad.train.stateful import in_training, state_of, trained_part
from portagrad.train.step import computed_in, outputs_of
from portagrad.train.weights import named_leaves
from portagrad.transforms.tree import flatten, is_array, tree_map

Array = np.ndarray[Any, Any]
_FLOATS = ("float16", "float32", "float64")
_ROWS = 2  # of the batch by which a model is tried


def check_model(model: Any) -> dict[str, Any]:
    """The weights of a model by name.

    Raises
    ------
    TypeError
        If it is not called with inputs, or holds something else than arrays of floating-point numbers.
    """
    kind = type(model).__name__
    if isinstance(model, type):
        raise TypeError(
            f"fit: the model is the class {model.__name__}; give one of its objects, with weights"
        )
    if not callable(model):
        raise TypeError(f"fit: the model is {kind}, which is not called with inputs; give it a __call__")
    weights = named_leaves(model)
    if any(leaf is model for leaf in weights.values()):
        raise TypeError(
            f"fit: the model is {kind}, which is no pytree and so has no weights; make it an nn.Module"
        )
    state: dict[str, Any] = {}
    if takes(model, "state"):
        if not takes(model, "train") or not callable(getattr(model, "initial_state", None)):
            raise TypeError(
                f"fit: {kind} takes a state; give it an initial_state(), and call it as nn.BatchNorm is: "
                "model(x, state, train=True) returns the outputs and the next state"
            )
        state = {f"state.{name}": leaf for name, leaf in named_leaves(model.initial_state()).items()}
    for name, leaf in {**weights, **state}.items():
        if not is_array(leaf):
            raise TypeError(
                f"fit: {name} of {kind} is {type(leaf).__name__}, not an array; declare it nn.static()"
            )
        if _dtype(leaf) not in _FLOATS:
            raise TypeError(
                f"fit: {name} of {kind} is {_dtype(leaf)}; weights are {', '.join(_FLOATS)}, and what is not "
                "trained belongs to no field of the model"
            )
    if not weights:
        raise TypeError(f"fit: {kind} has no weights, so there is nothing to train")
    if len(weights) < len(flatten(model)[0]):
        raise TypeError(f"fit: two weights of {kind} have the same name; rename one of {', '.join(weights)}")
    return weights


def own_dtype(weights: Mapping[str, Any]) -> Literal["float32", "float64"]:
    """The dtype that weights have in common; a ConfigError where they have none that a run is computed in."""
    dtype = _common({name: _dtype(leaf) for name, leaf in weights.items()}, "train.dtype")
    if dtype == "float16":
        raise ConfigError('train.dtype: the weights are float16; set it to "float32" or "float64"')
    return "float64" if dtype == "float64" else "float32"


def own_device(weights: Mapping[str, Any]) -> str:
    """The device that weights have in common; a ConfigError where they have none."""
    return _common({name: str(device_of(leaf)) for name, leaf in weights.items()}, "device")


def _common(found: Mapping[str, str], key: str) -> str:
    (first, value), *others = found.items()
    for name, other in others:
        if other != value:
            raise ConfigError(f"{key}: not set, and the weight {first} has {value}, but {name} has {other}")
    return value


def check_outputs(run: Run) -> None:
    """Try a run's model on a few of its examples, as it predicts and as it is trained.

    Raises
    ------
    ConfigError
        If it fails, or does not give a number per class or target.
    """
    data, model = run.prepared, run.at.model
    if data.extremes is not None:
        low, high = int(data.extremes.min()), int(data.extremes.max())
        rows = as_inputs(None, data.extremes, "", "inputs").reshape(data.extremes.shape)
        y = _try(run, outputs_of, model, rows, f"called with integers from {low} to {high},")
        if not np.isfinite(on_host(y)).all():
            raise ConfigError(f"fit: {run.own} gives NaN for some of the integers from {low} to {high}")
    first, _ = next(data.train.rows(0, _ROWS))
    _try(run, outputs_of, model, first, "called with")
    keyed = takes(trained_part(model), "key")
    if not keyed and state_of(model) is None:
        return
    least = _least_rows(run) if state_of(model) is not None else _ROWS
    rows, _ = next(data.train.rows(0, least))
    how = "called in training with"
    if least < _ROWS:
        how = f"trained on its smallest batch (train.batch_size is {run.config.train.batch_size}) with"

    def training(model: Any, x: Any) -> Any:
        model = computed_in(x.dtype, model)
        key = random.key(0) if keyed else None
        y, after = in_training(trained_part(model), state_of(model), x, key)
        tree_map(lambda new, old: new, after, state_of(model))  # which says where they differ
        return y

    _try(run, training, model, rows, how)


def _try(run: Run, f: Callable[[Any, Any], Any], model: Any, inputs: Array, how: str) -> Any:
    """The outputs of a model, with the shape that they must have."""
    x = transfer(inputs, run.where)
    rows, names = x.shape[0], run.task.facts.get("classes") or run.task.facts["targets"]
    examples = f"{rows} example{'s' * (rows != 1)}"
    what = f"fit: {run.own}, {how} {examples}, an array of the shape {tuple(x.shape)}"
    try:
        y = f(model, x)
        if is_array(y):
            on_host(y)  # a lazy library finds faults no earlier
    except Exception as error:
        way = ""
        if not KIND[x.dtype]:
            way = '; its integers are given as they are, for data.standardize = "none"'
        elif run.prepared.given_integers and not isinstance(error, ValueError):  # which shapes are told by
            way = '; its integers were standardised: data.standardize = "none" gives them as they are'
        raise ConfigError(f"{what}, failed: {type(error).__name__}: {error}{way}") from error
    got = f"shape {tuple(y.shape)}" if is_array(y) else type(y).__name__
    if got != f"shape {(rows, len(names))}":
        kind = "classes" if "classes" in run.task.facts else "targets"
        wanted = f"a number for each of the {len(names)} {kind} {listed(names)}"
        raise ConfigError(f"{what}, gives {got}, not {(rows, len(names))}: {wanted}")
    return y


def _least_rows(run: Run) -> int:
    """How many examples the smallest part of a batch has that is computed at once, on any rank."""
    size, examples, ranks = run.config.train.batch_size, len(run.prepared.train), run.comm.size
    found = []
    for batch in (min(size, examples), examples % size):
        for rank in range(ranks):
            for low, high in slices(batch, max(batch, 1), shard=(rank, ranks)):
                at_once = run.config.train.slice_size or high - low
                found += [min(high - low, at_once), (high - low) % max(at_once, 1)]
    return min(rows for rows in found if rows)


def _dtype(array: Any) -> str:
    return str(array.dtype).rpartition(".")[2]  # torch's carries its name
