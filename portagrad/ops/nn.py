"""Ops of networks, each with its derivative in closed form; none is part of the standard."""

import math
from typing import Any

from portagrad.op import case, composite, elementwise, primitive

ALONG = (case((2, 3)), case((2, 3), axis=0), case((4,)), case((2, 3, 2), axis=1))


def linear_x(g: Any, w: Any, xp: Any) -> Any:
    return xp.matmul(g, xp.matrix_transpose(w))


def linear_w(g: Any, x: Any, xp: Any) -> Any:
    """x^T g, the axes in front of the last being one long batch."""
    if len(x.shape) != 2:
        x = xp.reshape(x, (-1, x.shape[-1]))
        g = xp.reshape(g, (-1, g.shape[-1]))
    return xp.matmul(xp.matrix_transpose(x), g)


def linear_b(g: Any, xp: Any) -> Any:
    """The sum over the batch."""
    return xp.sum(g, axis=tuple(range(len(g.shape) - 1))) if len(g.shape) != 2 else xp.sum(g, axis=0)


def linear_forward(x: Any, w: Any, b: Any, *, xp: Any) -> Any:
    y = xp.matmul(x, w)
    return y if b is None else y + b


def sigmoid_forward(x: Any, *, xp: Any) -> Any:
    """1 / (1 + exp(-x)), the exponential never of a positive number."""
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1.0, e) / (1 + e)


def softplus_forward(x: Any, *, xp: Any) -> Any:
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))


def gelu_forward(x: Any, *, approximate: bool, xp: Any) -> Any:
    """x Phi(x); Hendrycks and Gimpel (2016), "Gaussian error linear units"."""
    if approximate:
        return 0.5 * x * (1 + xp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))
    return 0.5 * x * (1 + xp.special.erf(x * math.sqrt(0.5)))


def gelu_partial(x: Any, approximate: bool, xp: Any) -> Any:
    if approximate:
        c = math.sqrt(2 / math.pi)
        t = xp.tanh(c * (x + 0.044715 * (x * x * x)))
        return 0.5 * (1 + t) + (0.5 * c) * x * (1 - t * t) * (1 + (3 * 0.044715) * (x * x))
    density = xp.exp(-0.5 * (x * x)) * (1 / math.sqrt(2 * math.pi))
    return 0.5 * (1 + xp.special.erf(x * math.sqrt(0.5))) + x * density


def silu_partial(x: Any, y: Any, xp: Any) -> Any:
    s = xp.sigmoid(x)
    return s + y * (1 - s)


def peak(x: Any, axis: Any, xp: Any) -> Any:
    """The maximum along the axis, kept; 0 where it is infinite, so that it can be subtracted."""
    top = xp.max(x, axis=axis, keepdims=True)
    return xp.where(xp.isfinite(top), top, 0.0)


def logsumexp_forward(x: Any, *, axis: Any, keepdims: bool, xp: Any) -> Any:
    top = peak(x, axis, xp)
    out = xp.log(xp.sum(xp.exp(x - top), axis=axis, keepdims=True)) + top
    if keepdims:
        return out
    ndim = len(x.shape)
    axes = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return xp.squeeze(out, axis=tuple(a % ndim for a in axes)) if ndim else out


def logsumexp_weights(x: Any, axis: Any, xp: Any) -> Any:
    """exp(x - y): what each element contributes."""
    e = xp.exp(x - peak(x, axis, xp))
    return e / xp.sum(e, axis=axis, keepdims=True)


