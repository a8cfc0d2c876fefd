"""Layers: modules that hold weights, or draw random numbers."""

from __future__ import annotations

import operator
from typing import Any, Self

from portagrad import random
from portagrad.namespace import creation, function
from portagrad.nn.functions import check_rate, dropout, layer_norm
from portagrad.nn.initializers import Initializer, glorot_uniform, ones, zeros
from portagrad.nn.module import Module, static
from portagrad.ops import nn
from portagrad.trace import apply
from portagrad.transforms.custom import stop_gradient

_ANY = random.key(0)  # initialisers take a key, also those that draw nothing
_ones_like, _zeros_like = creation("ones_like"), creation("zeros_like")
_add, _divide, _mean, _multiply, _sqrt, _subtract = map(
    function, ("add", "divide", "mean", "multiply", "sqrt", "subtract")
)


class Linear(Module):
    """The affine map ``x @ weight + bias``.

    Attributes
    ----------
    weight : array, shape (n_in, n_out)
    bias : array, shape (n_out,), or None

    Examples
    --------
    >>> layer = Linear.init(pg.random.key(0), 3, 2)
    >>> layer
    Linear(weight=float32[3, 2], bias=float32[2])
    >>> layer(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    weight: Any
    bias: Any = None

    @classmethod
    def init(
        cls,
        key: random.Key,
        n_in: int,
        n_out: int,
        *,
        bias: bool = True,
        initializer: Initializer | None = None,
        dtype: Any = None,
        device: Any = None,
    ) -> Self:
        """A layer with random weights and a bias of zeros, the same bits on every backend and device.

        Parameters
        ----------
        key : Key
        n_in, n_out : int
            Lengths of the last axis of what goes in and of what comes out.
        bias : bool
            Whether there is one.
        initializer : callable, optional
            Of the weights; ``nn.glorot_uniform()`` by default.
        dtype : dtype or str, optional
            float32 by default.
        device : Device or str, optional
            The device in force by default.

        Raises
        ------
        TypeError, ValueError
            If a size is no positive integer.
        """
        n_in, n_out = check_size(f"{cls.__name__}.init", n_in), check_size(f"{cls.__name__}.init", n_out)
        draw = initializer or glorot_uniform()
        weight = draw(key, (n_in, n_out), dtype=dtype, device=device)
        return cls(weight, zeros()(key, (n_out,), dtype=dtype, device=device) if bias else None)

    def __call__(self, x: Any) -> Any:
        """``x @ weight + bias`` for x of shape (..., n_in)."""
        try:
            return apply(nn.linear, (x, self.weight, self.bias))
        except Exception as error:  # libraries say it in many ways; asking before would cost every call
            *_, n_in, n_out = self.weight.shape
            shape = tuple(getattr(x, "shape", ()))
            if shape and shape[-1] == n_in:
                raise
            raise ValueError(
                f"Linear({n_in}, {n_out}): takes arrays of shape (..., {n_in}), not {shape}"
            ) from error


class LayerNorm(Module):
    """`layer_norm` with its weight and bias: each sample standardised over its features.

    Ba, Kiros and Hinton (2016), "Layer normalization".

    Attributes
    ----------
    weight, bias : array, shape (n,), or None
    eps : float

    Examples
    --------
    >>> LayerNorm.init(2)(np.asarray([[1.0, 3.0]], np.float32)).round(3)
    array([[-1.,  1.]], dtype=float32)
    """

    weight: Any
    bias: Any
    eps: float = static(default=1e-5)

    @classmethod
    def init(cls, n: int, *, eps: float = 1e-5, dtype: Any = None, device: Any = None) -> Self:
        """A layer for `n` features, its weight ones and its bias zeros; float32 by default."""
        n = check_size(f"{cls.__name__}.init", n)
        at = {"dtype": dtype, "device": device}
        return cls(ones()(_ANY, (n,), **at), zeros()(_ANY, (n,), **at), eps)

    def __call__(self, x: Any) -> Any:
        """x of shape (..., n), standardised over the last axis, scaled and shifted."""
        return layer_norm(x, self.weight, self.bias, eps=self.eps)


class BatchNormState(Module):
    """What `BatchNorm` has seen: the running mean and variance of each feature.

    Attributes
    ----------
    mean, variance : array, shape (n,)
    """

    mean: Any
    variance: Any


class BatchNorm(Module):
    """Each feature standardised over the batch, scaled and shifted; its state goes in and comes out.

    Ioffe and Szegedy (2015), "Batch normalization: accelerating deep network training by reducing internal
    covariate shift", algorithm 1; inference uses the running statistics, as their algorithm 2. As in torch,
    the batch is normalised by the biased variance, while the running one averages the unbiased.

    Attributes
    ----------
    weight, bias : array, shape (n,)
    momentum : float
        The share of the batch in the running statistics.
    eps : float

    Examples
    --------
    >>> norm = BatchNorm.init(2)
    >>> state = norm.initial_state()
    >>> x = np.asarray([[1.0, 10.0], [3.0, 30.0]], np.float32)
    >>> y, state = norm(x, state)
    >>> y.round(3), state.mean
    (array([[-1., -1.],
           [ 1.,  1.]], dtype=float32), array([0.2, 2. ], dtype=float32))
    >>> y, state = norm(x, state, train=False)
    """

    weight: Any
    bias: Any
    momentum: float = static(default=0.1)
    eps: float = static(default=1e-5)

    @classmethod
    def init(
        cls, n: int, *, momentum: float = 0.1, eps: float = 1e-5, dtype: Any = None, device: Any = None
    ) -> Self:
        """A layer for `n` features, its weight ones and its bias zeros; float32 by default."""
        n = check_size(f"{cls.__name__}.init", n)
        at = {"dtype": dtype, "device": device}
        return cls(ones()(_ANY, (n,), **at), zeros()(_ANY, (n,), **at), momentum, eps)

    def initial_state(self) -> BatchNormState:
        """Mean 0 and variance 1, where the weights are."""
        return BatchNormState(_zeros_like(self.weight), _ones_like(self.weight))

    def __call__(self, x: Any, state: BatchNormState, *, train: bool = True) -> tuple[Any, BatchNormState]:
        """Normalise a batch.

        Parameters
        ----------
        x : array, shape (..., n)
            All axes but the last are the batch.
        state : BatchNormState
        train : bool
            Whether to use, and to record, the statistics of the batch; else those of `state`.

        Returns
        -------
        y : array
            Of x's shape.
        state : BatchNormState
            The new one; constant to every differentiation.

        Raises
        ------
        ValueError
            If a batch to train on has less than two samples.
        """
        if not train:
            return self._affine(_subtract(x, state.mean), state.variance), state
        axes = tuple(range(len(x.shape) - 1))
        count = 1
        for i in axes:
            count *= x.shape[i]
        if count < 2:
            raise ValueError(
                f"BatchNorm: a batch of {count} has no variance (x has shape {tuple(x.shape)}); "
                f"train on two samples or more, or pass train=False"
            )
        mean = _mean(x, axis=axes)
        centred = _subtract(x, mean)
        variance = _mean(centred * centred, axis=axes)
        seen = BatchNormState(mean, variance * (count / (count - 1)))
        return self._affine(centred, variance), self._mixed(state, stop_gradient(seen))

    def _affine(self, centred: Any, variance: Any) -> Any:
        return _add(_multiply(_divide(centred, _sqrt(variance + self.eps)), self.weight), self.bias)

    def _mixed(self, old: BatchNormState, new: BatchNormState) -> BatchNormState:
        part = self.momentum
        return BatchNormState(
            _add(old.mean * (1 - part), new.mean * part),
            _add(old.variance * (1 - part), new.variance * part),
        )


class Dropout(Module):
    """`dropout` as a layer: called with a key in training, without one in inference.

    Attributes
    ----------
    rate : float

    Examples
    --------
    >>> Dropout(0.5)(np.ones(4), key=pg.random.key(0))
    array([2., 0., 2., 0.])
    """

    rate: float = static()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate(type(self).__name__, self.rate)

    def __call__(self, x: Any, *, key: random.Key | None = None) -> Any:
        """`x` with elements dropped, or `x` itself if there is no key."""
        return dropout(x, self.rate, key=key)


def check_size(what: str, n: Any) -> int:
    """A size as an int."""
    try:
        n = operator.index(n)
    except TypeError:
        raise TypeError(f"{what}: sizes must be integers, not {n!r} ({type(n).__name__})") from None
    if n < 1:
        raise ValueError(f"{what}: sizes must be 1 or more, not {n}")
    return int(n)
