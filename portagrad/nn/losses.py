"""Losses: scalars of shape (), means over the batch."""

from __future__ import annotations

from typing import Any

from portagrad.backend import KIND
from portagrad.namespace import function
from portagrad.ops import losses
from portagrad.trace import apply
from portagrad.transforms.tree import is_array

_conj, _mean, _real, _subtract = map(function, ("conj", "mean", "real", "subtract"))


def cross_entropy(logits: Any, labels: Any, /) -> Any:
    """The mean over the batch of ``-log softmax(logits)[label]``, as one op.

    Goodfellow, Bengio and Courville (2016), "Deep Learning", eq. 6.30, without overflow.

    Parameters
    ----------
    logits : array, shape (..., classes)
        Unnormalised log-probabilities.
    labels : integer array, shape (...)
        From 0 to classes - 1, on the device of `logits`. Other numbers raise on NumPy, and elsewhere make the
        loss NaN: to look at them on a GPU would wait for it.

    Returns
    -------
    array, shape ()

    Raises
    ------
    TypeError
        If labels are not integers.
    ValueError
        If shapes do not match.
    IndexError
        If a label is no class, on NumPy.

    Examples
    --------
    >>> float(cross_entropy(np.asarray([[0.0, 0.0], [0.0, 50.0]]), np.asarray([0, 1])))
    0.34657359027997264
    """
    try:
        return apply(losses.cross_entropy, (logits, labels))
    except Exception:  # the libraries notice, each in its words; asking before would cost every call
        if is_array(logits) and is_array(labels):
            _check_labels(logits.shape, labels.shape, labels.dtype)
        raise


def binary_cross_entropy(logits: Any, targets: Any, /) -> Any:
    """The mean of ``-t log sigmoid(x) - (1 - t) log(1 - sigmoid(x))`` over logits x and targets t.

    Computed as ``softplus(x) - t x``, without overflow (Goodfellow, Bengio and Courville, 2016, "Deep
    Learning", section 6.2.2.2).

    Parameters
    ----------
    logits, targets : array
        Of one shape; targets are probabilities, from 0 to 1, of the logits' dtype.

    Returns
    -------
    array, shape ()

    Raises
    ------
    ValueError
        If shapes differ.

    Examples
    --------
    >>> float(binary_cross_entropy(np.asarray([0.0, 50.0]), np.asarray([1.0, 1.0])))
    0.34657359027997264
    """
    _check_shapes("binary_cross_entropy", "logits", logits, "targets", targets)
    return apply(losses.binary_cross_entropy, (logits, targets))


def mse(predictions: Any, targets: Any, /) -> Any:
    """The mean of ``|predictions - targets|**2``.

    Goodfellow, Bengio and Courville (2016), "Deep Learning", eq. 5.4.

    Parameters
    ----------
    predictions, targets : array
        Of one shape: nothing is broadcast, since ``(n, 1)`` against ``(n,)`` is nearly always an accident.

    Returns
    -------
    array, shape ()

    Raises
    ------
    ValueError
        If shapes differ.

    Examples
    --------
    >>> float(mse(np.asarray([1.0, 2.0]), np.asarray([1.0, 4.0])))
    2.0
    """
    _check_shapes("mse", "predictions", predictions, "targets", targets)
    error = _subtract(predictions, targets)
    return _mean(error * error if KIND[error.dtype] < 2 else _real(_conj(error) * error))


def _check_labels(logits: Any, labels: Any, dtype: Any) -> None:
    if not logits:
        raise ValueError("cross_entropy: logits have shape (); they need a last axis, one number per class")
    if labels != logits[:-1]:
        raise ValueError(
            f"cross_entropy: logits of shape {tuple(logits)} need labels of shape {tuple(logits[:-1])}, not "
            f"{tuple(labels)}; labels are numbers of classes, of one-hot rows pg.argmax(labels, axis=-1)"
        )
    if KIND[dtype]:
        raise TypeError(
            f"cross_entropy: labels must be integers, the numbers of classes, not {dtype}; "
            f"cast them, for example pg.astype(labels, xp.int64)"
        )


def _check_shapes(what: str, first: str, x1: Any, second: str, x2: Any) -> None:
    if is_array(x1) and is_array(x2) and tuple(x1.shape) != tuple(x2.shape):
        raise ValueError(
            f"{what}: {first} have shape {tuple(x1.shape)}, {second} {tuple(x2.shape)}; "
            f"they must agree, for example {second} = pg.reshape({second}, {first}.shape)"
        )