def logsumexp_vjp(g: Any, x: Any, axis: Any, keepdims: bool, xp: Any) -> Any:
    weights = logsumexp_weights(x, axis, xp)
    if not keepdims:
        axes = range(len(x.shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        gone = {a % len(x.shape) for a in axes} if x.shape else set()
        g = xp.reshape(g, tuple(1 if i in gone else n for i, n in enumerate(x.shape)))
    return g * weights


def logsumexp_jvp(t: Any, x: Any, axis: Any, keepdims: bool, xp: Any) -> Any:
    return xp.sum(t * logsumexp_weights(x, axis, xp), axis=axis, keepdims=keepdims)


def softmax_forward(x: Any, *, axis: int, xp: Any) -> Any:
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


def softmax_rule(g: Any, y: Any, axis: int, xp: Any) -> Any:
    """(diag(y) - y y^T) g: symmetric, so one rule is both modes'."""
    return y * (g - xp.sum(g * y, axis=axis, keepdims=True))


def log_softmax_forward(x: Any, *, axis: int, xp: Any) -> Any:
    x = x - xp.max(x, axis=axis, keepdims=True)
    return x - xp.log(xp.sum(xp.exp(x), axis=axis, keepdims=True))


def log_softmax_vjp(g: Any, y: Any, axis: int, xp: Any) -> Any:
    return g - xp.exp(y) * xp.sum(g, axis=axis, keepdims=True)


def log_softmax_jvp(t: Any, y: Any, axis: int, xp: Any) -> Any:
    return t - xp.sum(xp.exp(y) * t, axis=axis, keepdims=True)


def standardize_forward(x: Any, *, eps: float, xp: Any) -> Any:
    """(x - mean) / sqrt(var + eps) over the last axis."""
    x = x - xp.mean(x, axis=-1, keepdims=True)
    return x / xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + eps)


def standardize_rule(g: Any, x: Any, y: Any, eps: float, xp: Any) -> Any:
    """(g - mean(g) - y mean(g y)) / sqrt(var + eps); symmetric, so one rule is both modes'.

    Ba, Kiros and Hinton (2016), "Layer normalization", differentiated by hand.
    """
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    spread = xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + eps)
    g = g - xp.mean(g, axis=-1, keepdims=True) - y * xp.mean(g * y, axis=-1, keepdims=True)
    return g / spread


def layer_norm_forward(x: Any, weight: Any, bias: Any, *, eps: float, xp: Any) -> Any:
    """Standardised over the last axis, then scaled and shifted."""
    y = xp.standardize(x, eps=eps)
    y = y if weight is None else xp.multiply(y, weight)
    return y if bias is None else xp.add(y, bias)


