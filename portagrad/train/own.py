"""A model and data of one's own, checked before anything is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from portagrad import random
from portagrad.data import Dataset, RegressionDataset, make_dataset, make_regression
from portagrad.data.dataset import check_inputs
from portagrad.data.files import hint, shown
from portagrad.device import device_of, transfer
from portagrad.errors import ConfigError, DataError
from portagrad.nn.containers import takes
from portagrad.train.config import DataConfig
from portagrad.train.feed import on_host
from portagrad.train.prepare import Data, Prepared, divided
from portagrad.train.run import Run
from portagrad.train.step import outputs_of
from portagrad.train.weights import named_leaves
from portagrad.transforms.tree import flatten, is_array

Array = np.ndarray[Any, Any]
PARTS = ("train", "validation", "test")
_TASKS = {Dataset: "classification", RegressionDataset: "regression"}
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
    if takes(model, "state"):
        raise TypeError(
            f"fit: {kind} takes and returns a state, which a run does not pass on; write a module without one"
        )
    weights = named_leaves(model)
    for name, leaf in weights.items():
        if leaf is model:
            raise TypeError(
                f"fit: the model is {kind}, which is no pytree and so has no weights; make it an nn.Module"
            )
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
    """Try a run's model on a few of its examples, with and without a key.

    Raises
    ------
    ConfigError
        If it fails, or does not give a number per class or target.
    """
    inputs, _ = next(run.prepared.train.rows(0, _ROWS))
    x = transfer(inputs, run.where)
    rows, names = x.shape[0], run.task.facts.get("classes") or run.task.facts["targets"]
    what = f"fit: {run.own}, called with {rows} examples, an array of the shape {tuple(x.shape)}"
    for key in (None, random.key(0)) if takes(run.at.model, "key") else (None,):
        try:
            y = outputs_of(run.at.model, x, key=key)
        except Exception as error:
            raise ConfigError(f"{what}, failed: {type(error).__name__}: {error}") from error
        got = f"shape {tuple(y.shape)}" if is_array(y) else type(y).__name__
        if got != f"shape {(rows, len(names))}":
            kind = "classes" if "classes" in run.task.facts else "targets"
            wanted = f"a number for each of the {len(names)} {kind} {_listed(names)}"
            raise ConfigError(f"{what}, gives {got}, not {(rows, len(names))}: {wanted}")


def task_of(data: Any) -> Literal["classification", "regression"]:
    """What data are for, where nothing says it: numbers if they are a RegressionDataset, else classes."""
    first = data.get("train") if isinstance(data, Mapping) else data
    return "regression" if isinstance(first, RegressionDataset) else "classification"


def own_prepared(data: Any, config: DataConfig, key: random.Key, dtype: str) -> Prepared:
    """Data of one's own, checked and split; examples keep their shape.

    Raises
    ------
    TypeError, DataError, ConfigError
        If they are not what `fit` takes.
    """
    parts = dict(data) if isinstance(data, Mapping) else {"train": data}
    for name in parts:
        if name not in PARTS:
            near = hint(str(name), list(PARTS))
            raise DataError(f"data: {shown(str(name))} is no part; the parts are {', '.join(PARTS)}{near}")
    if "train" not in parts:
        raise DataError(f'data: has no "train", only {", ".join(parts) or "nothing"}')
    whole = _part(parts["train"], "", config, config.names or config.classes)
    others: dict[str, Data] = {}
    for name in PARTS[1:]:
        if parts.get(name) is None:
            continue
        other = others[name] = _part(parts[name], f"{name} ", config, whole.names)
        if other.inputs.shape[1:] != whole.inputs.shape[1:]:
            raise DataError(
                f"{name} inputs: examples have the shape {other.inputs.shape[1:]}, in training "
                f"{whole.inputs.shape[1:]}"
            )
    return divided(config, whole, key, dtype, what="data", flat=False, **others)


def _part(part: Any, name: str, config: DataConfig, names: Any) -> Data:
    """One part as a data set; `names` are those of the classes or targets where they are known."""
    task = _TASKS.get(type(part))
    if task is not None:
        if task != config.task:
            raise ConfigError(
                f'data.task: is "{config.task}", but the {name}data are a {type(part).__name__}; set '
                f'data.task = "{task}"'
            )
        if isinstance(names, int) and names != len(part.names):
            raise ConfigError(f"data.classes: is {names}, but the data are of {len(part.names)} classes")
        if isinstance(names, tuple) and config.names is None and names != part.names:
            raise DataError(f"{name}data: are of {_listed(part.names)}, in training of {_listed(names)}")
        names = names if isinstance(names, tuple) else part.names
        inputs, targets = part.inputs, part.targets
    else:
        inputs, targets = _pair(part, name)
    check_inputs(inputs, f"{name}inputs")
    if config.task == "regression":
        return make_regression(inputs, targets, what=f"{name}targets", names=names)
    what = f"{name}labels"
    if targets.dtype.kind == "f" and targets.ndim == 1 and not np.isfinite(targets).all():
        row = int((~np.isfinite(targets)).argmax())
        raise DataError(f"{what}, row {row} is {targets[row]}; every label must be a class")
    try:
        return make_dataset(inputs, targets, what=what, classes=names)
    except DataError as error:
        if targets.dtype.kind != "f":
            raise
        raise DataError(f'{error}; numbers are learned with data.task = "regression"') from None


def _pair(part: Any, name: str) -> tuple[Array, Array]:
    """Inputs and targets on the host."""
    if not isinstance(part, tuple | list) or len(part) != 2:
        size = f" of {len(part)}" if isinstance(part, tuple | list) else ""
        raise TypeError(
            f"fit: the {name}data are {type(part).__name__}{size}; give (inputs, targets), a Dataset, a "
            'RegressionDataset, or a mapping of these by "train", "validation" and "test"'
        )
    for what, array in zip(("inputs", "targets"), part, strict=True):
        if not is_array(array):
            raise TypeError(f"fit: the {name}{what} are {type(array).__name__}, not an array")
    inputs, targets = map(on_host, part)
    if inputs.ndim and targets.ndim and len(inputs) != len(targets):
        raise DataError(f"{name}data: {len(inputs)} inputs, but {len(targets)} targets; each input needs one")
    return inputs, targets


def _dtype(array: Any) -> str:
    return str(array.dtype).rpartition(".")[2]  # torch's carries its name


def _listed(names: tuple[str, ...]) -> str:
    few = ", ".join(names[:5])
    return f"({few}{', ...' if len(names) > 5 else ''})"
