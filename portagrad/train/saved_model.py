"""A trained model in one safetensors file: its weights, what its inputs are scaled by, and what it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from portagrad import nn
from portagrad.data import Standardization
from portagrad.data.files import shown
from portagrad.device import Device, current_device, device_of, transfer
from portagrad.device import device as device_at
from portagrad.errors import CheckpointError, DataError
from portagrad.namespace import function
from portagrad.train.examples import ROWS, scaled
from portagrad.train.feed import on_host
from portagrad.train.schema import Count, Fault, Fraction, build
from portagrad.train.weights import checked_sum, read_weights, save_weights
from portagrad.transforms.tree import to_device

_softmax = function("softmax")
FORMAT = 1
FILE = "model.safetensors"
_KEY = "portagrad"
# Above this a description allocates more than its file could hold.
_MOST_TEXT = 1 << 24

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a file says of its model.

    Attributes
    ----------
    format : int
        Version of the file's format.
    task : str
        ``"classification"`` or ``"regression"``.
    sizes : tuple of int
        Of the input, of each hidden layer, and of the output.
    activation : str
    dropout : float
    dtype : str
    classes : tuple of str
        A name per class; empty for regression.
    targets : tuple of str
        Of a regression, a name per output where they are known.
    features : tuple of str
        A name per input, where they are known.
    """

    format: Count = FORMAT
    task: Literal["classification", "regression"] = "classification"
    sizes: tuple[Count, ...]
    activation: Literal["relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "softplus", "tanh"] = "relu"
    dropout: Fraction = 0.0
    dtype: Literal["float32", "float64"] = "float32"
    classes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    features: tuple[str, ...] = ()


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
    description : Description
    model : nn.MLP
        Takes standardised inputs.
    inputs, targets : Standardization
        `targets` is None for a classifier.
    """

    description: Description
    model: nn.MLP
    inputs: Standardization
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
        features = self.description.sizes[0]
        if rows.ndim < 2 or int(np.prod(rows.shape[1:])) != features:
            raise DataError(
                f"the model takes {features} numbers per example, but the inputs have the shape {rows.shape}"
            )
        parts = [self._outputs(rows[i : i + ROWS], i) for i in range(0, len(rows), ROWS)]
        whole = np.concatenate(parts) if parts else np.zeros((0, self.description.sizes[-1]))
        if self.targets is not None:
            return Prediction(self.targets.undo(whole))
        return Prediction(whole.argmax(axis=1), whole)

    def _outputs(self, rows: Array, first: int) -> Array:
        """Probabilities or scaled values of some rows."""
        x = scaled(self.inputs, rows, self.description.dtype, "inputs", first=first)
        y = self.model(transfer(x, device_of(self.model.layers[0].weight)))
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
    arrays: dict[str, Any] = {"model": trained.model, "inputs": _arrays(trained.inputs)}
    if trained.targets is not None:
        arrays["targets"] = _arrays(trained.targets)
    text = json.dumps(asdict(trained.description), ensure_ascii=False)
    save_weights(path, arrays, metadata={_KEY: text})


def load_model(path: str | Path, *, device: Device | str | None = None) -> TrainedModel:
    """Read a trained model.

    Parameters
    ----------
    path : str or Path
        The file, or the folder of the run.
    device : Device or str, optional
        Where its weights go; the device in force by default.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged, or says of its model what cannot be.

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
    told = _described(path, metadata[_KEY])
    checked_sum(path, arrays, metadata)
    where = current_device() if device is None else device_at(device)
    layers = []
    for i, (n_in, n_out) in enumerate(zip(told.sizes, told.sizes[1:], strict=False)):
        weight = _array(path, arrays, f"model.layers.{i}.weight", (n_in, n_out), told.dtype)
        bias = _array(path, arrays, f"model.layers.{i}.bias", (n_out,), told.dtype)
        layers.append(nn.Linear(transfer(weight, where), transfer(bias, where)))
    inputs = _scaling(path, arrays, "inputs", told.sizes[0])
    targets = _scaling(path, arrays, "targets", told.sizes[-1]) if told.task == "regression" else None
    if arrays:
        raise CheckpointError(
            f"{path}: the array {shown(next(iter(arrays)))} belongs to no part of the model"
        )
    return TrainedModel(told, nn.MLP(tuple(layers), told.activation, told.dropout), inputs, targets)


def _arrays(scaling: Standardization) -> Mapping[str, Array]:
    return {"mean": np.asarray(scaling.mean), "scale": np.asarray(scaling.scale)}


def _described(path: Path, text: str) -> Description:
    """The description in a file's metadata, every field checked."""
    try:
        table = json.loads(text) if len(text) <= _MOST_TEXT else None
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        raise CheckpointError(f"{path}: its description is no JSON table")
    if table.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: is of the format {shown(str(table.get('format')))}; this portagrad reads {FORMAT}"
        )
    try:
        told = build(Description, table)
    except Fault as fault:
        raise CheckpointError(f"{path}: its description: {fault}") from None
    outputs = told.sizes[-1] if len(told.sizes) > 1 else 0
    wrong = (
        f"sizes: expected two or more, got {list(told.sizes)}"
        if not outputs
        else f"classes: {len(told.classes)} names for {outputs} outputs"
        if told.task == "classification" and (len(told.classes) != outputs or outputs < 2)
        else f"classes: {len(told.classes)} names in a regression"
        if told.task == "regression" and told.classes
        else f"targets: {len(told.targets)} names for {outputs} outputs"
        if told.targets and (len(told.targets) != outputs or told.task != "regression")
        else f"features: {len(told.features)} names for {told.sizes[0]} inputs"
        if told.features and len(told.features) != told.sizes[0]
        else ""
    )
    if wrong:
        raise CheckpointError(f"{path}: its description: {wrong}")
    return told


def _array(path: Path, arrays: dict[str, Array], name: str, shape: tuple[int, ...], dtype: str) -> Array:
    """Take an array out of those that were read, as the description says it is."""
    if name not in arrays:
        raise CheckpointError(f"{path}: no array {shown(name)}")
    array = arrays.pop(name)
    if array.shape != shape or array.dtype != dtype:
        raise CheckpointError(
            f"{path}: the array {shown(name)} is {array.dtype} {array.shape}, "
            f"by the description {dtype} {shape}"
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
