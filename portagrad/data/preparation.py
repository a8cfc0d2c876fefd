"""What happens to a data set before training: the split, standardisation, batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from portagrad import random
from portagrad.data.dataset import Array
from portagrad.errors import DataError


def split(labels: Array, fractions: Sequence[float], key: random.Key) -> tuple[Array, ...]:
    """Split the row numbers of a data set at random, each class in the same proportion.

    Parameters
    ----------
    labels : array of int64, shape (examples,)
    fractions : sequence of float
        Sizes of the parts that are split off, as fractions of the whole; their sum is below 1.
    key : Key
        From `portagrad.random.key`; the same key makes the same split, on every machine.

    Returns
    -------
    tuple of arrays of int64
        Row numbers: the rest first, then a part per fraction, ``round(fraction * examples)`` each. Each class
        is represented in proportion, to within one example, as far as it has examples enough; the rest
        keeps at least one of every class.

    Raises
    ------
    DataError
        If a part or the rest would be empty.

    Examples
    --------
    >>> import portagrad as pg
    >>> train, test = split(np.repeat(np.arange(3), 10), [0.2], pg.random.key(0))
    >>> len(train), len(test), np.repeat(np.arange(3), 10)[np.sort(test)]
    (24, 6, array([0, 0, 1, 1, 2, 2]))
    """
    examples = len(labels)
    order = random.permutation(key, examples, device="cpu")
    for fraction in fractions:
        if round(fraction * examples) == 0:
            raise DataError(f"a part of {fraction:g} of {examples} examples is empty; raise the fraction")
    counts = np.bincount(labels)
    rest = counts.copy()
    parts = []
    # Shuffled within each class: the parts of a class are then consecutive runs of it.
    by_class = order[np.argsort(labels[order], kind="stable")]
    members = np.split(by_class, np.cumsum(counts)[:-1])
    for fraction in fractions:
        share = _apportion(counts, round(fraction * examples), rest - (rest > 0))
        taken = [members[label][rest[label] - share[label] : rest[label]] for label in range(len(counts))]
        rest -= share
        parts.append(np.concatenate(taken))
    left = np.concatenate([members[label][: rest[label]] for label in range(len(counts))])
    return (left, *parts)


def _apportion(counts: Array, total: int, available: Array) -> Array:
    """Divide `total` among classes in proportion to `counts` by largest remainder, within `available`."""
    exact = counts * (total / counts.sum())
    share: Array = np.minimum(np.floor(exact).astype(np.int64), available)
    if available.sum() < total:
        raise DataError(
            f"the split leaves classes without a training example: {total} examples are asked for and "
            f"{available.sum()} can be spared; lower the fractions"
        )
    while (missing := total - int(share.sum())) > 0:
        free = np.flatnonzero(share < available)
        share[free[np.argsort(share[free] - exact[free], kind="stable")][:missing]] += 1
    return share


@dataclass(frozen=True, eq=False)
class Standardization:
    """Shift and scale of the inputs, fitted on the training examples only.

    Parameters
    ----------
    mean, scale : array, shape (features,)

    Examples
    --------
    >>> fitted = Standardization.fit(np.asarray([[1.0, 5.0], [3.0, 5.0]]))
    >>> fitted(np.asarray([[2.0, 5.0], [4.0, 6.0]]))
    array([[0., 0.],
           [2., 1.]])
    """

    mean: Array
    scale: Array

    @classmethod
    def fit(cls, inputs: Array, by: str = "features") -> Standardization:
        """Fit to examples.

        Parameters
        ----------
        inputs : array, shape (examples, ...)
        by : str
            ``"features"``: each feature by its own mean and standard deviation, a constant one by the scale
            1; right where features differ in unit. ``"whole"``: all by one mean and one deviation, right for
            images, whose rarely lit pixels would else be blown up. ``"none"``: nothing is changed.
        """
        flat = inputs.reshape(len(inputs), -1)
        if by == "none":
            return cls(np.zeros(flat.shape[1]), np.ones(flat.shape[1]))
        axis = 0 if by == "features" else None
        mean = np.broadcast_to(flat.mean(axis=axis, dtype=np.float64), flat.shape[1])
        deviation = np.broadcast_to(flat.std(axis=axis, dtype=np.float64), flat.shape[1])
        # Rounding gives a constant feature a deviation of about eps times its size, never exactly 0.
        constant = deviation <= 1e-12 * np.maximum(np.abs(mean), 1.0)
        return cls(mean, np.where(constant, 1.0, deviation))

    def __call__(self, inputs: Array) -> Array:
        """Standardised inputs, shape (examples, features), float64."""
        flat: Array = inputs.reshape(len(inputs), -1)
        scaled: Array = (flat - self.mean) / self.scale
        return scaled


def batches(
    key: random.Key, examples: int, size: int, *, device: Any = "cpu", start: int = 0
) -> Iterator[Any]:
    """Row numbers of one epoch's batches: a random permutation cut into pieces of `size`.

    Parameters
    ----------
    key : Key
        From `portagrad.random.key`.
    examples, size : int
    device : str or Device
        Where the row numbers are; the host by default.
    start : int
        The first batch that is wanted; the order is that of the whole epoch.

    Examples
    --------
    >>> import portagrad as pg
    >>> [len(rows) for rows in batches(pg.random.key(0), 10, 4)]
    [4, 4, 2]
    """
    order = random.permutation(key, examples, device=device)
    for first in range(start * size, examples, size):
        yield order[first : min(first + size, examples)]  # the standard leaves slices beyond the end open
