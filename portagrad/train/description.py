"""What a saved model's file says of it, every word checked before anything is made of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from portagrad.data.files import shown
from portagrad.errors import CheckpointError
from portagrad.train.schema import Count, Fault, Fraction, build

FORMAT = 1
# Above this a description allocates more than its file could hold.
_MOST_TEXT = 1 << 24


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

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an example, as the model takes it."""
        return self.sizes[:1]

    @property
    def outputs(self) -> int:
        """Numbers that the model gives for an example."""
        return self.sizes[-1]


@dataclass(frozen=True, kw_only=True)
class OwnDescription:
    """What a file says of a model that `train.fit` was given, which it cannot make by itself.

    Attributes
    ----------
    format : int
    model : str
        The name of its class.
    task : str
    shape : tuple of int
        Of an example, as the model takes it.
    dtype : str
        Of its weights.
    integers : bool
        Whether inputs are integers, which nothing scales.
    classes, targets : tuple of str
        A name per output: of a classification the classes, of a regression the targets.
    """

    format: Count = FORMAT
    model: str
    task: Literal["classification", "regression"]
    shape: tuple[Count, ...]
    dtype: Literal["float32", "float64"]
    integers: bool = False
    classes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """Numbers that the model gives for an example."""
        return len(self.classes or self.targets)


def read_description(path: Path, text: str) -> Description | OwnDescription:
    """The description in a file's metadata, every field checked.

    Raises
    ------
    CheckpointError
        If it says of a model what cannot be.
    """
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
        told = build(OwnDescription, table) if "model" in table else build(Description, table)
    except Fault as fault:
        raise CheckpointError(f"{path}: its description: {fault}") from None
    wrong = _contradiction(told) if isinstance(told, Description) else _own_contradiction(told)
    if wrong:
        raise CheckpointError(f"{path}: its description: {wrong}")
    return told


def _contradiction(told: Description) -> str:
    """What in a description does not go together; empty where all does."""
    outputs = told.sizes[-1] if len(told.sizes) > 1 else 0
    return (
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


def _own_contradiction(told: OwnDescription) -> str:
    named, least = (told.classes, 2) if told.task == "classification" else (told.targets, 1)
    both = told.classes and told.targets
    return (
        "shape: expected one axis or more, got []"
        if not told.shape
        else f"{len(told.classes)} classes and {len(told.targets)} targets in a {told.task}"
        if both or len(named) < least
        else ""
    )
