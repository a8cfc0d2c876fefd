"""Losses of networks, means over the batch, and what their derivatives need."""

import math
from typing import Any

from portagrad.op import Filled, case, composite, constant, primitive
from portagrad.ops.nn import softmax_rule


def one_hot_forward(labels: Any, *, like: Any, classes: int, xp: Any) -> Any:
    """Ones where the class is the label, in the dtype `like`."""
    classes_ = xp.arange(classes, dtype=labels.dtype, device=xp.backend.device_of(labels))
    return xp.astype(xp.expand_dims(labels, axis=-1) == classes_, like)


def cross_entropy_forward(logits: Any, labels: Any, *, xp: Any) -> Any:
    """Mean over the batch of -log softmax(logits)[label]; NaN where a label is no class."""
    if tuple(labels.shape) != tuple(logits.shape[:-1]) or not logits.shape:
        raise ValueError(
            f"cross_entropy: logits of shape {tuple(logits.shape)} need labels of shape "
            f"{tuple(logits.shape[:-1])}, not {tuple(labels.shape)}"
        )
    hot = xp.one_hot(labels, like=logits.dtype, classes=logits.shape[-1])
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    total = xp.log(xp.sum(xp.exp(shifted), axis=-1))
    picked = xp.sum(xp.where(hot > 0, shifted, 0.0), axis=-1) / xp.sum(hot, axis=-1)
    return xp.mean(total - picked)


def cross_entropy_slope(logits: Any, labels: Any, *, xp: Any) -> Any:
    """(softmax(logits) - one_hot(labels)) / n."""
    hot = xp.one_hot(labels, like=logits.dtype, classes=logits.shape[-1])
    return (xp.softmax(logits, axis=-1) - hot) / max(1, math.prod(logits.shape[:-1]))


def cross_entropy_vjp(g: Any, logits: Any, labels: Any, slope: Any, xp: Any) -> Any:
    return g * (xp.cross_entropy_slope(logits, labels) if slope is None else slope)


def cross_entropy_slope_rule(g: Any, logits: Any, xp: Any) -> Any:
    """The Hessian of the mean loss: the softmax's own derivative, over n."""
    y = xp.softmax(logits, axis=-1)
    return softmax_rule(g, y, -1, xp) / max(1, math.prod(logits.shape[:-1]))


def binary_cross_entropy_forward(logits: Any, targets: Any, *, xp: Any) -> Any:
    """Mean of -t log s(x) - (1 - t) log(1 - s(x)), written as softplus(x) - t x."""
    return xp.mean(xp.subtract(xp.softplus(logits), xp.multiply(targets, logits)))


one_hot = constant(
    "one_hot",
    "(labels, /, *, like, classes)",
    forward=one_hot_forward,
    since="",
    batch="trailing",
    doc="Ones at the labels' places, zeros elsewhere.\n"
    "labels: array; integers from 0 to ``classes - 1``, of any shape\n"
    "like: dtype; of the result\n"
    "classes: int; length of the new last axis",
)
cross_entropy = primitive(
    "cross_entropy",
    "(logits, labels, /)",
    (cross_entropy_vjp, None),
    (lambda t, logits, labels, xp: xp.sum(t * xp.cross_entropy_slope(logits, labels)), None),
    forward=cross_entropy_forward,
    byproduct="slope",
    cases=(case((4, 3), Filled((4,), 3)), case((3,), Filled((), 3)), case((2, 2, 3), Filled((2, 2), 3))),
    dtypes="floating",
    since="",
    batch="composed",
    doc="Mean cross-entropy of class scores and true classes.\n"
    "logits: array; scores before the softmax, of shape (..., classes)\n"
    "labels: array; integers from 0 to ``classes - 1``, of the shape of `logits` without its last axis\n"
    "returns: array; of shape ()",
)
cross_entropy_slope_ = primitive(
    "cross_entropy_slope",
    "(logits, labels, /)",
    (cross_entropy_slope_rule, None),
    (lambda t, logits, xp: cross_entropy_slope_rule(t, logits, xp), None),
    forward=cross_entropy_slope,
    cases=(case((4, 3), Filled((4,), 3)),),
    dtypes="floating",
    since="",
    batch="composed",
    doc="Gradient of `cross_entropy` with respect to its scores.\n"
    "logits: array; of shape (..., classes)\n"
    "labels: array; integers, of the shape of `logits` without its last axis\n"
    "returns: array; shaped as `logits`",
)
cross_entropy_and_slope = constant(
    "cross_entropy_and_slope",
    "(logits, labels, /)",
    arrays=2,
    outputs=("y", "slope"),
    result=lambda *parts: parts,
    forward=lambda logits, labels, *, xp: (
        xp.cross_entropy(logits, labels),
        xp.cross_entropy_slope(logits, labels),
    ),
    since="",
    dtypes="floating",
    batch="composed",
    doc="The mean cross-entropy and its gradient, for compiled graphs: an adapter's kernel shares the work.",
)
binary_cross_entropy = composite(
    "binary_cross_entropy",
    "(logits, targets, /)",
    binary_cross_entropy_forward,
    arrays=2,
    cases=(case((4,), (4,)), case((2, 3), (2, 3))),
    since="",
    dtypes="floating",
    doc="Mean binary cross-entropy of scores and probabilities.\n"
    "logits: array; scores before the sigmoid, of any shape\n"
    "targets: array; from 0 to 1, shaped as `logits`\n"
    "returns: array; of shape ()",
)
