"""Measures of predictions, equal to scikit-learn's, computed with NumPy alone."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SCORES = {"classification": "accuracy", "regression": "r2"}
"""What is measured of every run beside its loss, by its task."""
MEASURES = {
    "classification": (
        *("balanced_accuracy", "f1_macro", "f1_micro", "f1_weighted", "roc_auc", "log_loss", "top_5"),
    ),
    "regression": ("mse", "rmse", "mae"),
}
"""The single numbers that can be measured besides, by the task."""
LOWER_IS_BETTER = ("loss", "mse", "rmse", "mae", "log_loss")
SHARES = ("accuracy", "balanced_accuracy", "top_5")
"""Measures that are shares of the examples, said in percent."""


def said(value: float | None, name: str = "") -> str:
    """A measure as people read it.

    Examples
    --------
    >>> said(0.98765, "accuracy"), said(0.98765, "loss"), said(None)
    ('98.77%', '0.9877', '–')
    """
    return "–" if value is None else f"{value:.2%}" if name in SHARES else f"{value:.4g}"


def confusion_matrix(labels: Array, predictions: Array, classes: int) -> Array:
    """How many examples of each class (row) were taken for each class (column).

    Examples
    --------
    >>> confusion_matrix(np.asarray([0, 0, 1]), np.asarray([0, 1, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    pairs = np.bincount(np.asarray(labels) * classes + np.asarray(predictions), minlength=classes**2)
    return pairs.reshape(classes, classes)


def precision_recall(matrix: Array) -> tuple[Array, Array]:
    """Precision and recall of each class by a confusion matrix; 0 where nothing was predicted or is there."""
    right = np.diagonal(matrix).astype(np.float64)
    precision = right / np.maximum(matrix.sum(axis=0), 1)
    return precision, right / np.maximum(matrix.sum(axis=1), 1)


def f1(matrix: Array) -> Array:
    """The harmonic mean of precision and recall of each class; 0 where neither is above 0."""
    total = matrix.sum(axis=0) + matrix.sum(axis=1)
    each: Array = 2.0 * np.diagonal(matrix) / np.maximum(total, 1)
    return each


def roc_auc(positive: Array, scores: Array) -> float:
    """Area under the curve of true over false positives; NaN where one of the two kinds is missing.

    It is the chance that a positive example scores above a negative one, ties counted half: the statistic of
    Mann and Whitney (1947), computed by ranks.

    Examples
    --------
    >>> roc_auc(np.asarray([False, True, True]), np.asarray([0.1, 0.4, 0.1]))
    0.75
    """
    positive = np.asarray(positive, dtype=bool)
    ahead = int(positive.sum())
    behind = len(positive) - ahead
    if not ahead or not behind:
        return float("nan")
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(count) - (count - 1) / 2  # of equal scores, their mean
    return float((ranks[place][positive].sum() - ahead * (ahead + 1) / 2) / (ahead * behind))


def classification(
    labels: Array, probabilities: Array, names: Collection[str] | None = None
) -> dict[str, Any]:
    """Measures of a classifier.

    Parameters
    ----------
    labels : array of int, shape (examples,)
    probabilities : array, shape (examples, classes)
    names : collection of str, optional
        Which measures; by default all. Of many classes ``roc_auc`` takes longest.

    Returns
    -------
    dict
        ``accuracy``, ``balanced_accuracy`` (over the classes that occur), ``f1_macro``, ``f1_micro``,
        ``f1_weighted``, ``precision`` and ``recall`` (lists, by class), ``roc_auc`` (of two classes, of the
        second; of more, the mean of each against the rest), ``log_loss``, and of more than five classes
        ``top_5``. A measure that is not defined is NaN.

    Examples
    --------
    >>> measured = classification(np.asarray([0, 1]), np.asarray([[0.8, 0.2], [0.4, 0.6]]))
    >>> measured["accuracy"], measured["roc_auc"]
    (1.0, 1.0)
    """
    labels = np.asarray(labels)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    count = probabilities.shape[1]
    matrix = confusion_matrix(labels, probabilities.argmax(axis=1), count)
    there = matrix.sum(axis=1) > 0
    seen = there | (matrix.sum(axis=0) > 0)
    precision, recall = precision_recall(matrix)
    each, weights = f1(matrix), matrix.sum(axis=1)
    tiny = np.finfo(np.float64).eps  # as scikit-learn bounds them
    chosen = np.clip(probabilities[np.arange(len(labels)), labels], tiny, 1 - tiny)
    accuracy = float(np.trace(matrix) / len(labels))
    against = [1] if count == 2 else range(count)
    measures: dict[str, Callable[[], Any]] = {
        "accuracy": lambda: accuracy,
        "balanced_accuracy": lambda: float(recall[there].mean()),
        "f1_macro": lambda: float(each[seen].mean()),
        "f1_micro": lambda: accuracy,
        "f1_weighted": lambda: float(np.average(each, weights=weights)),
        "precision": precision.tolist,
        "recall": recall.tolist,
        "roc_auc": lambda: float(np.mean([roc_auc(labels == k, probabilities[:, k]) for k in against])),
        "log_loss": lambda: float(-np.log(chosen).mean()),
    }
    if count > 5:
        measures["top_5"] = lambda: top(labels, probabilities, 5)
    return {name: measure() for name, measure in measures.items() if names is None or name in names}


def top(labels: Array, scores: Array, k: int) -> float:
    """The share of examples whose class is among the `k` of highest score; of ties the later class is."""
    best = np.argsort(scores, axis=1, kind="stable")[:, ::-1][:, :k]
    return float((best == np.asarray(labels)[:, None]).any(axis=1).mean())


def regression(targets: Array, values: Array) -> dict[str, float]:
    """``mse``, ``rmse``, ``mae`` and ``r2``, of several outputs their mean.

    R2 is 1 less the squared errors' share of the squared deviations from the mean; where the targets do not
    deviate, 1 of exact predictions and 0 of others, as in scikit-learn.

    Examples
    --------
    >>> regression(np.asarray([[1.0], [3.0]]), np.asarray([[1.0], [2.0]]))["r2"]
    0.5
    """
    targets, values = np.asarray(targets, dtype=np.float64), np.asarray(values, dtype=np.float64)
    errors = values - targets
    squares, spread = (errors**2).sum(axis=0), ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
    constant = spread == 0
    r2 = 1 - squares / np.where(constant, 1, spread)
    r2 = np.where(constant, (squares == 0).astype(np.float64), r2)
    mse = float((errors**2).mean())
    each = np.sqrt((errors**2).mean(axis=0))
    return {
        "mse": mse,
        "rmse": float(each.mean()),
        "mae": float(np.abs(errors).mean()),
        "r2": float(r2.mean()),
    }
