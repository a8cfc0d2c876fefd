"""Mean and deviation of features in one pass, and the standardisation that they make."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from portagrad.data.dataset import Array, row_blocks

# A feature that deviates by no more, relative to its size, is constant: rounding leaves it about eps.
_ROUNDING = 1e-12
# Numbers that stay in the cache between two passes over them.
_CACHED = 1 << 15
# Within it and its inverse float32 has all its digits, with room for a quotient.
_LARGE = 1e30


class Moments:
    """Count, mean and sum of squared deviations of each feature, added to block by block.

    The sums of a block are taken about its own mean and merged by equation (2.1) of T. F. Chan, G. H. Golub,
    R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979), which,
    unlike the sum of squares, loses no digits where the mean is large.

    Examples
    --------
    >>> moments = Moments()
    >>> moments.add(np.asarray([[1e9], [1e9 + 2]]))
    >>> moments.add(np.asarray([[1e9 + 4]]))
    >>> moments.count, moments.mean, moments.squares
    (3, array([1.e+09]), array([8.]))
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Array = np.zeros(())
        self.squares: Array = np.zeros(())

    def add(self, inputs: Array) -> None:
        """Take in examples, shape (examples, ...)."""
        for block in row_blocks(inputs):
            flat = block.reshape(len(block), -1).astype(np.float64)
            count, mean = len(flat), flat.mean(axis=0)
            flat -= mean
            total, delta = self.count + count, mean - self.mean
            # A deviation of inf scales to 0, which is as near as numbers get.
            with np.errstate(over="ignore"):
                between = delta * (self.count * count / total) * delta
                self.squares = self.squares + (flat * flat).sum(axis=0) + between
            self.mean = self.mean + delta * (count / total)
            self.count = total

    @property
    def constant(self) -> Array:
        """Which features do not vary."""
        deviation = np.sqrt(self.squares / self.count)
        constant: Array = deviation <= _ROUNDING * np.maximum(np.abs(self.mean), 1.0)
        return constant

    def standardization(self, by: str = "features") -> Standardization:
        """Shift and scale, `by` as for `Standardization.fit`."""
        mean, squares = self.mean, self.squares / self.count
        if by == "none":
            return Standardization(np.zeros(mean.shape), np.ones(mean.shape))
        if by == "whole":
            squares = np.full(mean.shape, (squares + (mean - mean.mean()) ** 2).mean())
            mean = np.full(mean.shape, mean.mean())
        deviation = np.sqrt(squares)
        constant = deviation <= _ROUNDING * np.maximum(np.abs(mean), 1.0)
        return Standardization(mean, np.where(constant, 1.0, deviation))


@dataclass(frozen=True, eq=False)
class Standardization:
    """Shift and scale of inputs or of targets, fitted on the training examples only.

    Parameters
    ----------
    mean, scale : array, shape (features,)

    Examples
    --------
    >>> fitted = Standardization.fit(np.asarray([[1.0, 5.0], [3.0, 5.0]]))
    >>> fitted(np.asarray([[2.0, 5.0], [4.0, 6.0]]))
    array([[0., 0.],
           [2., 1.]])
    >>> fitted.undo(np.asarray([[2.0, 1.0]]))
    array([[4., 6.]])
    """

    mean: Array
    scale: Array

    @classmethod
    def fit(cls, inputs: Array | Iterable[Array], by: str = "features") -> Standardization:
        """Fit to examples, in one pass.

        Parameters
        ----------
        inputs : array, shape (examples, ...), or an iterable of such blocks
        by : str
            ``"features"``: each feature by its own mean and standard deviation, a constant one by the scale
            1; right where features differ in unit. ``"whole"``: all by one mean and one deviation, right for
            images, whose rarely lit pixels would else be blown up. ``"none"``: nothing is changed.
        """
        moments = Moments()
        for block in [inputs] if isinstance(inputs, np.ndarray) else inputs:
            moments.add(block)
        return moments.standardization(by)

    def __call__(self, inputs: Array, dtype: str = "float64", rows: Array | None = None) -> Array:
        """Standardised inputs, shape (examples, features), in `dtype`.

        Parameters
        ----------
        inputs : array, shape (examples, ...)
        dtype : str
        rows : array of int, optional
            Which examples, in that order; by default all.
        """
        flat: Array = inputs.reshape(len(inputs), -1)
        count = len(flat) if rows is None else len(rows)
        scaled = np.empty((count, flat.shape[1]), dtype)
        narrow = self._narrow if np.can_cast(flat.dtype, np.float32) and dtype == "float32" else None
        size = max(1, _CACHED // max(1, flat.shape[1]))
        # A few rows at a time, which stay in the cache: several times as fast as passes over all of them.
        wide = np.empty((min(size, count) if narrow is None else 0, flat.shape[1]))
        for start in range(0, count, size):
            part = scaled[start : start + size]
            taken = (
                flat[start : start + size] if rows is None else flat.take(rows[start : start + size], axis=0)
            )
            if narrow is None:
                np.subtract(taken, self.mean, out=wide[: len(part)])
                np.divide(wide[: len(part)], self.scale, out=wide[: len(part)])
                part[:] = wide[: len(part)]
                continue
            mean, rest, inverse = narrow
            np.subtract(taken, mean, out=part)
            np.subtract(part, rest, out=part)
            np.multiply(part, inverse, out=part)
        return scaled

    @functools.cached_property
    def _narrow(self) -> tuple[Array, Array, Array] | None:
        """The mean in two parts and the inverse of the scale in float32; None where these lose something.

        The difference to the first part is exact where it is small (Sterbenz, 1974, "Floating-point
        computation", theorem 4.3.1), so that what is left is as exact as in float64 but for its last bits,
        and computed in a quarter of the time.
        """
        if not ((np.abs(self.mean) < _LARGE) & (self.scale < _LARGE) & (self.scale > 1 / _LARGE)).all():
            return None
        mean = self.mean.astype(np.float32)
        return mean, (self.mean - mean).astype(np.float32), (1 / self.scale).astype(np.float32)

    def undo(self, standardized: Array) -> Array:
        """Back in the original units: how a regression's predictions are given."""
        original: Array = standardized * self.scale + self.mean
        return original
