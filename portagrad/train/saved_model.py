"""A trained model in one safetensors file: its weights, what its inputs are scaled by, and what it is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from portagrad import nn
from portagrad.data import Standardization
from portagrad.data.files import shown
from portagrad.device import Device, current_device, device_of, transfer
from portagrad.device import device as device_at
from portagrad.errors import CheckpointError, DataError
from portagrad.namespace import function
from portagrad.train.description import Description, OwnDescription, read_description
from portagrad.train.examples import ROWS, as_inputs
from portagrad.train.feed import on_host
from portagrad.train.stateful import with_state
from portagrad.train.weights import checked_sum, named_leaves, read_weights, save_weights, structured
from portagrad.transforms.tree import flatten, to_device

_softmax = function("softmax")
FILE = "model.safetensors"
_KEY = "portagrad"

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model makes of inputs, on the host.

    Attributes
    ----------
    values : array
        Of a classifier the number of each example's class, shape (examples,); of a regression what it
        predicts, in the targets' own units, shape (examples, outputs).
    probabilities : array, shape (examples, classes), or None
    """

    values: Array
    probabilities: Array | None = None


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model with what it needs to be used on data as they come.

    Attributes
    ----------
    description : Description or OwnDescription
    model : nn.MLP, or the model that `train.fit` was given
        Takes standardised inputs, or integers as they are.
    inputs, targets : Standardization
        `inputs` is None of a model that takes integers, and `targets` of a classifier.
    """

    description: Description | OwnDescription
    model: Any
    inputs: Standardization | None
    targets: Standardization | None = None

    def predict(self, inputs: Any) -> Prediction:
        """Predict from inputs in their own units, some thousand rows at a time.

        Parameters
        ----------
        inputs : array, shape (examples, ...)
            Of any library; as many numbers per example as the model was trained on.

        Raises
        ------
        DataError
            If their number is another, or one is not finite.

        Examples
        --------
        >>> model = nn.MLP.init(pg.random.key(0), [2, 3])
        >>> described = Description(sizes=(2, 3), classes=("a", "b", "c"))
        >>> trained = TrainedModel(described, model, Standardization(np.zeros(2), np.ones(2)))
        >>> trained.predict(np.ones((4, 2))).probabilities.shape
        (4, 3)
        """
        rows = on_host(inputs)
        shape = self.description.shape
        if rows.ndim < 2 or math.prod(rows.shape[1:]) != math.prod(shape):
            each = f"{shape[0]} numbers per example" if len(shape) == 1 else f"examples of the shape {shape}"
            raise DataError(f"the model takes {each}, but the inputs have the shape {rows.shape}")
        parts = [self._outputs(rows[i : i + ROWS], i) for i in range(0, len(rows), ROWS)]
        whole = np.concatenate(parts) if parts else np.zeros((0, self.description.outputs))
        if self.targets is not None:
            return Prediction(self.targets.undo(whole))
        return Prediction(whole.argmax(axis=1), whole)

    def _outputs(self, rows: Array, first: int) -> Array:
        """Probabilities or scaled values of some rows."""
        x = as_inputs(self.inputs, rows, self.description.dtype, "inputs", first=first)
        where = device_of(flatten(self.model)[0][0])
        y = self.model(transfer(x.reshape(len(x), *self.description.shape), where))
        return on_host(y if self.targets is not None else _softmax(y, axis=-1)).astype(np.float64)

    def on(self, where: Device | str) -> TrainedModel:
        """The same model on another device."""
        return replace(self, model=to_device(self.model, where))


def save_model(path: str | Path, trained: TrainedModel) -> None:
    """Write a trained model to one safetensors file, whole or not at all.

    Parameters
    ----------
    path : str or Path
    trained : TrainedModel

    Raises
    ------
    CheckpointError
        If the file cannot be written.
    """
    arrays: dict[str, Any] = {"model": trained.model}
    for name, scaling in (("inputs", trained.inputs), ("targets", trained.targets)):
        if scaling is not None:
            arrays[name] = _arrays(scaling)
    text = json.dumps(asdict(trained.description), ensure_ascii=False)
    save_weights(path, arrays, metadata={_KEY: text})


def load_model(path: str | Path, *, like: Any = None, device: Device | str | None = None) -> TrainedModel:
    """Read a trained model.

    Parameters
    ----------
    path : str or Path
        The file, or the folder of the run.
    like : pytree of arrays, optional
        For a model that `train.fit` was given: one with the same names and shapes of weights.
    device : Device or str, optional
        Where its weights go; the device in force by default.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged, or says of its model what cannot be, or what is not `like`.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> model = nn.MLP.init(pg.random.key(0), [2, 3])
    >>> trained = TrainedModel(Description(sizes=(2, 3), classes=("a", "b", "c")), model,
    ...                        Standardization(np.zeros(2), np.ones(2)))
    >>> with TemporaryDirectory() as folder:
    ...     save_model(f"{folder}/model.safetensors", trained)
    ...     load_model(folder).description.sizes
    (2, 3)
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    arrays, metadata = read_weights(path)
    if _KEY not in metadata:
        raise CheckpointError(f"{path}: holds weights alone, not a model that `portagrad train` has saved")
    told = read_description(path, metadata[_KEY])
    checked_sum(path, arrays, metadata)
    where = current_device() if device is None else device_at(device)
    model = _mlp(path, arrays, told, where) if like is None else _own(path, arrays, told, like, where)
    whole = isinstance(told, OwnDescription) and told.integers
    inputs = None if whole else _scaling(path, arrays, "inputs", math.prod(told.shape))
    targets = _scaling(path, arrays, "targets", told.outputs) if told.task == "regression" else None
    if arrays:
        raise CheckpointError(
            f"{path}: the array {shown(next(iter(arrays)))} belongs to no part of the model"
        )
    return TrainedModel(told, model, inputs, targets)


