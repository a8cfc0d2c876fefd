"""The tape style: tensors that require gradients, `backward`, `.grad`."""

from __future__ import annotations

from typing import Any

from portagrad.backend import KIND
from portagrad.errors import Error
from portagrad.kernel import namespace
from portagrad.namespace import asarray
from portagrad.tensor import Tensor, bare, hold
from portagrad.trace import Traced
from portagrad.transforms.gradient import array, cotangent, ones, owned, scalar
from portagrad.transforms.record import ReverseTrace, paused
from portagrad.transforms.reverse import Node, sweep
from portagrad.transforms.tree import differentiable


class Leaf(Node):
    """A tensor of the tape that accumulates its gradient."""

    __slots__ = ("grad",)

    def __init__(self, value: Any) -> None:
        super().__init__(None, (), None, None, None, value.shape, value.dtype, KIND[value.dtype])
        self.grad: Any = None


class TapeTrace(ReverseTrace):
    """The reverse trace that is always open, below every other."""

    __slots__ = ()

    def __reduce__(self) -> str:
        return "TAPE"  # this one, also of a copied or pickled tensor

    def rebind(self, tensor: Traced, new: Traced) -> None:
        if not isinstance(tensor.payload, Leaf):
            super().rebind(tensor, new)
        elif paused(self):
            tensor.value = bare(new)
        else:
            raise Error(
                "in-place operation on a tensor that requires a gradient would lose its .grad; "
                "write y = x + ... instead, or do it in a block `with pg.no_grad():`"
            )

    def backward(self, tensor: Any, gradient: Any, keep_graph: bool) -> None:
        if gradient is None:
            scalar("backward", tensor)
            gradient = ones(tensor.value)
        else:
            gradient = cotangent(gradient, tensor.value)
        taken = {id(gradient)}  # arrays that are somebody's already
        for node, g in sweep([(tensor.payload, gradient)], keep=keep_graph).items():
            if isinstance(node, Leaf) and node.grad is not None:
                node.grad = node.grad + g
            elif isinstance(node, Leaf):
                g = owned(g)
                node.grad = array(namespace(g).asarray(g, copy=True) if id(g) in taken else g)
                taken.add(id(g))

    def gradient(self, tensor: Any) -> Any:
        return tensor.payload.grad if isinstance(tensor.payload, Leaf) else None

    def set_gradient(self, tensor: Any, value: Any) -> None:
        if not isinstance(tensor.payload, Leaf):
            raise Error("only tensors made by pg.tensor(..., requires_grad=True) keep a .grad")
        tensor.payload.grad = bare(value)


TAPE = TapeTrace()


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor on the tape: what is computed from it can go ``backward()``.

    Parameters
    ----------
    data : array, Python scalar, or nested sequence of them
        Never copied if it is an array of the right dtype and device.
    dtype, device
        Of the result; by default those of `data`.
    requires_grad : bool
        Whether its gradient is accumulated in ``.grad``; without it the tensor is a constant.

    Returns
    -------
    Tensor

    Raises
    ------
    NonDifferentiableError
        If a gradient is required of integers.

    Examples
    --------
    >>> x = tensor([1.0, 2.0], requires_grad=True)
    >>> loss = pg.sum(x * x)
    >>> loss.backward()
    >>> x.grad
    array([2., 4.])
    """
    value = bare(asarray(data, dtype=dtype, device=device))
    if not requires_grad:
        return hold(value)
    value = differentiable(value, "tensor", "the data")
    return Tensor(TAPE, value, Leaf(value))
