"""What a run learns: the loss and the score of a model's outputs against the targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from portagrad import nn
from portagrad.namespace import function

_argmax, _astype, _equal, _softmax, _sum = map(function, ("argmax", "astype", "equal", "softmax", "sum"))


class Task(Protocol):
    """What the loop asks of a task; arrays are on the run's device, and each function is differentiable
    where it is a loss.

    A batch may be computed slice by slice (see `Step`), so a loss is the mean over a slice, and `weight` is
    what it has to be multiplied by for the slices to be added.
    """

    @property
    def outputs(self) -> int:
        """How many numbers the model has for an example."""

    @property
    def score_name(self) -> str:
        """What the mean of the scores is called, as in ``train_accuracy``."""

    def loss(self, outputs: Any, targets: Any) -> Any:
        """The loss that is trained: the mean over a slice, shape ()."""

    def weight(self, targets: Any) -> Any:
        """What a slice counts in the mean over a batch, an int or shape (): examples, or their weights."""

    def score(self, outputs: Any, targets: Any) -> Any:
        """The sum of the scores of a slice, shape ()."""

    def predictions(self, outputs: Any) -> Any:
        """What is told of an example, such as the probabilities of its classes."""


@dataclass(frozen=True)
class Classification:
    """One of several classes, by the cross-entropy of its probability; its score is the hits.

    Attributes
    ----------
    names : tuple of str
        Of the classes.
    """

    names: tuple[str, ...]
    score_name = "accuracy"

    @property
    def outputs(self) -> int:
        return len(self.names)

    def loss(self, outputs: Any, targets: Any) -> Any:
        return nn.cross_entropy(outputs, targets)

    def weight(self, targets: Any) -> Any:
        return targets.shape[0]

    def score(self, outputs: Any, targets: Any) -> Any:
        hits = _equal(_argmax(outputs, axis=-1), targets)
        return _sum(_astype(hits, targets.dtype))

    def predictions(self, outputs: Any) -> Any:
        return _softmax(outputs, axis=-1)