linear = primitive(
    "linear",
    "(x, w, b=None, /)",
    (linear_x, linear_w, linear_b),
    (lambda t, w, xp: xp.matmul(t, w), lambda t, x, xp: xp.matmul(x, t), lambda t: t),
    forward=linear_forward,
    holomorphic=True,
    cases=(
        case((2, 3), (3, 4), (4,)),
        case((2, 3), (3, 4), None),
        case((2, 2, 3), (3, 4), (4,)),
        case((0, 3), (3, 2), (2,)),
    ),
    since="",
    batch="affine",
    doc="An affine map, ``x @ w + b``, as one op.\n"
    "x: array; of shape (..., n)\n"
    "w: array; of shape (n, m)\n"
    "b: array; of shape (m,)\n"
    "returns: array; of shape (..., m)",
)
gate = primitive(
    "gate",
    "(x, on, /)",
    (lambda g, on, xp: xp.gate(g, on), 0),
    (lambda t, on, xp: xp.gate(t, on), 0),
    forward=lambda x, on, *, xp: xp.where(on > 0, x, 0.0),
    cases=(case((2, 3), (2, 3)),),
    dtypes="floating",
    since="",
    batch="pointwise",
    doc="Elements of one array where another is positive, 0 elsewhere.\n"
    "x: array; linear in it\n"
    "on: array; shaped as `x`, only compared with 0",
)
relu = elementwise(
    "relu",
    lambda g, y, xp: xp.gate(g, y),
    forward=lambda x, *, xp: xp.maximum(x, 0.0),
    dtypes="floating",
    since="",
    doc="The positive part, ``max(x, 0)``.\nAt 0 the derivative is taken as 0.",
)
leaky_relu = elementwise(
    "leaky_relu",
    lambda g, x, negative_slope, xp: xp.where(x > 0, g, negative_slope * g),
    signature="(x, /, negative_slope=0.01)",
    forward=lambda x, *, negative_slope, xp: xp.where(x > 0, x, negative_slope * x),
    cases=(case((4,), negative_slope=0.3),),
    dtypes="floating",
    since="",
    doc="``x`` where positive, a small multiple of it elsewhere.\n"
    "negative_slope: float; the multiple\n"
    "At 0 the derivative is `negative_slope`.",
)
elu = elementwise(
    "elu",
    lambda g, x, y, alpha, xp: xp.where(x > 0, g, g * (y + alpha)),
    signature="(x, /, alpha=1.0)",
    forward=lambda x, *, alpha, xp: xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0.0))),
    cases=(case((4,), alpha=0.5),),
    dtypes="floating",
    since="",
    doc="``x`` where positive, ``alpha * (exp(x) - 1)`` elsewhere.\n"
    "alpha: float; minus the limit at minus infinity\n"
    'Clevert, Unterthiner and Hochreiter (2015), "Fast and accurate deep network learning by ELUs".',
)
gelu = elementwise(
    "gelu",
    gelu_partial,
    signature="(x, /, approximate=False)",
    forward=gelu_forward,
    cases=(case((2, 3)), case((4,), approximate=True)),
    dtypes="floating",
    since="",
    doc="``x`` times the normal distribution function at ``x``.\n"
    "approximate: bool; whether to use the form with tanh\n"
    'Hendrycks and Gimpel (2016), "Gaussian error linear units".',
)
sigmoid = elementwise(
    "sigmoid",
    lambda y: y * (1 - y),
    forward=sigmoid_forward,
    dtypes="floating",
    since="",
    doc="Logistic function, ``1 / (1 + exp(-x))``, without overflow.",
)
silu = elementwise(
    "silu",
    silu_partial,
    forward=lambda x, *, xp: x * xp.sigmoid(x),
    dtypes="floating",
    since="",
    doc="``x * sigmoid(x)``.",
)
softplus = elementwise(
    "softplus",
    lambda x, xp: xp.sigmoid(x),
    forward=softplus_forward,
    dtypes="floating",
    since="",
    doc="``log(1 + exp(x))``, without overflow.",
)
logsumexp = primitive(
    "logsumexp",
    "(x, /, *, axis=None, keepdims=False)",
    (logsumexp_vjp,),
    (logsumexp_jvp,),
    forward=logsumexp_forward,
    cases=(case((2, 3)), case((2, 3), axis=1), case((2, 3, 2), axis=(0, 2), keepdims=True), case(())),
    dtypes="floating",
    since="",
    batch="reduction",
    doc="``log(sum(exp(x)))``, without overflow.",
)
softmax = primitive(
    "softmax",
    "(x, /, *, axis=-1)",
    (softmax_rule,),
    (softmax_rule,),
    forward=softmax_forward,
    cases=ALONG,
    dtypes="floating",
    since="",
    batch="along",
    doc="Exponentials divided by their sum along an axis, without overflow.\n"
    "returns: array; shaped as `x`, positive, its sums 1",
)
log_softmax = primitive(
    "log_softmax",
    "(x, /, *, axis=-1)",
    (log_softmax_vjp,),
    (log_softmax_jvp,),
    forward=log_softmax_forward,
    cases=ALONG,
    dtypes="floating",
    since="",
    batch="along",
    doc="Logarithm of the softmax, accurate where that is near 0.\nreturns: array; shaped as `x`",
)
standardize = primitive(
    "standardize",
    "(x, /, *, eps=1e-05)",
    (standardize_rule,),
    (lambda t, x, y, eps, xp: standardize_rule(t, x, y, eps, xp),),
    forward=standardize_forward,
    cases=(case((2, 4)), case((2, 3, 4))),
    dtypes="floating",
    since="",
    batch="trailing",
    doc="Values along the last axis with their mean taken off, over their standard deviation.\n"
    "returns: array; shaped as `x`",
)
layer_norm = composite(
    "layer_norm",
    "(x, weight=None, bias=None, /, *, eps=1e-05)",
    layer_norm_forward,
    arrays=3,
    cases=(case((2, 4), (4,), (4,)), case((2, 3, 4), (4,), None), case((3, 4), None, None)),
    since="",
    dtypes="floating",
    doc="Values standardised along the last axis, then scaled and shifted.\n"
    "x: array; of shape (..., n)\n"
    "weight: array; the scale, of shape (n,)\n"
    "bias: array; the shift, of shape (n,)\n"
    "returns: array; shaped as `x`\n"
    'Ba, Kiros and Hinton (2016), "Layer normalization".',
)
