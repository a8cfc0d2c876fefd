"""What a run learns: the loss and the score of a model's outputs, and what is told of its predictions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from portagrad import nn
from portagrad.data import Standardization
from portagrad.namespace import function
from portagrad.train import reports
from portagrad.train.metrics import classification, confusion_matrix, regression, said

_argmax, _astype, _equal, _where = map(function, ("argmax", "astype", "equal", "where"))
_mean, _softmax, _square = map(function, ("mean", "softmax", "square"))
_subtract, _sum = map(function, ("subtract", "sum"))

Array = np.ndarray[Any, Any]


def divisor(weight: Any) -> Any:
    """A weight to divide by; 1 instead of 0, for examples that count for nothing."""
    return _where(weight > 0, weight, 1.0)


@dataclass(frozen=True, eq=False)
class Tested:
    """What a test has shown.

    Attributes
    ----------
    measures : dict
        Every measure of the task.
    line : str
        The score, for people.
    write : callable
        ``write(folder, figures=...)`` leaves the predictions in a run's folder, in the form that tells most.
    confusion : array or None
        Of a classification, the test examples by true and by predicted class.
    """

    measures: dict[str, Any]
    line: str
    write: Callable[..., None]
    confusion: Array | None = None


class Task(Protocol):
    """What the loop asks of a task. Targets are as `Examples` has them.

    Of what is computed by step, arrays are on the run's device, and each function is differentiable where it
    is a loss. A batch may be computed slice by slice (see `Step`), so a loss is the mean over a slice, and
    its weight is what it has to be multiplied by for the slices to be added.
    """

    @property
    def score_name(self) -> str:
        """What the mean of the scores is called, as in ``train_accuracy``."""

    @property
    def outputs(self) -> int:
        """How many numbers the model has for an example."""

    @property
    def alike(self) -> bool:
        """Whether every example counts the same, and a slice weighs as an int how many it has."""

    @property
    def facts(self) -> dict[str, Any]:
        """The task and the names of the outputs, as a run's files have them."""

    @property
    def aim(self) -> str:
        """What is predicted, for people."""

    @property
    def told(self) -> tuple[str, ...]:
        """The measures of the test that are told beside its loss, the score first."""

    def loss(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        """The loss that is trained, the mean over a slice, shape (); and what the slice weighs."""

    def score(self, outputs: Any, targets: Any) -> Any:
        """The sum of the scores of a slice, shape (); their mean is what `score_name` names."""

    def predictions(self, outputs: Any) -> Any:
        """What is told of an example, such as the probabilities of its classes."""

    def blank_targets(self, examples: int, dtype: str) -> Array:
        """Targets of so many examples, of no other use than their shape and dtype."""

    def measured(self, targets: Array, predictions: Array) -> dict[str, float]:
        """The score, and what else is measured after every epoch; by arrays of the host."""

    def tested(self, targets: Array, predictions: Array) -> Tested:
        """Everything that there is to measure."""


@dataclass(frozen=True, eq=False)
class Classification:
    """One of several classes, by the cross-entropy of its probability; its score is the hits.

    Attributes
    ----------
    names : tuple of str
        Of the classes.
    weights : array, shape (classes,), optional
        What an example counts in the loss by its class, on the run's device and in the outputs' dtype.
    smoothing : float
        Of the labels (see `nn.cross_entropy`).
    metrics : tuple of str
        What is measured beside the accuracy.
    """

    names: tuple[str, ...]
    weights: Any = None
    smoothing: float = 0.0
    metrics: tuple[str, ...] = ()
    score_name = "accuracy"

    @property
    def outputs(self) -> int:
        return len(self.names)

    @property
    def alike(self) -> bool:
        return self.weights is None

    @property
    def facts(self) -> dict[str, Any]:
        return {"task": "classification", "classes": self.names}

    @property
    def aim(self) -> str:
        return f"in {len(self.names)} classes"

    @property
    def told(self) -> tuple[str, ...]:
        return (self.score_name, *self.metrics)

    def loss(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        if self.weights is None:
            loss = nn.cross_entropy(outputs, targets, label_smoothing=self.smoothing)
            return loss, targets.shape[0]
        total, weight = nn.cross_entropy_sum(
            outputs, targets, weights=self.weights, label_smoothing=self.smoothing
        )
        # A slice whose classes weigh nothing counts for nothing; a division by 0 would end the run.
        return total / divisor(weight), weight

    def score(self, outputs: Any, targets: Any) -> Any:
        hits = _equal(_argmax(outputs, axis=-1), targets)
        return _sum(_astype(hits, targets.dtype))

    def predictions(self, outputs: Any) -> Any:
        return _softmax(outputs, axis=-1)

    def blank_targets(self, examples: int, dtype: str) -> Array:
        return np.zeros(examples, np.int32)

    def measured(self, targets: Array, predictions: Array) -> dict[str, float]:
        accuracy = float((predictions.argmax(axis=1) == targets).mean())  # which takes no matrix of classes
        labels = targets.astype(np.int64)
        others = classification(labels, predictions, self.metrics) if self.metrics else {}
        return {"accuracy": accuracy, **{name: others[name] for name in self.metrics}}

    def tested(self, targets: Array, predictions: Array) -> Tested:
        matrix = confusion_matrix(targets, predictions.argmax(axis=1), len(self.names))
        right, total = int(np.trace(matrix)), int(matrix.sum())
        line = f"accuracy {said(right / total, 'accuracy')} ({right} of {total})"

        def write(folder: Path, *, figures: bool) -> None:
            reports.write_confusion(folder, matrix, self.names)
            if figures:
                reports.draw_confusion(folder, matrix, self.names)

        return Tested(classification(targets.astype(np.int64), predictions), line, write, matrix)


@dataclass(frozen=True, eq=False)
class Regression:
    """One number or more; the score is R2, the share of the targets' variance that is explained.

    The loss is that of standardised targets. As these have the variance 1 among the training examples, the
    mean over examples of 1 less the squared error is R2 there, whatever the targets' units.

    Attributes
    ----------
    names : tuple of str
        Of the targets.
    scaling : Standardization
        Of the targets; what is measured and written is in their own units.
    kind : str
        ``"mse"``, ``"huber"`` or ``"mae"``.
    delta : float
        Of ``"huber"``.
    metrics : tuple of str
        What is measured beside R2.
    """

    names: tuple[str, ...]
    scaling: Standardization
    kind: str = "mse"
    delta: float = 1.0
    metrics: tuple[str, ...] = ()
    score_name = "r2"
    alike = True

    @property
    def outputs(self) -> int:
        return len(self.names)

    @property
    def facts(self) -> dict[str, Any]:
        return {"task": "regression", "targets": self.names}

    @property
    def aim(self) -> str:
        return (
            f"to predict {', '.join(self.names)}"
            if self.outputs < 4
            else f"to predict {self.outputs} targets"
        )

    @property
    def told(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.score_name, "mse", "mae", *self.metrics)))

    def loss(self, outputs: Any, targets: Any) -> tuple[Any, int]:
        kinds: dict[str, Callable[..., Any]] = {
            "mse": nn.mse,
            "mae": nn.mae,
            "huber": functools.partial(nn.huber, delta=self.delta),
        }
        return kinds[self.kind](outputs, targets), targets.shape[0]

    def score(self, outputs: Any, targets: Any) -> Any:
        return _sum(1 - _mean(_square(_subtract(outputs, targets)), axis=-1))

    def predictions(self, outputs: Any) -> Any:
        return outputs

    def blank_targets(self, examples: int, dtype: str) -> Array:
        return np.zeros((examples, self.outputs), dtype)

    def measured(self, targets: Array, predictions: Array) -> dict[str, float]:
        every = self._measures(targets, predictions)
        return {name: every[name] for name in (self.score_name, *self.metrics)}

    def tested(self, targets: Array, predictions: Array) -> Tested:
        every = self._measures(targets, predictions)
        line = ", ".join(f"{name} {said(every[name], name)}" for name in ("r2", "mse", "mae"))
        own = self._own(targets), self._own(predictions)

        def write(folder: Path, *, figures: bool) -> None:
            reports.write_predictions(folder, *own, self.names)
            if figures:
                reports.draw_predictions(folder, *own, self.names)

        return Tested(every, line, write)

    def _measures(self, targets: Array, predictions: Array) -> dict[str, float]:
        return regression(self._own(targets), self._own(predictions))

    def _own(self, scaled: Array) -> Array:
        return self.scaling.undo(scaled.astype(np.float64))
