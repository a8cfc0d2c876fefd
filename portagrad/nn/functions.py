"""Functions of networks: activations, normalisation, dropout. Each is one op, or plain code over ops."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from portagrad import random
from portagrad.device import device
from portagrad.namespace import function
from portagrad.ops import elementwise, nn
from portagrad.tensor import raw
from portagrad.trace import apply

_where = function("where")


def linear(x: Any, w: Any, b: Any = None, /) -> Any:
    """The affine map ``x @ w + b``, as one op.

    Parameters
    ----------
    x : array, shape (..., n)
    w : array, shape (n, m)
    b : array, shape (m,), optional

    Returns
    -------
    array, shape (..., m)

    Examples
    --------
    >>> linear(np.asarray([1.0, 2.0]), np.asarray([[3.0], [4.0]]), np.asarray([0.5]))
    array([11.5])
    """
    return apply(nn.linear, (x, w, b))


def relu(x: Any, /) -> Any:
    """The rectified linear unit, ``max(0, x)``; its derivative at 0 is 0.

    Nair and Hinton (2010), "Rectified linear units improve restricted Boltzmann machines".

    Examples
    --------
    >>> relu(np.asarray([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return apply(nn.relu, (x,))


def leaky_relu(x: Any, /, negative_slope: float = 0.01) -> Any:
    """``x`` where it is positive, else ``negative_slope * x``.

    Maas, Hannun and Ng (2013), "Rectifier nonlinearities improve neural network acoustic models".

    Examples
    --------
    >>> leaky_relu(np.asarray([-1.0, 2.0]))
    array([-0.01,  2.  ])
    """
    return apply(nn.leaky_relu, (x,), {"negative_slope": negative_slope})


def elu(x: Any, /, alpha: float = 1.0) -> Any:
    """The exponential linear unit: ``x`` where it is positive, else ``alpha * (exp(x) - 1)``.

    Clevert, Unterthiner and Hochreiter (2016), "Fast and accurate deep network learning by exponential linear
    units".

    Examples
    --------
    >>> elu(np.asarray([-1.0, 2.0]))
    array([-0.63212056,  2.        ])
    """
    return apply(nn.elu, (x,), {"alpha": alpha})


def gelu(x: Any, /, approximate: bool = False) -> Any:
    """The Gaussian error linear unit, ``x * Phi(x)`` with the normal distribution function Phi.

    Hendrycks and Gimpel (2016), "Gaussian error linear units".

    Parameters
    ----------
    x : array
    approximate : bool
        Their form with tanh instead: ``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))``.

    Examples
    --------
    >>> gelu(np.asarray([-1.0, 2.0]))
    array([-0.15865525,  1.95449974])
    """
    return apply(nn.gelu, (x,), {"approximate": approximate})


def silu(x: Any, /) -> Any:
    """The sigmoid linear unit, or swish: ``x * sigmoid(x)``.

    Elfwing, Uchibe and Doya (2018), "Sigmoid-weighted linear units for neural network function approximation
    in reinforcement learning".

    Examples
    --------
    >>> silu(np.asarray([-1.0, 2.0]))
    array([-0.26894142,  1.76159416])
    """
    return apply(nn.silu, (x,))


def softplus(x: Any, /) -> Any:
    """``log(1 + exp(x))``, without overflow.

    Goodfellow, Bengio and Courville (2016), "Deep Learning", eq. 3.31.

    Examples
    --------
    >>> softplus(np.asarray([0.0, 1000.0]))
    array([6.93147181e-01, 1.00000000e+03])
    """
    return apply(nn.softplus, (x,))


def sigmoid(x: Any, /) -> Any:
    """The logistic function, ``1 / (1 + exp(-x))``, without overflow.

    Goodfellow, Bengio and Courville (2016), "Deep Learning", eq. 3.30.

    Examples
    --------
    >>> sigmoid(np.asarray([0.0, -1000.0]))
    array([0.5, 0. ])
    """
    return apply(nn.sigmoid, (x,))


def tanh(x: Any, /) -> Any:
    """The hyperbolic tangent.

    Examples
    --------
    >>> tanh(np.asarray([0.0, 1.0]))
    array([0.        , 0.76159416])
    """
    return apply(elementwise.tanh, (x,))


def softmax(x: Any, /, *, axis: int = -1) -> Any:
    """Probabilities proportional to ``exp(x)`` along `axis`, without overflow.

    Goodfellow, Bengio and Courville (2016), "Deep Learning", eq. 6.29.

    Parameters
    ----------
    x : array
    axis : int
        The axis along which the results sum to 1.

    Examples
    --------
    >>> softmax(np.asarray([0.0, 1000.0]))
    array([0., 1.])
    """
    return apply(nn.softmax, (x,), {"axis": axis})


def log_softmax(x: Any, /, *, axis: int = -1) -> Any:
    """The logarithm of `softmax`, exact where that underflows.

    Goodfellow, Bengio and Courville (2016), "Deep Learning", eq. 6.30.

    Parameters
    ----------
    x : array
    axis : int
        The axis along which the softmax sums to 1.

    Examples
    --------
    >>> log_softmax(np.asarray([0.0, 1000.0]))
    array([-1000.,     0.])
    """
    return apply(nn.log_softmax, (x,), {"axis": axis})


def logsumexp(x: Any, /, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    """``log(sum(exp(x)))`` along axes, without overflow.

    Parameters
    ----------
    x : array
    axis : int or tuple of int, optional
        The axes to sum over, by default all.
    keepdims : bool
        Whether these axes stay, with length 1.

    Examples
    --------
    >>> float(logsumexp(np.asarray([1000.0, 1000.0])))
    1000.6931471805599
    """
    return apply(nn.logsumexp, (x,), {"axis": axis, "keepdims": keepdims})


def layer_norm(x: Any, weight: Any = None, bias: Any = None, /, *, eps: float = 1e-5) -> Any:
    """``(x - mean) / sqrt(var + eps) * weight + bias``, mean and (biased) variance along the last axis.

    Ba, Kiros and Hinton (2016), "Layer normalization", section 3.

    Parameters
    ----------
    x : array, shape (..., n)
    weight, bias : array, shape (n,), optional
    eps : float
        Bounds the divisor away from 0.

    Examples
    --------
    >>> layer_norm(np.asarray([1.0, 3.0]), eps=0.0)
    array([-1.,  1.])
    """
    return apply(nn.layer_norm, (x, weight, bias), {"eps": eps})


def dropout(x: Any, /, rate: float, *, key: random.Key | None = None) -> Any:
    """Elements set to 0 at random, the others scaled by ``1 / (1 - rate)`` to keep the expected value.

    Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from overfitting"; scaled in
    training ("inverted"), so that inference is the identity.

    Parameters
    ----------
    x : array
    rate : float
        Probability of 0 for each element, in [0, 1).
    key : Key, optional
        Of the mask, which is drawn on x's device and has the same bits on every one; a fresh key for each
        call. None for inference: `x` itself is returned.

    Raises
    ------
    ValueError
        If `rate` is out of range.

    Examples
    --------
    >>> dropout(np.ones(6), 0.5, key=pg.random.key(0))
    array([2., 0., 2., 0., 2., 0.])
    >>> dropout(np.ones(2), 0.5)
    array([1., 1.])
    """
    check_rate("dropout", rate)
    if key is None or rate == 0:
        return x
    kept = random.bernoulli(key, 1 - rate, tuple(x.shape), device=device(raw(x)))
    return _where(kept, x * (1 / (1 - rate)), 0.0)


def check_rate(what: str, rate: Any) -> None:
    """Refuse what is no dropout rate."""
    if not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise ValueError(f"{what}: the dropout rate must be a number in [0, 1), not {rate!r}")


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    f.__name__: f for f in (relu, leaky_relu, elu, gelu, silu, sigmoid, softplus, tanh)
}
"""The activations that go by a name, as in ``MLP.init(key, sizes, activation="gelu")``."""


def activation(name: str | Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The activation of a name; a function is returned as it is.

    Raises
    ------
    ValueError
        If there is none of that name; the message has the nearest.
    TypeError
        If `name` is neither a string nor a function.

    Examples
    --------
    >>> activation("relu") is relu
    True
    """
    if callable(name):
        return name
    if not isinstance(name, str):
        raise TypeError(f"activation: expected a name or a function, not {type(name).__name__}")
    if name not in ACTIVATIONS:
        near = get_close_matches(name.lower(), ACTIVATIONS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"activation: none is called {name!r}{hint}; there are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
