"""What a model is to learn of the targets: classes by their numbers, or scaled numbers, found in one pass."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from portagrad.data import Moments, Source, Standardization, blocks, class_weights
from portagrad.data.dataset import classes_of
from portagrad.data.regression import check_targets, columns_of, target_names
from portagrad.errors import DataError
from portagrad.train.config import DataConfig
from portagrad.train.examples import Array, scaled

_DISTINCT = 100_000
"""Labels that differ, above which they are no classes."""


@dataclass(frozen=True, eq=False)
class Learned:
    """What a model learns of the targets.

    Attributes
    ----------
    names : tuple of str
        Of the model's outputs: a name per class, or per target.
    encode : callable
        From targets as the file has them to int32 classes, or to scaled numbers, shape (examples, outputs).
    scaling : Standardization or None
        Of a regression's targets.
    class_weights : array of float64, shape (classes,), or None
    """

    names: tuple[str, ...]
    encode: Callable[[Array], Array]
    scaling: Standardization | None = None
    class_weights: Array | None = None


def learned_classes(
    config: DataConfig, names: tuple[str, ...], counts: Array, encode: Callable[[Array], Array]
) -> Learned:
    """Of so many training examples of each class."""
    asked = config.class_weights
    weights = None if asked == "none" else class_weights(asked, counts, names)
    return Learned(names, encode, class_weights=weights)


def learned_values(names: tuple[str, ...], moments: Moments, what: str, dtype: str) -> Learned:
    """Of targets with these moments among the training examples.

    Raises
    ------
    DataError
        If one has the same value in all of them, or its deviation is beyond the numbers.
    """
    if moments.constant.any():
        column = int(moments.constant.argmax())
        raise DataError(
            f"{what}: the target {names[column]!r} is {moments.mean[column]:g} in every training example; "
            "there is nothing to learn"
        )
    scaling = moments.standardization()
    if not np.isfinite(scaling.scale).all():
        column = int((~np.isfinite(scaling.scale)).argmax())
        raise DataError(f"{what}: the target {names[column]!r} is too large for its deviation to be a number")

    def encode(targets: Array) -> Array:
        return scaled(scaling, columns_of(targets, what), dtype, what, noun="target")

    return Learned(names, encode, scaling)


class Labels:
    """The labels of a stream that differ, each with the row where it first comes."""

    def __init__(self, source: Source) -> None:
        self._what, self._row = source.what, 0
        self._first: dict[Any, int] = {}
        self._counts: dict[Any, int] = {}

    def add(self, targets: Array, own: Array) -> None:
        """Take in a block, of which the rows `own` are for training."""
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = targets[:, 0]
        if targets.ndim != 1:
            raise DataError(f"{self._what}: labels must have one number per example, not {targets.shape[1:]}")
        found, rows = np.unique(targets, return_index=True)
        for label, row in zip(found.tolist(), rows.tolist(), strict=True):
            self._first.setdefault(label, self._row + row)
        for label, count in zip(
            *map(np.ndarray.tolist, np.unique(targets[own], return_counts=True)), strict=True
        ):
            self._counts[label] = self._counts.get(label, 0) + count
        self._row += len(targets)
        if len(self._first) > _DISTINCT:
            raise DataError(f"{self._what}: more than {_DISTINCT} different labels by row {self._row}")

    def learned(self, config: DataConfig, dtype: str) -> Learned:
        """The classes, after the last block."""
        known = np.asarray(sorted(self._first))
        rows = [self._first[label] for label in known.tolist()]
        numbers, names = classes_of(
            known,
            config.names or config.classes,
            what=f"{self._what}, labels",
            at=lambda index: f"{self._what}, labels, row {rows[index]}",
            examples=self._row,
        )
        counts = np.zeros(len(names), np.int64)
        counts[numbers] = [self._counts.get(label, 0) for label in known.tolist()]
        return learned_classes(config, names, counts, functools.partial(self._encode, known, numbers))

    def _encode(self, known: Array, numbers: Array, targets: Array) -> Array:
        flat = targets.reshape(-1)
        places = np.minimum(np.searchsorted(known, flat), len(known) - 1)
        if (known[places] != flat).any():
            label = flat[int((known[places] != flat).argmax())]
            raise DataError(
                f"{self._what}: the label {label} was not there when the run began, or is none of its classes"
            )
        return numbers[places].astype(np.int32)  # which every library has


class Values:
    """The moments of a stream's targets among its training rows."""

    def __init__(self, source: Source) -> None:
        self._what, self._moments, self._outputs = source.what, Moments(), 0
        self._names = getattr(source, "targets", None)

    def add(self, targets: Array, own: Array) -> None:
        """Take in a block, of which the rows `own` are for training."""
        columns = columns_of(targets, self._what)
        self._outputs = columns.shape[1]
        if len(own):
            self._moments.add(columns[own])

    def learned(self, config: DataConfig, dtype: str) -> Learned:
        """The scaled numbers, after the last block."""
        names = target_names(self._outputs, config.names or self._names, self._what)
        return learned_values(names, self._moments, self._what, dtype)


def checked(source: Source, regression: bool) -> Iterator[tuple[Array, Array]]:
    """All blocks in the file's order, every input, and of a regression every target, checked to be finite."""
    row = 0
    for inputs, targets in blocks(source):
        if regression:
            check_targets(columns_of(targets, source.what), source.target_place, row)
        yield inputs, targets
        row += len(inputs)