def _mlp(path: Path, arrays: dict[str, Array], told: Description | OwnDescription, where: Device) -> nn.MLP:
    """The model that a description makes."""
    if isinstance(told, OwnDescription):
        raise CheckpointError(
            f"{path}: has the weights of a model of one's own, {shown(told.model)}, which no file can make; "
            "give one like it in Python: train.load_model(path, like=model)"
        )
    layers = []
    for i, (n_in, n_out) in enumerate(zip(told.sizes, told.sizes[1:], strict=False)):
        weight = _array(path, arrays, f"model.layers.{i}.weight", (n_in, n_out), told.dtype)
        bias = _array(path, arrays, f"model.layers.{i}.bias", (n_out,), told.dtype)
        layers.append(nn.Linear(transfer(weight, where), transfer(bias, where)))
    return nn.MLP(tuple(layers), told.activation, told.dropout)


def _own(
    path: Path, arrays: dict[str, Array], told: Description | OwnDescription, like: Any, where: Device
) -> Any:
    """A model of the structure of another, with the file's weights."""
    like = with_state(like)
    shapes = {name: tuple(leaf.shape) for name, leaf in named_leaves({"model": like}).items()}
    leaves = [_array(path, arrays, name, shape, told.dtype, "`like`") for name, shape in shapes.items()]
    return structured(like, [transfer(leaf, where) for leaf in leaves])


def _arrays(scaling: Standardization) -> Mapping[str, Array]:
    return {"mean": np.asarray(scaling.mean), "scale": np.asarray(scaling.scale)}


def _array(
    path: Path,
    arrays: dict[str, Array],
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    source: str = "the description",
) -> Array:
    """Take an array out of those that were read, of the shape that the description or a model has."""
    if name not in arrays:
        raise CheckpointError(f"{path}: no array {shown(name)}")
    array = arrays.pop(name)
    if array.shape != shape or array.dtype != dtype:
        raise CheckpointError(
            f"{path}: the array {shown(name)} is {array.dtype} {array.shape}, by {source} {dtype} {shape}"
        )
    if not np.isfinite(array).all():
        raise CheckpointError(f"{path}: the array {shown(name)} holds a number that is not finite")
    return array


def _scaling(path: Path, arrays: dict[str, Array], name: str, count: int) -> Standardization:
    mean = _array(path, arrays, f"{name}.mean", (count,), "float64")
    scale = _array(path, arrays, f"{name}.scale", (count,), "float64")
    if not (scale > 0).all():
        raise CheckpointError(f"{path}: {name}.scale has an element that is not above 0")
    return Standardization(mean, scale)
