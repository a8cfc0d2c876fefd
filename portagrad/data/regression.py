"""Examples with numbers to predict: what every reader returns for a regression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from portagrad.data.dataset import Array, Rows, check_inputs
from portagrad.errors import DataError


@dataclass(frozen=True, eq=False)
class RegressionDataset(Rows):
    """Examples with one number or more each.

    Parameters
    ----------
    inputs : array, shape (examples, ...)
        Real numbers, all finite.
    targets : array of float64, shape (examples, outputs)
        All finite.
    names : tuple of str
        A name per output.
    columns : tuple of str
        A name per input, where they are known.

    Raises
    ------
    DataError
        If the arrays do not fit this description. Row and column are counted from 0.

    Examples
    --------
    >>> data = RegressionDataset(np.asarray([[0.0], [1.0]]), np.asarray([[2.0], [2.5]]), ("height",))
    >>> len(data), data.features, data.outputs
    (2, 1, 1)
    """

    inputs: Array
    targets: Array
    names: tuple[str, ...]
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_inputs(self.inputs, "inputs")
        shape = (len(self.inputs), len(self.names))
        if self.targets.dtype != np.float64 or self.targets.shape != shape or not self.names:
            raise DataError(
                f"targets must be float64 of shape {shape}, a row per input and a column per name; "
                f"got {self.targets.dtype} {self.targets.shape}"
            )
        check_targets(self.targets, lambda row, column: f"targets, row {row}, column {column}")

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def outputs(self) -> int:
        """Numbers to predict per example."""
        return len(self.names)


def columns_of(targets: Array, what: str) -> Array:
    """Targets as float64 of shape (rows, outputs), not looked at for what is not finite.

    Raises
    ------
    DataError
        If they are no real numbers, or have too many axes.
    """
    if targets.dtype.kind not in "biuf":
        kind = "text" if targets.dtype.kind == "U" else str(targets.dtype)
        raise DataError(
            f"{what}: the targets of a regression are numbers, not {kind}; "
            'classes are learned with data.task = "classification"'
        )
    if targets.ndim not in (1, 2) or 0 in targets.shape:
        raise DataError(
            f"{what}: targets must have the shape (examples,) or (examples, outputs), got {targets.shape}"
        )
    return targets.reshape(len(targets), -1).astype(np.float64)


def check_targets(targets: Array, at: Callable[[int, int], str], first: int = 0) -> None:
    """Raise a DataError at the first target that is missing or not finite, called ``at(row, column)``.

    `first` is the number of the first row.
    """
    if not np.isfinite(targets).all():
        row, column = np.argwhere(~np.isfinite(targets))[0].tolist()
        raise DataError(f"{at(first + row, column)} is {targets[row, column]}; every target must be finite")


def make_regression(
    inputs: Array,
    targets: Array,
    *,
    what: str,
    names: Sequence[str] | None = None,
    at: Callable[[int, int], str] | None = None,
) -> RegressionDataset:
    """Check raw arrays and make a RegressionDataset of them.

    Parameters
    ----------
    inputs : array, shape (examples, ...)
    targets : array, shape (examples,) or (examples, outputs)
    what : str
        What the targets are called in a message.
    names : sequence of str, optional
        Of the outputs; by default ``target``, or ``target 0``, ``target 1``, ...
    at : callable, optional
        ``at(row, column)`` is what one target is called in a message.

    Raises
    ------
    DataError
        If the targets are no finite numbers, or do not fit the inputs.

    Examples
    --------
    >>> make_regression(np.zeros((2, 3)), np.asarray([[1, 2], [3, 4]]), what="targets").names
    ('target 0', 'target 1')
    """
    columns = columns_of(targets, what)
    if len(inputs) != len(columns):
        raise DataError(f"{what}: {len(columns)} targets for {len(inputs)} inputs; each input needs one")
    check_targets(columns, at or (lambda row, column: f"{what}, row {row}, column {column}"))
    return RegressionDataset(inputs, columns, target_names(columns.shape[1], names, what))


def target_names(count: int, names: Sequence[str] | None, what: str) -> tuple[str, ...]:
    """The names of so many outputs, those that are given or numbers.

    Raises
    ------
    DataError
        If another number of names is given.
    """
    if names is None:
        return ("target",) if count == 1 else tuple(f"target {k}" for k in range(count))
    if len(names) != count:
        raise DataError(f"{what}: names for {len(names)} targets, but there are {count}")
    return tuple(names)
