"""Losses: scalars of shape (), means over the batch."""

from __future__ import annotations

import math
from typing import Any

from portagrad.backend import KIND
from portagrad.namespace import function
from portagrad.ops import losses
from portagrad.trace import apply
from portagrad.transforms.tree import is_array

_abs, _clip, _conj, _divide, _log_softmax = map(function, ("abs", "clip", "conj", "divide", "log_softmax"))
_mean, _multiply, _negative, _one_hot = map(function, ("mean", "multiply", "negative", "one_hot"))
_real, _subtract, _sum, _where = map(function, ("real", "subtract", "sum", "where"))


def cross_entropy(logits: Any, labels: Any, /, *, weights: Any = None, label_smoothing: float = 0.0) -> Any:
    """The mean over the batch of ``-log softmax(logits)[label]``; plain, as one op.

    Goodfellow, Bengio and Courville (2016), "Deep Learning", eq. 6.30, without overflow. With weights it is
    the mean weighted by ``weights[label]``. With smoothing e, the label's distribution is ``1 - e`` at the
    label and ``e / classes`` more everywhere (Szegedy et al., 2016, "Rethinking the Inception architecture
    for computer vision", section 7), in which a class counts by its weight; all as in torch.

    Parameters
    ----------
    logits : array, shape (..., classes)
        Unnormalised log-probabilities.
    labels : integer array, shape (...)
        From 0 to classes - 1, on the device of `logits`. Other numbers raise on NumPy, and elsewhere, and
        with weights or smoothing, make the loss NaN: to look at them on a GPU would wait for it.
    weights : array, shape (classes,), optional
        Not negative, of the dtype and on the device of `logits`.
    label_smoothing : float
        From 0 to 1.

    Returns
    -------
    array, shape ()
        NaN where the weights of all labels are 0.

    Raises
    ------
    TypeError
        If labels are not integers.
    ValueError
        If shapes do not match, or the smoothing is out of its range.
    IndexError
        If a label is no class, on NumPy.

    Examples
    --------
    >>> logits, labels = np.asarray([[0.0, 0.0], [0.0, 50.0]]), np.asarray([0, 1])
    >>> float(cross_entropy(logits, labels))
    0.34657359027997264
    >>> float(cross_entropy(logits, labels, weights=np.asarray([3.0, 1.0])))
    0.5198603854199589
    """
    if weights is None and label_smoothing == 0:
        return _plain(logits, labels)
    return _divide(*cross_entropy_sum(logits, labels, weights=weights, label_smoothing=label_smoothing))


def cross_entropy_sum(
    logits: Any, labels: Any, /, *, weights: Any = None, label_smoothing: float = 0.0
) -> tuple[Any, Any]:
    """`cross_entropy` as the sum of the weighted losses and the sum of the weights.

    A mean over a batch is no mean of the means over its slices where examples differ in weight; the quotient
    of the two sums over all slices is.

    Parameters
    ----------
    logits, labels, weights, label_smoothing
        As for `cross_entropy`.

    Returns
    -------
    (array, array or int)
        The loss, of shape (), and the labels' weights; without weights, the number of labels.

    Examples
    --------
    >>> logits, labels = np.zeros((3, 2)), np.asarray([0, 1, 1])
    >>> loss, weight = cross_entropy_sum(logits, labels, weights=np.asarray([2.0, 1.0]))
    >>> float(loss / weight), float(weight)
    (0.6931471805599453, 4.0)
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be from 0 to 1, not {label_smoothing}")
    if not (is_array(logits) and is_array(labels)):
        _plain(logits, labels)  # which says what is wrong with them
    if weights is None and label_smoothing == 0:
        count = math.prod(labels.shape)
        return _multiply(_plain(logits, labels), float(count)) if count else _sum(logits), count
    _check_labels(logits.shape, labels.shape, labels.dtype)
    classes = logits.shape[-1]
    if weights is not None and tuple(weights.shape) != (classes,):
        raise ValueError(
            f"cross_entropy: {classes} classes need weights of shape ({classes},), not {tuple(weights.shape)}"
        )
    # A label that is no class makes 0 / 0, and so the loss NaN.
    hot = _one_hot(labels, like=logits.dtype, classes=classes)
    hot = _divide(hot, _sum(hot, axis=-1, keepdims=True))
    target = (1 - label_smoothing) * hot + label_smoothing / classes
    # A class of no probability adds 0, also where its logarithm is infinite.
    surprise = _negative(_where(target != 0, _log_softmax(logits, axis=-1), 0.0))
    if weights is None:
        return _sum(_multiply(target, surprise)), math.prod(labels.shape)
    return _sum(_multiply(_multiply(target, weights), surprise)), _sum(_multiply(hot, weights))


def _plain(logits: Any, labels: Any) -> Any:
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


def mae(predictions: Any, targets: Any, /) -> Any:
    """The mean of ``|predictions - targets|``, whose derivative is 0 where they agree.

    Parameters
    ----------
    predictions, targets : array
        Of one shape.

    Returns
    -------
    array, shape ()

    Raises
    ------
    ValueError
        If shapes differ.

    Examples
    --------
    >>> float(mae(np.asarray([1.0, 2.0]), np.asarray([1.0, 4.0])))
    1.0
    """
    _check_shapes("mae", "predictions", predictions, "targets", targets)
    return _mean(_abs(_subtract(predictions, targets)))


def huber(predictions: Any, targets: Any, /, *, delta: float = 1.0) -> Any:
    """The mean of half the squared errors, which beyond an error of `delta` go on along straight lines.

    ``e**2 / 2`` where ``|e| <= delta``, else ``delta * (|e| - delta / 2)``: Huber (1964), "Robust estimation
    of a location parameter".

    Parameters
    ----------
    predictions, targets : array
        Of one shape, real.
    delta : float
        Above 0.

    Returns
    -------
    array, shape ()

    Raises
    ------
    ValueError
        If shapes differ, or `delta` is not above 0.

    Examples
    --------
    >>> float(huber(np.asarray([1.0, 5.0]), np.asarray([0.0, 0.0]), delta=2.0))
    4.25
    """
    _check_shapes("huber", "predictions", predictions, "targets", targets)
    if not delta > 0:
        raise ValueError(f"huber: delta must be above 0, not {delta}")
    error = _subtract(predictions, targets)
    near = _clip(error, -delta, delta)
    return _mean(near * (error - 0.5 * near))


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
