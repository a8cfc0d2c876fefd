"""The split of a data set in memory, and the weights of its classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from portagrad import random
from portagrad.data.dataset import Array
from portagrad.data.files import hint, shown
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


def class_weights(
    asked: str | Sequence[float] | Mapping[str, float], counts: Array, names: Sequence[str]
) -> Array:
    """How much an example of each class weighs in the loss.

    Parameters
    ----------
    asked : str, sequence or mapping
        ``"balanced"``: ``examples / (classes * counts)``, scikit-learn's formula, after G. King, L. Zeng,
        "Logistic regression in rare events data" (2001); by it all classes weigh the same in total. Or the
        weights in the order of `names`, or by name, 1 for a name that is left out.
    counts : array of int64, shape (classes,)
        Training examples of each class.
    names : sequence of str

    Returns
    -------
    array of float64, shape (classes,)

    Raises
    ------
    DataError
        If a weight is missing, negative or not finite, a name is no class, or a class to be balanced has no
        training example.

    Examples
    --------
    >>> class_weights("balanced", np.asarray([6, 2]), ["no", "yes"])
    array([0.66666667, 2.        ])
    >>> class_weights({"yes": 3.0}, np.asarray([6, 2]), ["no", "yes"])
    array([1., 3.])
    """
    if isinstance(asked, str):
        if asked != "balanced":
            raise DataError(f'class weights are "balanced", a list or a table by name, not {shown(asked)}')
        if (counts == 0).any():
            empty = shown(names[int(np.argmin(counts))])
            raise DataError(f"class {empty} has no training example, so no weight balances it")
        balanced: Array = counts.sum() / (len(counts) * counts)
        return balanced
    if isinstance(asked, Mapping):
        for name in asked:
            if name not in names:
                near = hint(name, list(names))
                raise DataError(f"class weights: {shown(name)} is none of the {len(names)} classes{near}")
        asked = [asked.get(name, 1.0) for name in names]
    weights = np.asarray(asked, dtype=np.float64)
    if weights.shape != (len(names),):
        raise DataError(f"class weights: {len(weights)} weights for {len(names)} classes")
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise DataError("class weights must be finite and not negative, and one at least above 0")
    return weights
