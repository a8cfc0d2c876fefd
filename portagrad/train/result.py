"""A run that came to its end, and its model as it is saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from portagrad.train.config import Config
from portagrad.train.prepare import Prepared
from portagrad.train.saved_model import Description, TrainedModel
from portagrad.train.task import Task, Tested


@dataclass(frozen=True, eq=False)
class Result:
    """A run that came to its end.

    Attributes
    ----------
    folder : Path
    model : nn.MLP
        The trained model, on the run's device.
    test : Tested
        What the test has shown, with every measure of the task.
    summary : dict
        What ``summary.json`` holds.
    """

    folder: Path
    model: Any
    test: Tested
    summary: dict[str, Any]

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


def trained_model(config: Config, data: Prepared, task: Task, model: Any) -> TrainedModel:
    """A model with what it needs beside the weights."""
    described = Description(
        sizes=(data.features, *config.model.hidden, data.outputs),
        activation=config.model.activation,
        dropout=config.model.dropout,
        dtype=config.train.inputs_dtype,
        **task.facts,
    )
    return TrainedModel(described, model, data.standardization, data.targets)
