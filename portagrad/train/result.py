"""A run that came to its end, and its model as it is saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import portagrad
from portagrad.device import Device
from portagrad.train.config import Config
from portagrad.train.description import Description, OwnDescription
from portagrad.train.prepare import Prepared
from portagrad.train.saved_model import Prediction, TrainedModel
from portagrad.train.state import State
from portagrad.train.stateful import trained_part
from portagrad.train.task import Task, Tested
from portagrad.train.weights import count_weights


@dataclass(frozen=True, eq=False)
class Result:
    """A run that came to its end.

    Attributes
    ----------
    folder : Path
    trained : TrainedModel
        The trained model, on the run's device, with what it needs to be used on data as they come.
    test : Tested
        What the test has shown, with every measure of the task.
    summary : dict
        What ``summary.json`` holds.
    """

    folder: Path
    trained: TrainedModel
    test: Tested
    summary: dict[str, Any]

    @property
    def model(self) -> Any:
        """The trained model itself, which takes standardised inputs."""
        return self.trained.model

    def predict(self, inputs: Any) -> Prediction:
        """Predict from inputs in their own units, as `TrainedModel.predict` does.

        Parameters
        ----------
        inputs : array, shape (examples, ...)
        """
        return self.trained.predict(inputs)

    @property
    def test_loss(self) -> float:
        """The mean loss of the test examples."""
        return float(self.summary["test_loss"])

    @property
    def test_accuracy(self) -> float:
        """Of a classification, the share of the test examples that it takes for what they are."""
        return float(self.test.measures["accuracy"])

    @property
    def test_r2(self) -> float:
        """Of a regression, the share of the variance of the test's targets that it explains."""
        return float(self.test.measures["r2"])

    @property
    def confusion(self) -> np.ndarray[Any, Any] | None:
        """Of a classification, test examples by true class (row) and predicted class (column)."""
        return self.test.confusion

    def __str__(self) -> str:
        return (
            f"test {self.test.line}, loss {self.test_loss:.4f}\n"
            f"{self.folder}: {', '.join(sorted(path.name for path in self.folder.iterdir()))}"
        )


def trained_model(
    config: Config, data: Prepared, task: Task, model: Any, *, own: str | None = None
) -> TrainedModel:
    """A model with what it needs beside the weights; `own` is the class of one's own."""
    if own is not None:
        dtype = config.train.inputs_dtype
        integers = data.standardization is None
        told = OwnDescription(model=own, shape=data.shape, dtype=dtype, integers=integers, **task.facts)
        return TrainedModel(told, model, data.standardization, data.targets)
    described = Description(
        sizes=(data.features, *config.model.hidden, data.outputs),
        activation=config.model.activation,
        dropout=config.model.dropout,
        dtype=config.train.inputs_dtype,
        features=data.columns,
        **task.facts,
    )
    return TrainedModel(described, model, data.standardization, data.targets)


def summarised(data: Prepared, at: State, steps: int) -> dict[str, Any]:
    """How far a run has come, and on what; an epoch has so many `steps`."""
    records = at.records
    return {
        **{name: value for name, value in records[-1].items() if name.startswith(("train", "valid"))},
        "examples": {
            "train": len(data.train),
            "validation": len(data.validation) if data.validation is not None else 0,
            "test": len(data.test),
        },
        "weights": count_weights(trained_part(at.model)),
        "epochs": len(records),
        "best_epoch": at.best_epoch,
        "steps": len(records) * steps,
        "seconds": round(at.seconds, 3),
    }


def versions(where: Device) -> dict[str, str]:
    """Of what computed the run."""
    backend = where.backend
    return {
        "portagrad": portagrad.__version__,
        "numpy": np.__version__,
        backend.name: backend.version,
    }
