"""Initial weights: functions of a key and a shape, the same bits on every backend and device.

Each function here makes an initialiser, ``init(key, shape, *, dtype=None, device=None)``, which draws a raw
array on `device` (by default the one in force), float32 (by default) or float64. Weights have the shape
``(inputs, outputs)``, as in ``x @ W``; axes before these two, such as those of a convolution's window,
multiply both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np

from portagrad import random
from portagrad.random.draw import Draw, Shape
from portagrad.random.threefry import Key

_Sample = Callable[..., Any]


class Initializer(Protocol):
    """Makes initial weights."""

    def __call__(self, key: Key, shape: Shape, *, dtype: Any = None, device: Any = None) -> Any:
        """The weights of a shape, drawn with `key`."""
        ...


def glorot_normal(gain: float = 1.0) -> Initializer:
    """Normal with variance ``gain**2 * 2 / (inputs + outputs)``, for tanh and sigmoid.

    A compromise between keeping the variance of activations and of gradients (Glorot and Bengio, 2010,
    "Understanding the difficulty of training deep feedforward neural networks").

    Examples
    --------
    >>> glorot_normal()(random.key(0), (2, 3)).shape
    (2, 3)
    """
    return partial(_scaled, "glorot_normal", _sample_normal, _mean_fan, gain**2)


def glorot_uniform(gain: float = 1.0) -> Initializer:
    """Uniform about 0 with the variance of `glorot_normal`, and the same `gain`.

    Examples
    --------
    >>> bool(abs(glorot_uniform()(random.key(0), (2, 4))).max() <= 1)
    True
    """
    return partial(_scaled, "glorot_uniform", _sample_uniform, _mean_fan, gain**2)


def he_normal(negative_slope: float = 0.0) -> Initializer:
    """Normal with variance ``2 / ((1 + negative_slope**2) * inputs)``, for relu and leaky relu.

    Keeps the variance of activations (He et al., 2015, "Delving deep into rectifiers", equations 10 and 15);
    `negative_slope` is that of the activation after the layer.

    Examples
    --------
    >>> he_normal()(random.key(0), (2, 3)).shape
    (2, 3)
    """
    return partial(_scaled, "he_normal", _sample_normal, _fan_in, 2 / (1 + negative_slope**2))


def he_uniform(negative_slope: float = 0.0) -> Initializer:
    """Uniform about 0 with the variance of `he_normal`, and the same `negative_slope`.

    Examples
    --------
    >>> bool(abs(he_uniform()(random.key(0), (6, 4))).max() <= 1)
    True
    """
    return partial(_scaled, "he_uniform", _sample_uniform, _fan_in, 2 / (1 + negative_slope**2))


def lecun_normal() -> Initializer:
    """Normal with variance ``1 / inputs``, for linear layers and selu.

    LeCun et al. (1998), "Efficient backprop", section 4.6.

    Examples
    --------
    >>> lecun_normal()(random.key(0), (2, 3)).shape
    (2, 3)
    """
    return partial(_scaled, "lecun_normal", _sample_normal, _fan_in, 1.0)


def lecun_uniform() -> Initializer:
    """Uniform about 0 with the variance of `lecun_normal`.

    Examples
    --------
    >>> bool(abs(lecun_uniform()(random.key(0), (3, 4))).max() <= 1)
    True
    """
    return partial(_scaled, "lecun_uniform", _sample_uniform, _fan_in, 1.0)


def orthogonal(gain: float = 1.0) -> Initializer:
    """`gain` times a matrix with orthonormal columns, or rows where there are fewer, uniformly distributed.

    The Q of a normal matrix's QR decomposition, with R's diagonal made positive (Mezzadri, 2007, "How to
    generate random matrices from the classical compact groups"). The decomposition is NumPy's, on the host
    and in float64, whatever the device: all devices of a machine get the same bits, while machines with
    different builds of LAPACK can differ in the last one.

    Examples
    --------
    >>> w = orthogonal()(random.key(0), (3, 2), dtype="float64")
    >>> bool(np.allclose(w.T @ w, np.eye(2)))
    True
    """
    return partial(_orthogonal, gain)


def normal(std: float = 0.01, mean: float = 0.0) -> Initializer:
    """Normal with a given standard deviation.

    Examples
    --------
    >>> normal(std=1.0)(random.key(0), 2)
    array([-0.20584214,  0.25463915], dtype=float32)
    """
    return partial(random.normal, mean=mean, std=std)


def uniform(minval: float = -0.01, maxval: float = 0.01) -> Initializer:
    """Uniform between two bounds.

    Examples
    --------
    >>> uniform(0, 1)(random.key(0), 2)
    array([0.4184571 , 0.60049903], dtype=float32)
    """
    return partial(random.uniform, minval=minval, maxval=maxval)


def zeros() -> Initializer:
    """All 0, for biases.

    Examples
    --------
    >>> zeros()(random.key(0), 2)
    array([0., 0.], dtype=float32)
    """
    return constant(0.0)


def ones() -> Initializer:
    """All 1, for scales.

    Examples
    --------
    >>> ones()(random.key(0), 2)
    array([1., 1.], dtype=float32)
    """
    return constant(1.0)


def constant(value: float) -> Initializer:
    """All of one value; the key is not used.

    Examples
    --------
    >>> constant(0.5)(random.key(0), 2)
    array([0.5, 0.5], dtype=float32)
    """
    return partial(_full, value)


def _scaled(
    what: str,
    sample: _Sample,
    fan: Callable[[int, int], float],
    scale: float,
    key: Key,
    shape: Shape,
    *,
    dtype: Any = None,
    device: Any = None,
) -> Any:
    rows, columns = _matrix(what, shape)
    return sample(key, shape, math.sqrt(scale / max(fan(rows, columns), 1)), dtype=dtype, device=device)


def _sample_normal(key: Key, shape: Shape, std: float, **at: Any) -> Any:
    return random.normal(key, shape, std=std, **at)


def _sample_uniform(key: Key, shape: Shape, std: float, **at: Any) -> Any:
    bound = math.sqrt(3) * std
    return random.uniform(key, shape, minval=-bound, maxval=bound, **at)


def _fan_in(inputs: int, outputs: int) -> float:
    return inputs


def _mean_fan(inputs: int, outputs: int) -> float:
    return (inputs + outputs) / 2


def _orthogonal(gain: float, key: Key, shape: Shape, *, dtype: Any = None, device: Any = None) -> Any:
    draw = Draw("orthogonal", key, shape, device)
    dtype = draw.floating(dtype)
    _matrix("orthogonal", shape)
    rows, columns = math.prod(draw.shape[:-1]), draw.shape[-1]
    tall = (max(rows, columns), min(rows, columns))
    q, r = np.linalg.qr(random.normal(key, tall, dtype="float64", device="cpu"))
    q *= np.where(np.diagonal(r) < 0, -gain, gain)
    host = (q if rows >= columns else q.T).reshape(draw.shape)
    with draw.guard:
        return draw.from_numpy(np.ascontiguousarray(host, dtype=f"float{draw.width}"))


def _full(value: float, key: Key, shape: Shape, *, dtype: Any = None, device: Any = None) -> Any:
    draw = Draw("constant", key, shape, device)
    dtype = draw.floating(dtype)
    with draw.guard:
        return draw.xp.full(draw.shape, value, dtype=dtype, device=draw.device.native)


def _matrix(what: str, shape: Shape) -> tuple[int, int]:
    """How many inputs and outputs weights of `shape` have."""
    if isinstance(shape, int) or len(shape) < 2:
        raise ValueError(
            f"{what}: weights have at least two axes, (inputs, outputs), not shape {shape}; "
            "for a vector, such as a bias, use zeros() or normal(std)"
        )
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]
