"""Modules made of modules: Sequential, MLP, and functions as layers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Self

from portagrad import random
from portagrad.nn.functions import activation as find_activation
from portagrad.nn.functions import check_rate, dropout, elu, gelu, leaky_relu, relu, silu
from portagrad.nn.initializers import Initializer, glorot_uniform, he_normal
from portagrad.nn.layers import Linear, check_size
from portagrad.nn.module import Module, static

_RECTIFIERS = (relu, leaky_relu, elu, gelu, silu)


class Function(Module):
    """A function `f` of an array as a layer, without weights; what `Sequential` makes of ``nn.relu``.

    Examples
    --------
    >>> Function(abs)(np.asarray([-1.0]))
    array([1.])
    """

    f: Callable[[Any], Any] = static()

    def __call__(self, x: Any) -> Any:
        """``f(x)``."""
        return self.f(x)

    def __repr__(self) -> str:
        return str(getattr(self.f, "__name__", self.f))


class Sequential(Module):
    """Layers applied one after the other.

    Parameters
    ----------
    *layers : Module or callable
        Functions of an array, such as ``nn.relu``, become layers.

    Attributes
    ----------
    layers : tuple of Module

    Examples
    --------
    >>> first, second = pg.random.split(pg.random.key(0))
    >>> model = Sequential(Linear.init(first, 4, 8), pg.nn.tanh, Linear.init(second, 8, 2))
    >>> model(np.ones((5, 4), np.float32)).shape
    (5, 2)
    """

    layers: tuple[Any, ...]

    def __init__(self, *layers: Any) -> None:
        object.__setattr__(self, "layers", layers)
        self.__post_init__()

    def __post_init__(self) -> None:
        for i, layer in enumerate(self.layers):
            if not callable(layer):
                raise TypeError(
                    f"Sequential: layer {i} is {layer!r} ({type(layer).__name__}), neither a module nor a "
                    f"function; write Sequential(first, second, ...)"
                )
            if takes(layer, "state"):
                raise TypeError(
                    f"Sequential: layer {i}, {type(layer).__name__}, takes and returns a state, "
                    f"which Sequential does not pass on; write a module of your own that does"
                )
        layers = tuple([x if isinstance(x, Module) else Function(x) for x in self.layers])
        object.__setattr__(self, "layers", layers)

    def __call__(self, x: Any, *, key: random.Key | None = None) -> Any:
        """The last layer's result; each layer that takes a key is given its own, made of `key`."""
        for i, layer in enumerate(self.layers):
            x = layer(x, key=random.fold_in(key, i)) if key and takes(layer, "key") else layer(x)
        return x


class MLP(Module):
    """A multilayer perceptron: linear layers, with an activation and dropout between them.

    Goodfellow, Bengio and Courville (2016), "Deep Learning", chapter 6.

    Attributes
    ----------
    layers : tuple of Linear
    activation : callable
        A name is looked up in ``nn.ACTIVATIONS``.
    dropout : float
        The rate after each activation.

    Examples
    --------
    >>> model = MLP.init(pg.random.key(0), [64, 32, 10], dropout=0.1)
    >>> x = np.ones((5, 64), np.float32)
    >>> model(x).shape, model(x, key=pg.random.key(1)).shape
    ((5, 10), (5, 10))
    """

    layers: tuple[Linear, ...]
    activation: Any = static(default=relu)
    dropout: float = static(default=0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", find_activation(self.activation))
        object.__setattr__(self, "layers", tuple(self.layers))
        super().__post_init__()
        check_rate(type(self).__name__, self.dropout)

    @classmethod
    def init(
        cls,
        key: random.Key,
        sizes: Sequence[int],
        *,
        activation: str | Callable[[Any], Any] = "relu",
        dropout: float = 0.0,
        bias: bool = True,
        initializer: Initializer | None = None,
        dtype: Any = None,
        device: Any = None,
    ) -> Self:
        """A perceptron with random weights, the same bits on every backend and device.

        Parameters
        ----------
        key : Key
        sizes : sequence of int
            Of the input, of each hidden layer, and of the output.
        activation : str or callable
        dropout : float
            Used where the model is called with a key.
        bias : bool
        initializer : callable, optional
            Of the weights. By default ``nn.he_normal()`` before relu and its smooth kin and
            ``nn.glorot_uniform()`` before any other function, the output included.
        dtype : dtype or str, optional
            float32 by default.
        device : Device or str, optional
            The device in force by default.

        Raises
        ------
        TypeError, ValueError
            If there are fewer than two sizes, one is no positive integer, there is no activation of that
            name, or the rate is out of range.
        """
        if isinstance(sizes, int) or len(sizes) < 2:
            raise ValueError(
                f"{cls.__name__}.init: sizes must be two or more, of the input, the hidden layers and the "
                f"output, as in [64, 32, 10]; not {sizes!r}"
            )
        sizes = [check_size(f"{cls.__name__}.init", n) for n in sizes]
        f = find_activation(activation)
        inner = initializer or (he_normal() if f in _RECTIFIERS else glorot_uniform())
        outer = initializer or glorot_uniform()
        count = len(sizes) - 1
        layers = [
            Linear.init(
                its,
                sizes[i],
                sizes[i + 1],
                bias=bias,
                initializer=inner if i < count - 1 else outer,
                dtype=dtype,
                device=device,
            )
            for i, its in enumerate(random.split(key, count))
        ]
        return cls(tuple(layers), f, dropout)

    def __call__(self, x: Any, *, key: random.Key | None = None) -> Any:
        """The last layer's result, for x of shape (..., sizes[0]).

        Parameters
        ----------
        x : array
        key : Key, optional
            For dropout, in training; None in inference.
        """
        *hidden, last = self.layers
        for i, layer in enumerate(hidden):
            x = self.activation(layer(x))
            if key is not None and self.dropout:
                x = dropout(x, self.dropout, key=random.fold_in(key, i))
        return last(x)


def takes(layer: Any, name: str) -> bool:
    """Whether a model or a layer is called with an argument of that name; a mere function is not."""
    kind: Any = type(layer)
    return name in _arguments(kind)


@functools.cache
def _arguments(kind: Any) -> tuple[str, ...]:
    """What a class with a ``__call__`` in Python is called with."""
    call = getattr(kind, "__call__", None)  # noqa: B004
    return tuple(inspect.signature(call).parameters) if inspect.isfunction(call) else ()
