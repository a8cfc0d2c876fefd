"""Labelled examples: what every reader returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from portagrad.data.files import hint, shown
from portagrad.errors import DataError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Rows:
    """What data sets have in common: rows of inputs, of which a data set of the same kind can be made."""

    inputs: Array

    @property
    def features(self) -> int:
        """Numbers per example."""
        return math.prod(self.inputs.shape[1:])

    def take(self, rows: Array) -> Self:
        """The examples at these row numbers, in that order."""
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: x[rows] for name, x in every.items() if isinstance(x, np.ndarray)})


@dataclass(frozen=True, eq=False)
class Dataset(Rows):
    """Examples with a class each.

    Parameters
    ----------
    inputs : array, shape (examples, ...)
        Real numbers, all finite.
    labels : array of int64, shape (examples,)
        Class of each example, from 0 to ``len(names) - 1``.
    names : tuple of str
        A name per class.
    columns : tuple of str
        A name per input, where they are known.

    Raises
    ------
    DataError
        If the arrays do not fit this description. Row and column are counted from 0.

    Examples
    --------
    >>> data = Dataset(np.asarray([[0.0, 1.0], [1.0, 0.0]]), np.asarray([0, 1]), ("left", "right"))
    >>> len(data), data.classes, data.features
    (2, 2, 2)
    """

    inputs: Array
    labels: Array
    names: tuple[str, ...]
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_inputs(self.inputs, "inputs")
        if self.labels.dtype != np.int64 or self.labels.shape != (len(self.inputs),):
            raise DataError(
                f"labels must be int64 of shape ({len(self.inputs)},), one per input; "
                f"got {self.labels.dtype} {self.labels.shape}"
            )
        _check_range(self.labels, self.classes, lambda row: f"labels, row {row}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def targets(self) -> Array:
        """The labels, by the name that they have in any data set."""
        return self.labels


def check_shape(inputs: Array, what: str) -> None:
    """Raise a DataError unless `inputs` is a non-empty array of real numbers, one row per example."""
    if inputs.dtype.kind not in "biuf":
        raise DataError(f"{what}: {inputs.dtype} is no type of real numbers")
    if inputs.ndim < 2:
        raise DataError(f"{what}: shape {inputs.shape} has no axis of features; expected (examples, ...)")
    if 0 in inputs.shape:
        raise DataError(f"{what}: shape {inputs.shape} is empty")


def check_inputs(inputs: Array, what: str) -> None:
    """Raise a DataError unless `check_shape` passes and all numbers are finite."""
    check_shape(inputs, what)
    if inputs.dtype.kind == "f":
        start = 0
        for block in row_blocks(inputs):
            bad = np.argwhere(~np.isfinite(block))
            if len(bad):
                row, *column = bad[0].tolist()
                where = f"column {column[0]}" if len(column) == 1 else f"position {tuple(column)}"
                value = block[(row, *column)]
                raise DataError(f"{what}: row {start + row}, {where} is {value}; every input must be finite")
            start += len(block)


def row_blocks(inputs: Array) -> Iterator[Array]:
    """The rows of an array some at a time, so that what is made of them does not double its memory."""
    size = max(1, (1 << 17) // max(1, math.prod(inputs.shape[1:])))
    for start in range(0, len(inputs), size):
        yield inputs[start : start + size]


def make_dataset(
    inputs: Array,
    labels: Array,
    *,
    what: str,
    classes: int | Sequence[str] | None = None,
    at: Callable[[int], str] | None = None,
) -> Dataset:
    """Check raw arrays and make a Dataset of them.

    Parameters
    ----------
    inputs : array, shape (examples, ...)
    labels : array, shape (examples,) or (examples, 1)
        Whole numbers from 0, or text: then each distinct text is a class, in sorted order.
    what : str
        What the labels are called in a message.
    classes : int or sequence of str, optional
        Number of classes, or their names; by default, the highest label plus one or the texts found.
    at : callable, optional
        ``at(row)`` is what one label is called in a message.

    Raises
    ------
    DataError
        If the labels are no classes, or do not fit the inputs.

    Examples
    --------
    >>> make_dataset(np.zeros((3, 2)), np.asarray(["b", "a", "b"]), what="labels").labels
    array([1, 0, 1])
    """
    at = at or (lambda row: f"{what}, row {row}")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        one_hot = "; one-hot labels become classes by labels.argmax(axis=1)" if labels.ndim == 2 else ""
        raise DataError(f"{what}: labels must have the shape (examples,), got {labels.shape}{one_hot}")
    if len(inputs) != len(labels):
        raise DataError(f"{what}: {len(labels)} labels for {len(inputs)} inputs; each input needs one label")
    whole, names = classes_of(labels, classes, what=what, at=at, examples=len(labels))
    return Dataset(inputs, whole, names)


def classes_of(
    labels: Array,
    classes: int | Sequence[str] | None,
    *,
    what: str,
    at: Callable[[int], str],
    examples: int,
) -> tuple[Array, tuple[str, ...]]:
    """Labels as numbers from 0, and the names of the classes; arguments as for `make_dataset`.

    `labels` may be only those that differ, of so many `examples`.
    """
    if labels.dtype.kind == "U":
        whole, names = _classes_of_texts(labels, classes, what, at)
    else:
        whole, names = _classes_of_numbers(labels, classes, at, examples)
    if classes is None and (whole == whole[0]).all():
        raise DataError(
            f"{what}: every label is {shown(names[whole[0]])}; a classifier needs at least two classes"
        )
    return whole, names


def _classes_of_texts(
    labels: Array, classes: int | Sequence[str] | None, what: str, at: Callable[[int], str]
) -> tuple[Array, tuple[str, ...]]:
    texts, numbers = np.unique(labels, return_inverse=True)
    found = tuple(str(text) for text in texts)
    if classes is None or (isinstance(classes, int) and classes == len(found)):
        return numbers.astype(np.int64), found
    if isinstance(classes, int):
        raise DataError(f"{what}: {len(found)} different labels, but data.classes is {classes}")
    number = {name: index for index, name in enumerate(classes)}
    for row, text in enumerate(labels):
        if str(text) not in number:
            near = hint(str(text), list(classes))
            raise DataError(f"{at(row)}: {shown(str(text))} is none of the {len(number)} classes{near}")
    return np.asarray([number[name] for name in found], dtype=np.int64)[numbers], tuple(classes)


def _classes_of_numbers(
    labels: Array, classes: int | Sequence[str] | None, at: Callable[[int], str], examples: int
) -> tuple[Array, tuple[str, ...]]:
    if labels.dtype.kind not in "biuf":
        raise DataError(f"{at(0)}: labels must be whole numbers or text, got {labels.dtype}")
    # 2**62 keeps the conversion to int64 exact and is far above any number of classes.
    odd = ~((labels == np.floor(labels)) & (np.abs(labels.astype(np.float64)) < 2.0**62))
    if odd.any():
        row = int(odd.argmax())
        raise DataError(f"{at(row)}: the label {labels[row]} is not a whole number")
    whole = labels.astype(np.int64)
    if classes is None:
        highest = int(whole.max())
        if highest >= max(examples, 2):
            raise DataError(
                f"{at(int(whole.argmax()))}: the label {highest} means more classes than the {examples} "
                f"examples; if that is so, set data.classes = {highest + 1}"
            )
        classes = highest + 1
    names = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
    _check_range(whole, len(names), at)
    return whole, names


def _check_range(labels: Array, classes: int, at: Callable[[int], str]) -> None:
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        row = int(outside.argmax())
        raise DataError(
            f"{at(row)}: the label {labels[row]} is out of range for {classes} classes (0 to {classes - 1})"
        )
